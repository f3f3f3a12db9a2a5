"""What a run came to: counted while it goes, a few numbers when it is over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FIGURES: Mapping[str, str] = {
    "ttft_p50": "time to first token, median, s",
    "ttft_p95": "time to first token, 95 %, s",
    "ttft_p99": "time to first token, 99 %, s",
    "refused": "requests refused, %",
    "failovers": "failovers for each request",
    "fairness": "Jain's index of the chutes' utilization",
    "sticky_breaks": "sticky clients moved, % of their requests",
    "sticky_left": "of these, moved since it was worth it, % of the same",
    "cost": "US dollars for 1,000 requests",
    "cached": "prompt tokens read from a cache, % of those said before",
    "pace": "tokens a second of an answer, median",
    "others_refused": "requests of others refused, %",
    "utilization": "slots taken, % of all",
}
"""Names of the figures of a run, with what they mean."""


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index: 1 where all are equal, 1/n where one has everything."""
    squares = sum(value * value for value in values)
    if not squares:
        return 1.0
    return sum(values) ** 2 / (len(values) * squares)


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that is not less than `share` of them; NaN if there are none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


@dataclass(slots=True)
class Tally:
    """Counts requests; only those that come within `since` and `until` make figures.

    `came`, `answered`, `refused` and `broken` are of all.
    """

    since: float
    until: float
    came: int = 0
    answered: int = 0
    refused: int = 0
    seen: int = 0
    seen_refused: int = 0
    failovers: int = 0
    sticky: int = 0
    sticky_breaks: int = 0
    sticky_left: int = 0
    dollars: float = 0.0
    prefix_tokens: int = 0
    cached_tokens: int = 0
    first: list[float] = field(default_factory=list)
    paces: list[float] = field(default_factory=list)

    def arrived(self, now: float) -> bool:
        """A request comes; whether it makes figures."""
        self.came += 1
        counts = self.since <= now < self.until
        self.seen += counts
        return counts

    def figures(
        self, *, loads: Sequence[float], utilization: float, others_refused: float
    ) -> dict[str, float]:
        """The run's figures by the names in `FIGURES`; shares are in percent."""
        seen = max(self.seen, 1)
        return {
            "ttft_p50": percentile(self.first, 0.5),
            "ttft_p95": percentile(self.first, 0.95),
            "ttft_p99": percentile(self.first, 0.99),
            "refused": 100.0 * self.seen_refused / seen,
            "failovers": self.failovers / seen,
            "fairness": jain(loads),
            "sticky_breaks": 100.0 * self.sticky_breaks / max(self.sticky, 1),
            "sticky_left": 100.0 * self.sticky_left / max(self.sticky, 1),
            "cost": 1_000.0 * self.dollars / max(len(self.first), 1),
            "cached": 100.0 * self.cached_tokens / max(self.prefix_tokens, 1),
            "pace": percentile(self.paces, 0.5),
            "others_refused": 100.0 * others_refused,
            "utilization": 100.0 * utilization,
        }
