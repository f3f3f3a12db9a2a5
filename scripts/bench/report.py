"""The page of a run, `research/BENCHMARKS.md`, and the README's table, rendered from its raw account."""

from collections.abc import Iterator, Sequence

from figures import CONNECTIONS, HELD, INTERVAL, SLOW_CONNECTIONS, SLOW_SHARE, STEPS, STREAMS
from plots import Plot
from results import Results
from tables import SHORT, TABLES, number
from targets import NOT_MEASURED, Judged, judge

README_BEGIN = "<!-- performance: written by make bench -->"
README_END = "<!-- end of performance -->"

_METHOD = f"""\
- **Cores.** One gateway at a time, with one worker, on a core of its own; upstream and client share the
  other core.
- **Rounds.** Each round starts, measures and stops every gateway in turn. A cell is the median of the
  rounds, with the least and the most.
- **Ratios** are those of the medians. What is *added* is computed within each round, against the client
  that asks the upstream without a gateway (`direct`) in the same round.
- **Processor time** is what the kernel has accounted to the threads of the gateway's processes, user and
  system together (`schedstat` in `/proc`), read at both ends of a window. Who waited for its core for
  long shared it, with its own threads or with strangers: it is later than it need be, and chunks that
  wait are carried together, which makes each of them cheaper.
- **Chunks.** {STREAMS} streams over as many connections, each with a client's key of its own, a chunk of
  about 270 bytes each {INTERVAL * 1e3:g} ms; the streams are not in step. A gateway that this would
  saturate gets as many chunks as keep {SLOW_SHARE:.0%} of its core busy, and its row says so.
- **JSON.** `wrk` with one thread and {CONNECTIONS} connections, {SLOW_CONNECTIONS} for a gateway that is
  slow. The time of single requests, of first events and of chunks is taken by a client in C; each event
  carries the moment of its sending.
- **Streams without a gap.** {", ".join(map(str, STEPS))} in turn, until the longest silence of any
  stream is over twice the interval. A number has two tries.
- **Memory.** Resident set of all the gateway's processes. {HELD} streams have a chunk each 100 ms,
  or more rarely where the gateway is slow. What a stream takes includes what the first requests bring
  with them.
- **Upstream.** A program in C with one thread. Asked without a gateway, beside its client or on the
  gateway's core, it should answer three times what the best gateway does, or the row of `direct` says so.
- **TLS.** A certificate for localhost from an authority of the bench's own, which the gateways verify.
- **Autopilot** runs as users run it, every setting at its default: catalogue and feed are refreshed,
  models ranked, clients kept, metrics counted, a line is logged for each request (to a file), and the
  request names the alias, so that it has to be rewritten. nginx and HAProxy look at nothing.
"""

_MARKS = {True: "ok", False: "**missed**", None: NOT_MEASURED}


def page(results: Results, plots: Sequence[Plot], folder: str) -> str:
    """The whole page; `folder` is where the pictures and the raw account are, seen from it."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; not by hand. All numbers are of one run on one machine, gateways in",
        "turn: ratios carry over to other machines, microseconds do not.",
        "",
        *_run(results),
        "",
        *_targets(judge(results)),
    ]
    for table in TABLES:
        lines += ["", f"## {table.title}", "", table.about, "", *table.lines(results)]
    if plots:
        lines += ["", "## Pictures", ""]
        lines += [f"![{plot.title}]({folder}/{plot.file})" for plot in plots]
    lines += ["", "## Method", "", _METHOD, *_gateways(results)]
    lines += ["", f"[The raw account]({folder}/raw.json) of this run, for programs.", ""]
    return "\n".join(lines)


def readme_table(results: Results) -> str:
    """What stands between the README's markers: a table, and what was missed."""
    missed = [
        f"- {each.target.title}, {each.target.reach()}: {_measured(each)}"
        for each in judge(results)
        if each.ok is False
    ]
    told = ["Missed in this run:", "", *missed] if missed else ["No target was missed."]
    return "\n".join([*SHORT.lines(results), "", *told])


def in_readme(text: str, results: Results) -> str:
    """The README with this run's table between its markers.

    Raises:
        ValueError: it has no markers.
    """
    return between(text, README_BEGIN, readme_table(results), README_END)


def between(text: str, begin: str, written: str, end: str) -> str:
    """`text` with `written` between its markers.

    Raises:
        ValueError: it has no such markers.
    """
    before, found, rest = text.partition(begin)
    _old, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"there is no {begin} with its end to write between")
    return f"{before}{begin}\n{written}\n{end}{after}"


def _run(results: Results) -> Iterator[str]:
    meta = results.meta
    yield f"- **When:** {meta['when']}, {meta['rounds']} rounds, windows of {meta['seconds']:g} s."
    yield f"- **What:** autopilot {meta['router']}, {meta['python']}, {meta['twisted']}."
    yield f"- **Where:** {meta['machine']}; {meta['system']}."
    yield f"- **Who else:** load average {meta['load']} when it began."
    if meta["only"]:
        yield f"- **Asked for alone:** {meta['only']}; the other gateways were not looked at."
    if meta["left_out"]:
        yield f"- **A quick run**, which leaves out: {meta['left_out']}."


def _targets(judged: Sequence[Judged]) -> Iterator[str]:
    yield "## Targets"
    yield ""
    yield "| target | to reach | measured | |"
    yield "| --- | --- | --- | --- |"
    for each in judged:
        yield (
            f"| {each.target.title} | {each.target.reach()} | {_measured(each)} | {_MARKS[each.ok]} |"
        )
    missed = [each for each in judged if each.ok is False]
    if missed:
        yield ""
        yield "What is missed, and why:"
        yield ""
    for each in missed:
        yield f"- {each.target.title}, {each.target.reach()}: {each.why}."


def _measured(judged: Judged) -> str:
    return "" if judged.value is None else f"{number(judged.value)} {judged.target.unit}"


def _gateways(results: Results) -> Iterator[str]:
    yield "## Gateways"
    yield ""
    yield "| gateway | version | |"
    yield "| --- | --- | --- |"
    for peer in results.names:
        absent = results.absent(peer)
        if absent is not None:
            yield f"| {peer} | absent | {_cell(absent)} |"
        else:
            failures = _cell("; ".join(f"not measured: {each}" for each in results.failures(peer)))
            yield f"| {peer} | {results.version(peer)} | {failures} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
