"""The numbers to reach, each beside what this run has measured."""

from collections.abc import Mapping, Sequence

from lab_bench import Lab, deadline
from lab_facts import Result

NOT_RUN = "not measured in this run"


def numbers(lab: Lab, results: Sequence[Result]) -> list[tuple[str, str, str]]:
    """Topic, number to reach, number measured."""
    notes = lab.notes
    return [
        (
            "refused connection",
            "failover within 150 ms; 0 bytes of a failed attempt ever leak",
            _joined(
                _fact(results, "1", "connection refused, last", "ms", "noticed after {} ms"),
                _leaks(results),
            ),
        ),
        (
            "after commit",
            "0 retries, 0 clean ends, over every cut offset",
            _cuts(lab, results),
        ),
        (
            "client leaves",
            "upstream closed within 100 ms p99, 200 of 200; the model is not blamed",
            _leaves(notes, results),
        ),
        (
            "pool staleness, idle connections closed after 0, 1, 5 ms and 1 s",
            "5,000 POSTs, 0 client-visible errors",
            _pool(notes),
        ),
        (
            "slow headers, slow body",
            "408 and closed at the deadline, +-1 s; 500 drips: at most 1.5 times as slow",
            _joined(
                _fact(results, "32", "headers a byte at a time", "ms", "headers after {} ms"),
                f"deadline {deadline('CLIENT_HEADER_TIMEOUT'):g} s",
                _fact(results, "32", "a body a byte at a time", "ms", "body after {} ms"),
                f"deadline {deadline('CLIENT_BODY_TIMEOUT'):g} s",
                _fact(results, "32", "ordinary answers beside drips", "drips", "{} drips"),
                _fact(results, "32", "ordinary answers beside drips", "times slower", "{} times"),
            ),
        ),
        (
            "reader that stops",
            "cut at the stall limit, upstream closed within 1 s",
            _joined(
                _fact(results, "24", _READERS, "last cut after ms", "last cut after {} ms"),
                _fact(
                    results,
                    "24",
                    _READERS,
                    "upstream closed ms later",
                    "upstream closed at most {} ms later",
                ),
                f"limit {deadline('CLIENT_STALL_TIMEOUT'):g} s",
            ),
        ),
        (
            "100 readers that stop, 100 MB each",
            "at most 256 KiB each",
            _joined(
                _fact(results, "24", _READERS, "KiB each", "{} KiB each"),
                _fact(results, "24", _READERS, "readers", "{} readers"),
            ),
        ),
        (
            "body limit: 50 clients push 100 MB at 1 MiB",
            "413 at once, at most 32 MiB more; exactly the limit is accepted",
            _joined(
                _fact(results, "31", f"{_PUSH}, declared", "MiB more", "{} MiB more"),
                _fact(results, "31", f"{_PUSH}, declared", "statuses", "{}"),
                _fact(results, "31", f"{_PUSH}, chunked", "MiB more", "chunked {} MiB more"),
                _fact(results, "31", "exactly the limit", "status", "at the limit {}"),
            ),
        ),
        (
            "SIGTERM with 200 streams",
            "listener closed within 100 ms, none cut that ends in the grace, exit in grace + 1 s",
            _joined(
                _fact(results, "43", _DRAIN, "streams", "{} streams"),
                _fact(results, "43", _DRAIN, "listener closed ms", "listener after {} ms"),
                _fact(results, "43", _DRAIN, "streams cut that would have ended", "{} cut"),
                _fact(results, "43", _DRAIN, "exit ms", "exit after {} ms, grace 2 s"),
            ),
        ),
        (
            "5 times capacity",
            "goodput at least 90 %, excess 503 with Retry-After within 50 ms, /healthz within 100",
            _joined(
                _fact(results, "44", _LOAD, "goodput of capacity", "goodput {}"),
                _fact(results, "44", _LOAD, "refusal p99 ms", "refusals p99 {} ms"),
                _fact(results, "44", _LOAD, "healthz max ms", "/healthz at most {} ms"),
            ),
        ),
        (
            "1,000 connects at RLIMIT_NOFILE 256",
            "alive, no busy loop, recovers within 2 s, at most one log line a second",
            _joined(
                _fact(results, "44", _CROWD, "share of a processor", "{} of a processor"),
                _fact(results, "44", _CROWD, "recovers within ms", "recovered after {} ms"),
                _fact(results, "44", _CROWD, "log lines a second", "{} lines a second"),
            ),
        ),
    ]


_PUSH = "many clients push 100 MB"
_READERS = "readers that stop, upstream sends 100 MB each"
_DRAIN = "SIGTERM with streams open"
_LOAD = "five times the capacity"
_CROWD = "1,000 connections, 256 descriptors"


def _find(results: Sequence[Result], row: str, name: str) -> Result | None:
    return next((result for result in results if (result.row, result.name) == (row, name)), None)


def _fact(results: Sequence[Result], row: str, name: str, fact: str, words: str) -> str:
    result = _find(results, row, name)
    return "" if result is None or fact not in result.seen else words.format(result.seen[fact])


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part) or NOT_RUN


def _leaks(results: Sequence[Result]) -> str:
    moved = [r for r in results if r.expected.get("body") == "U2's"]
    leaked = [r for r in moved if r.seen.get("body") != "U2's"]
    times = sum(result.repeats for result in moved)
    return f"{len(leaked)} of {len(moved)} failover scenarios ({times} runs) with another body"


def _cuts(lab: Lab, results: Sequence[Result]) -> str:
    swept = [result for result in results if result.row == "cut"]
    if not swept:
        return NOT_RUN
    tried = sum(int(str(result.seen.get("tried", 0))) for result in swept)
    bad = sum(int(str(result.seen.get("deviations", 0))) for result in swept)
    sizes = [
        note["of"] for note in lab.notes.values() if isinstance(note, Mapping) and "of" in note
    ]
    return f"{bad} deviations over {tried} cuts of {min(sizes, default=0)} offsets x 3 x 2"


def _leaves(notes: Mapping[str, object], results: Sequence[Result]) -> str:
    left = [note for name, note in notes.items() if name.startswith("leaves ")]
    if not left:
        return NOT_RUN
    latest = max(float(note[0]) for note in left if isinstance(note, list))
    times = sum(int(note[1]) for note in left if isinstance(note, list))
    blamed = [r for r in results if r.row == "25" and r.seen.get("asked again first") is False]
    return f"latest of {times}: {latest} ms, {len(blamed)} phases in which the model was blamed"


def _pool(notes: Mapping[str, object]) -> str:
    hung = [note for name, note in notes.items() if name.startswith("hangs up")]
    counts = [note for note in hung if isinstance(note, Mapping)]
    if not counts:
        return NOT_RUN
    posts, errors = (sum(int(note[name]) for note in counts) for name in ("POSTs", "errors"))
    retries = sum(int(note["silent retries"]) for note in counts)
    return f"{posts} POSTs, {errors} errors, {retries} silent retries"
