"""One gateway's figures: each function is one window of load and says what it saw in numbers.

A figure that cannot be seen raises `LoadError`. Names ending in `_us` are microseconds, `_ms`
milliseconds, `_kib` KiB, `_cpu` the share of one core, `_wait` the share of the time that the gateway's
threads waited for it; those of `research/benchmarks/raw.json` are these.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import programs
from accounting import GATEWAY_CORE, OTHER_CORE, Cost, Spent, rss_kib, sockets
from ours import body, model_for
from peer import Peer
from programs import ENDLESS, HOME, Asked, LoadError, Upstream

INTERVAL = 0.02
"""Seconds between the chunks of a stream: 50 a second, as a quick model writes."""

STREAMS = 200
HELD = 500
"""Streams that are open when the memory of each is counted."""

KIB = 1024
CONNECTIONS = 16
SLOW_CONNECTIONS = 4
"""Clients that ask at once when requests at saturation are counted. What is under way when a window ends
has cost something and is not counted: of a slow gateway that would be a large part."""

STEPS = (100, 200, 300, 500, 750, 1000)
QUICK_STEPS = (100, 500, 1000)
"""Numbers of streams that are tried, to find the most that are carried without a gap."""

SLOW_SHARE = 0.4
"""Share of its core that a slow gateway is kept busy with, so that it is not saturated."""

_HELD_INTERVAL = 0.1
_PROBE_STREAMS = 40
_PROBE_INTERVAL = 1.0
_TRIES = 2
_QUIET_SHARE = 0.1
_QUIET_SECONDS = 0.05
_QUIET_TRIES = 200
_AFTER_SECONDS = 1.0

# No divisor of the interval: the streams' chunks must not come in step, or one read of the
# gateway would find many of them and cost less.
_SPREAD_US = 1_100
_SLOW_SPREAD_US = 15_100

Figures = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A gateway that runs before an upstream, how long a window is, and a chunk's interval in seconds."""

    peer: Peer
    port: int
    pids: list[int]
    upstream: Upstream
    seconds: float
    interval: float = INTERVAL

    @property
    def spread_us(self) -> int:
        """Microseconds between the beginnings of two streams."""
        return _SPREAD_US if self.peer.fast else _SLOW_SPREAD_US

    def asked(self, *, stream: bool, size: int = KIB) -> Asked:
        """A request to this gateway with a body of `size` bytes."""
        return Asked(
            port=self.port,
            body=body(model_for(self.peer), size=size, stream=stream, folder=HOME / "bodies"),
            headers=self.peer.headers(
                upstream=self.upstream.port, tls=self.upstream.ca is not None
            ),
        )


class _Meter:
    """Processor time between two moments."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._before = Spent.by(pids)
        self.cost = Cost()

    def begin(self) -> None:
        self._before = Spent.by(self._pids)

    def end(self) -> None:
        self.cost = Spent.by(self._pids).since(self._before)


def slow_interval(bench: Bench) -> float:
    """The interval at which this gateway is busy for `SLOW_SHARE` of its core with all streams."""
    bench.upstream.pace(chunks=ENDLESS, interval=_PROBE_INTERVAL)
    meter = _Meter(bench.pids)
    seen = programs.streams(
        bench.asked(stream=True),
        connections=_PROBE_STREAMS,
        seconds=3 * _PROBE_INTERVAL,
        interval=_PROBE_INTERVAL,
        spread_us=bench.spread_us,
        begin=meter.begin,
        end=meter.end,
    )
    _must_be_well(seen)
    each: float = meter.cost.ran / 1e9 / seen["events"]
    return max(INTERVAL, round(STREAMS * each / SLOW_SHARE + 0.05, 1))


def balance(bench: Bench) -> Figures:
    """The share of the streams that the worker with the most of them has."""
    shares: list[int] = []

    def count() -> None:
        _parent, *workers = bench.pids
        shares.extend(sockets(worker) for worker in workers)

    bench.upstream.pace(chunks=ENDLESS, interval=bench.interval)
    _must_be_well(
        programs.streams(
            bench.asked(stream=True),
            connections=STREAMS,
            seconds=bench.seconds,
            interval=bench.interval,
            spread_us=bench.spread_us,
            begin=count,
            end=lambda: None,
        )
    )
    return {"share_most": max(shares) / sum(shares)}


def chunk_cost(bench: Bench) -> Figures:
    """Processor time per streamed chunk, and how late chunks are."""
    _until_quiet(bench)
    bench.upstream.pace(chunks=ENDLESS, interval=bench.interval)
    seconds = max(bench.seconds, 3 * bench.interval)
    meter = _Meter(bench.pids)
    seen = programs.streams(
        bench.asked(stream=True),
        connections=STREAMS,
        seconds=seconds,
        interval=bench.interval,
        spread_us=bench.spread_us,
        begin=meter.begin,
        end=meter.end,
    )
    _must_be_well(seen)
    return {
        "chunk_us": meter.cost.ran / 1e3 / seen["events"],
        "chunk_cpu": meter.cost.ran / 1e9 / seconds,
        "chunk_wait": meter.cost.waited / 1e9 / seconds,
        "chunks_per_second": seen["events"] / seconds,
        "delay_p50_us": seen["delay"]["p50_us"],
        "delay_p99_us": seen["delay"]["p99_us"],
        "gap_ms": seen["longest_gap_us"] / 1e3,
    }


def request_cost(bench: Bench, size: int = KIB) -> Figures:
    """Requests a second at saturation, and the processor time of each."""
    asked = bench.asked(stream=False, size=size)
    connections = CONNECTIONS if bench.peer.fast else SLOW_CONNECTIONS
    _until_quiet(bench)
    meter = _Meter(bench.pids)
    seen = programs.flood(asked, connections=connections, seconds=bench.seconds)
    meter.end()
    if seen["failed"] or not seen["requests"]:
        raise LoadError(f"{seen['failed']} of {seen['requests']} requests failed")
    return {
        "json_us": meter.cost.ran / 1e3 / seen["requests"],
        "json_cpu": meter.cost.ran / 1e3 / seen["us"],
        "json_wait": meter.cost.waited / 1e3 / seen["us"],
        "requests_per_second": seen["requests"] * 1e6 / seen["us"],
    }


def upstream_alone(bench: Bench) -> Figures:
    """Requests a second that the upstream can answer when it has the gateway's core for itself."""
    os.sched_setaffinity(bench.upstream.pid, {GATEWAY_CORE})
    try:
        seen = request_cost(bench)
    finally:
        os.sched_setaffinity(bench.upstream.pid, {OTHER_CORE})
    return {"alone_per_second": seen["requests_per_second"]}


def one_connection(bench: Bench) -> Figures:
    """How long one question takes when there is no other."""
    _until_quiet(bench)
    seen = programs.questions(bench.asked(stream=False), seconds=bench.seconds)
    _must_be_well(seen)
    return {
        "one_p50_ms": seen["delay"]["p50_us"] / 1e3,
        "one_p99_ms": seen["delay"]["p99_us"] / 1e3,
    }


def first_byte(bench: Bench) -> Figures:
    """How long a stream's first event takes, on a new connection, when there is no other."""
    _until_quiet(bench)
    bench.upstream.pace(chunks=2, interval=0.001)
    seen = programs.streams(
        bench.asked(stream=True),
        connections=1,
        seconds=bench.seconds,
        interval=1.0,
        settle=0.2,
        spread_us=bench.spread_us,
    )
    _must_be_well(seen)
    return {
        "first_p50_ms": seen["first_byte"]["p50_us"] / 1e3,
        "first_p99_ms": seen["first_byte"]["p99_us"] / 1e3,
    }


def idle_memory(bench: Bench) -> Figures:
    """Resident memory before any request."""
    return {"rss_idle_kib": rss_kib(bench.pids)}


def memory(bench: Bench) -> Figures:
    """Resident memory with streams open, and after them."""
    interval = max(_HELD_INTERVAL, bench.interval * HELD / STREAMS)
    bench.upstream.pace(chunks=ENDLESS, interval=interval)
    held: list[int] = []
    seen = programs.streams(
        bench.asked(stream=True),
        connections=HELD,
        seconds=1.0,
        interval=interval,
        spread_us=bench.spread_us,
        still_open=lambda: held.append(rss_kib(bench.pids)),
    )
    _must_be_well(seen)
    time.sleep(_AFTER_SECONDS)
    return {
        "rss_held_kib": held[0],
        "rss_after_kib": rss_kib(bench.pids),
    }


def most_streams(bench: Bench, steps: Sequence[int]) -> dict[str, float | None]:
    """The longest gap in ms at each number of streams, up to the first number that is too many.

    None is a number that could not be begun. A number has two tries: the machine is not ours alone.
    """
    found: dict[str, float | None] = {}
    bench.upstream.pace(chunks=ENDLESS, interval=INTERVAL)
    for number in steps:
        found[str(number)] = gap = _least_gap(bench, number)
        if gap is None or not without_gap(gap):
            break
    return found


def without_gap(gap_ms: float) -> bool:
    """Whether this is no gap: not over twice the interval."""
    return gap_ms <= 2e3 * INTERVAL


def _least_gap(bench: Bench, number: int) -> float | None:
    least: float | None = None
    for _ in range(_TRIES):
        try:
            seen = programs.streams(
                bench.asked(stream=True),
                connections=number,
                seconds=bench.seconds,
                interval=INTERVAL,
                spread_us=_SPREAD_US,
            )
            _must_be_well(seen)
        except LoadError:
            return None
        gap = round(seen["longest_gap_us"] / 1e3, 2)
        least = gap if least is None else min(least, gap)
        if without_gap(least):
            break
    return least


def _until_quiet(bench: Bench) -> None:
    """Wait until the gateway has done what the window before has left it, for a while at most."""
    for _ in range(_QUIET_TRIES):
        before = Spent.by(bench.pids)
        time.sleep(_QUIET_SECONDS)
        if Spent.by(bench.pids).since(before).ran < _QUIET_SHARE * _QUIET_SECONDS * 1e9:
            return


def _must_be_well(seen: Mapping[str, Any]) -> None:
    bad = seen["errors"] + seen.get("cut", 0)
    if bad or not seen["events"]:
        raise LoadError(f"{bad} requests failed, {seen['events']} answers or events were seen")
