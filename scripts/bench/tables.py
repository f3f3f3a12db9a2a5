"""The figures as tables of Markdown: one row for each gateway, ratios beside what they are of."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from results import DERIVED, DIRECT, NGINX, Results, Spread

BLANK = "-"
_KIB_IN_MIB = 1024.0

_Cell = Callable[[Results, str], str]


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and what stands below it for a gateway."""

    heading: str
    cell: _Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns over all gateways; `without_direct` leaves out the row that has no gateway."""

    title: str
    about: str
    columns: Sequence[Column]
    without_direct: bool = False

    def lines(self, results: Results) -> Iterator[str]:
        """In Markdown. A gateway that is absent has its row all the same."""
        yield "| gateway | " + " | ".join(column.heading for column in self.columns) + " |"
        yield "| --- |" + " --- |" * len(self.columns)
        for peer in results.names:
            if peer == DIRECT and self.without_direct:
                continue
            if results.absent(peer) is not None:
                cells = ["absent", *[""] * (len(self.columns) - 1)]
            else:
                cells = [column.cell(results, peer) for column in self.columns]
            yield f"| {peer} | " + " | ".join(cells) + " |"


def number(value: float) -> str:
    """Three digits that matter, none after the point for what is large or counted."""
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 100:  # noqa: PLR2004 - three digits
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"  # noqa: PLR2004 - as above


def figure(name: str, heading: str, divisor: float = 1.0) -> Column:
    """A median with the least and the most of the rounds."""

    def cell(results: Results, peer: str) -> str:
        spread = results.spread(peer, name)
        return BLANK if spread is None else _worded(spread, divisor)

    return Column(heading, cell)


def times(name: str, base: str, heading: str = "") -> Column:
    """The ratio to another gateway's, of the figure in the column before."""

    def cell(results: Results, peer: str) -> str:
        if peer == DIRECT and name in DERIVED:
            return BLANK  # what no gateway adds is nothing
        ratio = results.ratio(peer, name, base)
        return BLANK if ratio is None else number(ratio)

    return Column(heading or f"x {base}", cell)


def _worded(spread: Spread, divisor: float) -> str:
    if spread.least == spread.most:
        return number(spread.median / divisor)
    least, most = number(spread.least / divisor), number(spread.most / divisor)
    return f"{number(spread.median / divisor)} ({least} to {most})"


def _notes(told: Callable[[Results, str], list[str]]) -> Column:
    return Column("", lambda results, peer: "; ".join(told(results, peer)))


def _most(results: Results, peer: str) -> str:
    most = results.most_streams(peer)
    if most is None:
        return BLANK
    return f"fewer than {next(iter(results.tried(peer)))}" if most == 0 else str(most)


def _beyond(results: Results, peer: str) -> str:
    if results.most_streams(peer) is None:
        return BLANK
    beyond = results.gap_beyond(peer)
    if beyond is None:
        return "no more were tried"
    count, gap = beyond
    return f"{count}: " + ("could not be begun" if gap is None else f"{number(gap)} ms")


CHUNKS = Table(
    title="A streamed chunk",
    about=(
        "Processor time of the gateway for each chunk that it carries, in microseconds, with 200 "
        "streams. `direct` is the upstream's own time to write one."
    ),
    columns=(
        figure("chunk_us", "us"),
        times("chunk_us", NGINX),
        times("chunk_us", DIRECT),
        figure("chunks_per_second", "chunks/s"),
        figure("tls_chunk_us", "us, TLS upstream"),
        times("tls_chunk_us", NGINX),
        _notes(Results.chunk_notes),
    ),
)

REQUESTS = Table(
    title="A JSON request",
    about=(
        "Processor time of the gateway for each question that is answered whole, in microseconds, by the "
        "size of the question's body, with clients that ask as fast as they can."
    ),
    columns=(
        figure("json_us", "us, 1 KiB"),
        times("json_us", NGINX),
        times("json_us", DIRECT),
        figure("json_16k_us", "16 KiB"),
        times("json_16k_us", NGINX),
        figure("json_150k_us", "150 KiB"),
        times("json_150k_us", NGINX),
        figure("tls_json_us", "1 KiB, TLS upstream"),
        times("tls_json_us", NGINX),
    ),
)

RATES = Table(
    title="Requests a second",
    about="The same windows, bodies of 1 KiB: how many are answered a second by one core.",
    columns=(
        figure("requests_per_second", "requests/s"),
        times("requests_per_second", NGINX),
        times("requests_per_second", DIRECT),
        _notes(Results.rate_notes),
    ),
)

LATENCY = Table(
    title="Time added",
    about=(
        "Milliseconds over those without a gateway, with a client that asks one question after another, "
        "and one that opens a new connection for each stream and waits for its first event. For "
        "`direct` it is the whole."
    ),
    columns=(
        Column("p50", lambda results, peer: _over(results, peer, "p50")),
        times("added_p50_ms", NGINX),
        times("one_p50_ms", DIRECT, "whole x direct"),
        Column("p99", lambda results, peer: _over(results, peer, "p99")),
        times("added_p99_ms", NGINX),
        Column("first event p50", lambda results, peer: _over(results, peer, "first_p50")),
        times("added_first_p50_ms", NGINX),
        Column("first event p99", lambda results, peer: _over(results, peer, "first_p99")),
    ),
)

DELAYS = Table(
    title="Delay of a chunk",
    about=(
        "Milliseconds between the upstream's write and the client's read, over those without a gateway, "
        "in the windows of the first table; the longest gap is the longest that any stream was silent."
    ),
    columns=(
        Column("p50", lambda results, peer: _over(results, peer, "delay_p50")),
        times("added_delay_p50_us", NGINX),
        Column("p99", lambda results, peer: _over(results, peer, "delay_p99")),
        times("added_delay_p99_us", NGINX),
        times("delay_p99_us", DIRECT, "whole p99 x direct"),
        figure("gap_ms", "longest gap"),
        _notes(Results.chunk_notes),
    ),
)

MANY = Table(
    title="Most streams without a gap",
    about=(
        "Streams of 50 chunks a second each, more and more of them, until one is silent for over 40 ms, "
        "which is twice the interval."
    ),
    columns=(Column("most", _most), Column("too many", _beyond)),
)

MEMORY = Table(
    title="Memory",
    about="Resident MiB before any request, with 500 streams open, and one second after them.",
    columns=(
        figure("rss_idle_kib", "idle", _KIB_IN_MIB),
        times("rss_idle_kib", NGINX),
        figure("rss_held_kib", "500 streams", _KIB_IN_MIB),
        figure("rss_after_kib", "after", _KIB_IN_MIB),
        figure("stream_kib", "KiB for each stream"),
        times("stream_kib", NGINX),
    ),
    without_direct=True,
)

TABLES = (CHUNKS, REQUESTS, RATES, LATENCY, DELAYS, MANY, MEMORY)

SHORT = Table(
    title="Performance",
    about="",
    columns=(
        figure("chunk_us", "streamed chunk, us"),
        times("chunk_us", NGINX),
        figure("json_us", "JSON request, us"),
        times("json_us", NGINX),
        Column("added, p50 ms", lambda results, peer: _over(results, peer, "p50")),
        figure("rss_idle_kib", "memory, MiB", _KIB_IN_MIB),
    ),
    without_direct=True,
)
"""For the README."""

_WHOLE = {
    "p50": ("added_p50_ms", "one_p50_ms", 1.0),
    "p99": ("added_p99_ms", "one_p99_ms", 1.0),
    "first_p50": ("added_first_p50_ms", "first_p50_ms", 1.0),
    "first_p99": ("added_first_p99_ms", "first_p99_ms", 1.0),
    "delay_p50": ("added_delay_p50_us", "delay_p50_us", 1e3),
    "delay_p99": ("added_delay_p99_us", "delay_p99_us", 1e3),
}


def _over(results: Results, peer: str, what: str) -> str:
    """What is added; without a gateway, what it is added to."""
    added, whole, divisor = _WHOLE[what]
    name, sign = (whole, "") if peer == DIRECT else (added, "+")
    spread = results.spread(peer, name)
    return BLANK if spread is None else sign + _worded(spread, divisor)
