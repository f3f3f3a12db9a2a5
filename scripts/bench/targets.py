"""The numbers to reach, each with what a run has found, and why a missed one is missed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from results import NGINX, OURS, SEVERAL, Results

_LOOP = (
    "a chunk is two system calls and a turn of Twisted's event loop, which are most of it; what the "
    "router does in between was 7 us of 43 when it was taken apart"
)

WHY: Mapping[str, str] = {
    "chunk": _LOOP,
    "chunk-router": _LOOP,
    "chunk-router-stretch": _LOOP,
    "added-p50": (
        "a request passes Klein, treq and Twisted's server and client: some 2,400 calls in Python, of "
        "which 270 are the router's own. In a quicker hour of the same machine a whole request took "
        "0.76 ms"
    ),
    "added-p99": "as p50; in that quicker hour it was 1.1 to 1.5 ms",
    "json-portkey": (
        "most of it are Twisted's server and client, Klein and treq; what the router chooses, counts "
        "and carries of a request itself came to 120 us of some 800 when it was taken apart. In a slower "
        "hour of the same machine it was 0.39 x Portkey"
    ),
    "streams": (
        "500 streams are 25,000 chunks a second, which one core of this machine does not carry; with "
        "WORKERS=2 there are two"
    ),
    "workers-chunk": (
        "the two share one core here: each finds fewer chunks ready in a turn of its loop than one "
        "process would"
    ),
}
"""From the key of a missed target to the reason that was found. A target that is reached needs none."""

NO_REASON = "no reason found yet"
NOT_MEASURED = "not measured in this run"

_MIB = 1024.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One number to reach: `bound` is the most (or the least) that is well, in `unit`."""

    key: str
    title: str
    bound: float
    unit: str
    seen: Callable[[Results], float | None]
    at_least: bool = False

    def reached(self, value: float) -> bool:
        """Whether this will do."""
        return value >= self.bound if self.at_least else value <= self.bound

    def reach(self) -> str:
        """The number to reach in words."""
        return f"{'at least' if self.at_least else 'at most'} {self.bound:g} {self.unit}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A target beside what was measured; None is nothing."""

    target: Target
    value: float | None

    @property
    def ok(self) -> bool | None:
        """None if it was not measured."""
        return None if self.value is None else self.target.reached(self.value)

    @property
    def why(self) -> str:
        """Why it is missed; empty if it is not."""
        return "" if self.ok is not False else WHY.get(self.target.key, NO_REASON)


def _by(peer: str, figure: str) -> Callable[[Results], float | None]:
    return lambda results: results.ratio(OURS, figure, peer)


def _by_router(results: Results) -> float | None:
    router = results.faster_router("chunk_us")
    return None if router is None else results.ratio(OURS, "chunk_us", router)


def _ours(figure: str, divisor: float = 1.0) -> Callable[[Results], float | None]:
    def seen(results: Results) -> float | None:
        value = results.value(OURS, figure)
        return None if value is None else value / divisor

    return seen


TARGETS = (
    Target(
        key="chunk",
        title="processor time of a streamed chunk, 200 streams",
        bound=2.0,
        unit="x nginx",
        seen=_by(NGINX, "chunk_us"),
    ),
    Target(
        key="chunk-tls",
        title="the same with TLS to the upstream",
        bound=2.5,
        unit="x nginx",
        seen=_by(NGINX, "tls_chunk_us"),
    ),
    Target(
        key="chunk-router",
        title="processor time of a streamed chunk",
        bound=1.6,
        unit="x the faster router in Rust",
        seen=_by_router,
    ),
    Target(
        key="chunk-router-stretch",
        title="the same, as far as we would like to go",
        bound=1.25,
        unit="x the faster router in Rust",
        seen=_by_router,
    ),
    Target(
        key="json-litellm",
        title="processor time of a JSON request",
        bound=0.1,
        unit="x LiteLLM",
        seen=_by("litellm", "json_us"),
    ),
    Target(
        key="json-portkey",
        title="processor time of a JSON request",
        bound=0.5,
        unit="x Portkey",
        seen=_by("portkey", "json_us"),
    ),
    Target(
        key="added-p50",
        title="added to a JSON request at one connection, p50",
        bound=0.8,
        unit="ms",
        seen=_ours("added_p50_ms"),
    ),
    Target(
        key="added-p99",
        title="added to a JSON request at one connection, p99",
        bound=3.0,
        unit="ms",
        seen=_ours("added_p99_ms"),
    ),
    Target(
        key="streams",
        title="streams of 50 chunks a second on one core, no gap over twice the interval",
        bound=500,
        unit="streams",
        seen=lambda results: results.most_streams(OURS),
        at_least=True,
    ),
    Target(
        key="stream-memory",
        title="memory of an open stream",
        bound=60,
        unit="KiB",
        seen=_ours("stream_kib"),
    ),
    Target(
        key="idle-memory",
        title="resident memory when idle",
        bound=80,
        unit="MiB",
        seen=_ours("rss_idle_kib", _MIB),
    ),
    Target(
        key="workers-chunk",
        title="processor time of a streamed chunk with two workers and their parent",
        bound=1.1,
        unit="x one worker",
        seen=lambda results: results.ratio(SEVERAL, "chunk_us", OURS),
    ),
    Target(
        key="workers-balance",
        title="streams that the busier of two workers has",
        bound=0.6,
        unit="of all",
        seen=lambda results: results.value(SEVERAL, "share_most"),
    ),
)


def judge(results: Results) -> list[Judged]:
    """All targets beside this run."""
    return [Judged(target=target, value=target.seen(results)) for target in TARGETS]
