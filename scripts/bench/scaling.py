"""The sums of `research/SCALING.md`: from what one core did in a run to a million streams.

Every assumption is a constant here and stands in the table beside what follows from it.
"""

import math
from collections.abc import Iterator

from results import OURS, SEVERAL, Results
from tables import number

BEGIN = "<!-- sums: written by make bench -->"
END = "<!-- end of sums -->"

CHUNKS_PER_SECOND = 50.0
"""Of one stream: a quick model."""

FULL = 0.7
"""Share of a core that is planned for: beyond it chunks wait for each other."""

STREAM_SECONDS = 20.0
"""Length of a stream: 1,000 chunks."""

STREAMS = 1_000_000
CORES = 16
"""Of one machine, each with a worker."""

FEED_BYTES = 452_158
FEED_BYTES_GZIP = 27_733
FEED_SECONDS = 5.0
"""The captured utilization feed of 538 rows, and how often it is fetched."""

REDIS_US = 8.5
"""Processor time of Redis for a command that comes alone, by redis-benchmark on the same machine."""

REDIS_COMMANDS = 2
"""A look-up, and the place that is written when the answer begins."""

_MIB = 1024.0
_MEGA = 1e6


def sums(results: Results) -> str:
    """Two tables of Markdown; a figure that the run does not have is a dash."""
    return "\n".join([*_one_core(results), "", *_a_million(results)])


def _one_core(results: Results) -> Iterator[str]:
    chunk, request = results.value(OURS, "chunk_us"), results.value(OURS, "json_us")
    rate = None if chunk is None else FULL * _MEGA / chunk
    streams = None if rate is None else rate / CHUNKS_PER_SECOND
    each = results.value(OURS, "stream_kib")
    held = None if streams is None or each is None else streams * each / _MIB
    yield "| one core | | how |"
    yield "| --- | --- | --- |"
    yield f"| processor time of a chunk | {_or_dash(chunk)} us | measured |"
    yield f"| chunks a second | {_or_dash(rate)} | {FULL:.0%} of the core |"
    yield (
        f"| streams | {_or_dash(streams)} | of {CHUNKS_PER_SECOND:g} chunks a second; four times as many "
        f"of a model that writes a quarter |"
    )
    yield f"| memory of an open stream | {_or_dash(each)} KiB | measured |"
    yield f"| memory of those streams | {_or_dash(held)} MiB | |"
    yield f"| processor time of a JSON request | {_or_dash(request)} us | measured |"
    rate = None if request is None else FULL * _MEGA / request
    yield f"| JSON requests a second | {_or_dash(rate)} | {FULL:.0%} of the core |"
    two = results.ratio(SEVERAL, "chunk_us", OURS)
    yield f"| a chunk with two workers | {_or_dash(two)} x | measured, on one core |"


def _a_million(results: Results) -> Iterator[str]:
    chunk, request = results.value(OURS, "chunk_us"), results.value(OURS, "json_us")
    each, balancer = results.value(OURS, "stream_kib"), results.value("haproxy", "chunk_us")
    chunks = STREAMS * CHUNKS_PER_SECOND
    requests = STREAMS / STREAM_SECONDS
    cores = (
        None
        if chunk is None or request is None
        else (chunks * chunk + requests * request) / _MEGA / FULL
    )
    machines = None if cores is None else math.ceil(cores / CORES)
    feed = None if machines is None else machines * FEED_BYTES_GZIP * 8 / FEED_SECONDS / _MEGA
    per_machine = None if machines is None else STREAMS / machines
    memory = None if each is None or per_machine is None else per_machine * each / _MIB / _MIB
    yield f"| {STREAMS:,} streams at once | | how |"
    yield "| --- | --- | --- |"
    yield f"| chunks a second | {_or_dash(chunks)} | {CHUNKS_PER_SECOND:g} each |"
    yield f"| requests a second | {_or_dash(requests)} | a stream lasts {STREAM_SECONDS:g} s |"
    yield f"| cores | {_or_dash(cores)} | chunks and requests, {FULL:.0%} full |"
    yield f"| machines of {CORES} cores | {_or_dash(machines)} | a worker for each core |"
    yield f"| streams of one machine | {_or_dash(per_machine)} | two connections each |"
    yield f"| memory of one machine's streams | {_or_dash(memory)} GiB | |"
    yield (
        f"| feed, gzipped | {_or_dash(feed)} Mbit/s | {FEED_BYTES_GZIP:,} bytes each {FEED_SECONDS:g} s "
        f"and machine; {FEED_BYTES:,} unpacked |"
    )
    commands = requests * REDIS_COMMANDS
    yield (
        f"| commands for Redis | {_or_dash(commands)} a second | {REDIS_COMMANDS} a request; "
        f"{_or_dash(commands * REDIS_US / _MEGA)} of a core at {REDIS_US:g} us each |"
    )
    cost = None if balancer is None else chunks * balancer / _MEGA / FULL
    yield f"| cores of a balancer that reads HTTP | {_or_dash(cost)} | HAProxy's chunk, measured |"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else number(value)
