"""What a run has found, for whoever shows it: medians over its rounds, differences and ratios.

Built from the raw account alone, so that a report can be rendered again without a run.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from figures import HELD, INTERVAL, without_gap

OURS = "autopilot"
SEVERAL = "autopilot x2"
DIRECT = "direct"
NGINX = "nginx"
RUST_ROUTERS = ("vllm-router", "smg")

_SATURATED = 0.9
_MUCH_WAITING = 0.1
_ENOUGH = 3.0


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds of a run."""

    median: float
    least: float
    most: float

    @classmethod
    def over(cls, values: Iterable[float]) -> "Spread | None":
        """None if there is no value."""
        seen = sorted(values)
        return cls(median(seen), seen[0], seen[-1]) if seen else None


_Derive = Callable[[Mapping[str, float], Mapping[str, float]], float]
"""From a round of a gateway and the same round without one."""


def _added(name: str) -> _Derive:
    return lambda its, direct: its[name] - direct[name]


DERIVED: Mapping[str, _Derive] = {
    "added_p50_ms": _added("one_p50_ms"),
    "added_p99_ms": _added("one_p99_ms"),
    "added_first_p50_ms": _added("first_p50_ms"),
    "added_first_p99_ms": _added("first_p99_ms"),
    "added_delay_p50_us": _added("delay_p50_us"),
    "added_delay_p99_us": _added("delay_p99_us"),
    "stream_kib": lambda its, _direct: (its["rss_held_kib"] - its["rss_idle_kib"]) / HELD,
}
"""Figures that are computed, each from one round, so that what drifts between rounds cancels out."""


class Results:
    """One run. `raw` is what `raw.json` holds."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.meta: Mapping[str, Any] = raw["meta"]
        self._peers: Mapping[str, Mapping[str, Any]] = raw["peers"]
        self.names = tuple(self._peers)

    def version(self, peer: str) -> str:
        """Which one was measured."""
        return str(self._peers[peer]["version"])

    def absent(self, peer: str) -> str | None:
        """Why nothing is known of this gateway; None if something is."""
        why = self._peers[peer]["absent"]
        return None if why is None else str(why)

    def failures(self, peer: str) -> tuple[str, ...]:
        """What could not be measured, and why."""
        return tuple(dict.fromkeys(self._peers[peer]["failures"]))

    def interval_ms(self, peer: str) -> float:
        """How often each stream of this gateway had a chunk."""
        return float(self._peers[peer]["interval_ms"])

    def spread(self, peer: str, figure: str) -> Spread | None:
        """A figure over the rounds; None if it is not known."""
        return Spread.over(self._values(peer, figure))

    def value(self, peer: str, figure: str) -> float | None:
        """A figure's median; None if it is not known."""
        spread = self.spread(peer, figure)
        return None if spread is None else spread.median

    def ratio(self, peer: str, figure: str, base: str) -> float | None:
        """This gateway's median by another's."""
        its, others = self.value(peer, figure), self.value(base, figure)
        return None if its is None or not others else its / others

    def tried(self, peer: str) -> Mapping[str, float | None]:
        """Numbers of streams, and the longest gap in ms with each; None where they could not be begun."""
        tried: Mapping[str, float | None] = self._peers.get(peer, {}).get("streams", {})
        return tried

    def most_streams(self, peer: str) -> int | None:
        """The most streams without a gap: 0 if the fewest were too many, None if none were tried."""
        if not (tried := self.tried(peer)):
            return None
        well = (int(n) for n, gap in tried.items() if gap is not None and without_gap(gap))
        return max(well, default=0)

    def gap_beyond(self, peer: str) -> tuple[int, float | None] | None:
        """The number of streams that was too many, and the gap in ms; None if none was."""
        for number, gap in self.tried(peer).items():
            if gap is None or not without_gap(gap):
                return int(number), gap
        return None

    def faster_router(self, figure: str) -> str | None:
        """Of the routers written in Rust, the one with the lesser figure."""
        known = [(value, p) for p in RUST_ROUTERS if (value := self.value(p, figure)) is not None]
        return min(known)[1] if known else None

    def chunk_notes(self, peer: str) -> list[str]:
        """What a reader has to know of this gateway's row of chunks."""
        notes = []
        interval = self.interval_ms(peer)
        if interval > INTERVAL * 1e3:
            notes.append(f"measured at one chunk in {interval / 1e3:g} s for each stream")
        late = self.value(peer, "delay_p99_us")
        if late is not None and late > interval * 1e3:
            notes.append(
                "saturated: chunks wait for each other (p99 of the delay is over the interval)"
            )
        elif (self.value(peer, "chunk_cpu") or 0) > _SATURATED:
            notes.append("its core is full")
        return notes + self._wait_notes(peer, "chunk_wait")

    def rate_notes(self, peer: str) -> list[str]:
        """What a reader has to know of this gateway's requests a second."""
        if peer == DIRECT:
            return self._upstream_notes()
        share, notes = self.value(peer, "json_cpu"), []
        if share is not None and share < _SATURATED:
            notes.append(f"not saturated ({share:.0%} of its core): it could do more")
        return notes + self._wait_notes(peer, "json_wait")

    def _wait_notes(self, peer: str, figure: str) -> list[str]:
        # Threads of one gateway wait for each other, too; those of one thread, for strangers alone.
        waited = self.value(peer, figure)
        if waited is None or waited < _MUCH_WAITING:
            return []
        return [f"waited for its core {waited:.0%} of the time"]

    def _upstream_notes(self) -> list[str]:
        rates = {peer: self.value(peer, "requests_per_second") for peer in self.names}
        known = [
            (rate, peer) for peer, rate in rates.items() if rate is not None and peer != DIRECT
        ]
        alone = [self.value(DIRECT, each) for each in ("alone_per_second", "requests_per_second")]
        top = max((rate for rate in alone if rate is not None), default=None)
        if not known or top is None:
            return []
        best, peer = max(known)
        times = f"at best {top:,.0f}, {top / best:.1f} times {peer}"
        if top >= _ENOUGH * best:
            return [times]
        return [
            f"{times}, **less than {_ENOUGH:g}**: what the upstream costs is in the fastest rows too"
        ]

    def _values(self, peer: str, figure: str) -> list[float]:
        if peer not in self._peers:
            return []
        its: list[Mapping[str, float]] = self._peers[peer]["rounds"]
        derive = DERIVED.get(figure)
        if derive is None:
            return [each[figure] for each in its if figure in each]
        direct: list[Mapping[str, float]] = self._peers.get(DIRECT, {}).get("rounds", [])
        values = []
        for number, each in enumerate(its):
            try:
                values.append(derive(each, direct[number] if number < len(direct) else {}))
            except KeyError:
                continue  # not measured in this round
        return values
