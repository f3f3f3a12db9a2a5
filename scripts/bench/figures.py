"""One gateway's figures: each function is one window of load and says what it saw in numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import programs
from accounting import Spent
from ours import body, model_for
from peers import Peer
from programs import ENDLESS, HOME, Asked, Upstream

INTERVAL = 0.02
"""Seconds between the chunks of a stream: 50 a second, as a quick model writes."""

STREAMS = 200
KIB = 1024
CONNECTIONS = 32
"""Clients that ask at once when requests at saturation are counted."""

# Not a divisor of the interval: the streams' chunks must not come in step, or one read of the
# gateway would find many of them and cost less.
_SPREAD_US = 1100

Figures = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A gateway that runs before an upstream, and for how long each window looks at it."""

    peer: Peer
    port: int
    pids: list[int]
    upstream: Upstream
    seconds: float
    interval: float = INTERVAL

    def asked(self, *, stream: bool, size: int = KIB) -> Asked:
        """A request to this gateway with a body of `size` bytes."""
        headers: Mapping[str, str] = self.peer.headers(
            upstream=self.upstream.port, tls=self.upstream.ca is not None
        )
        path: Path = body(model_for(self.peer), size=size, stream=stream, folder=HOME / "bodies")
        return Asked(port=self.port, body=path, headers=headers)


class _Meter:
    """Processor time between two moments."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._before = Spent.by(pids)
        self.ns = 0

    def begin(self) -> None:
        self._before = Spent.by(self._pids)

    def end(self) -> None:
        self.ns = Spent.by(self._pids).since(self._before)


def chunk_cost(bench: Bench) -> Figures:
    """Processor time per streamed chunk, and how late chunks are."""
    bench.upstream.pace(chunks=ENDLESS, interval=bench.interval)
    meter = _Meter(bench.pids)
    seen = programs.streams(
        bench.asked(stream=True),
        connections=STREAMS,
        seconds=bench.seconds,
        interval=bench.interval,
        spread_us=_SPREAD_US,
        begin=meter.begin,
        end=meter.end,
    )
    _must_be_well(seen)
    return {
        "chunk_us": meter.ns / 1e3 / seen["events"],
        "chunk_cpu": meter.ns / 1e9 / bench.seconds,
        "chunks_per_second": seen["events"] / bench.seconds,
        "delay_p50_us": seen["delay"]["p50_us"],
        "delay_p99_us": seen["delay"]["p99_us"],
        "gap_ms": seen["longest_gap_us"] / 1e3,
    }


def request_cost(bench: Bench, size: int = KIB) -> Figures:
    """Requests a second at saturation, and the processor time of each."""
    asked = bench.asked(stream=False, size=size)
    programs.flood(asked, connections=CONNECTIONS, seconds=1)
    meter = _Meter(bench.pids)
    meter.begin()
    seen = programs.flood(asked, connections=CONNECTIONS, seconds=bench.seconds)
    meter.end()
    if seen["failed"] or not seen["requests"]:
        raise programs.LoadError(f"{seen['failed']} of {seen['requests']} requests failed")
    return {
        "json_us": meter.ns / 1e3 / seen["requests"],
        "json_cpu": meter.ns / 1e3 / seen["us"],
        "requests_per_second": seen["requests"] * 1e6 / seen["us"],
    }


def _must_be_well(seen: Mapping[str, Any]) -> None:
    bad = seen["errors"] + seen.get("cut", 0)
    if bad or not seen["events"]:
        raise programs.LoadError(f"{bad} streams failed, {seen['events']} events were seen")
