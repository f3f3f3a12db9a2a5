"""Client faults: each script of the lab that plays an answer, and what a client has to make of it.

What is right is read off the lab's own expectation, so the two cannot differ. Only where the lab looks by
other means than one exchange, or is content with a stream, does this module add rows.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from lab_cuts import Cut, Right, offsets, record, script
from lab_exchange import (
    GOOD,
    GOOD_DOCUMENT,
    GOOD_EVENTS,
    GOOD_STREAM,
    SECOND_DOCUMENT,
    SECOND_STREAM,
    Case,
    answered,
    broken,
    failed_over,
    passed,
    refused,
)
from lab_facts import Facts, agrees
from lab_rows import SCENARIOS
from lab_wire import End

from autopilot.simulator.misbehaving.answers import JSON, chunk, chunks, document, head, refusal
from autopilot.simulator.misbehaving.steps import Drip, Fin, Pause, Rst, Script, Send, Stall
from autopilot.simulator.misbehaving.upstream import Asked

GZIP = "gzip"
REDIRECT = "23"
ELSEWHERE = "127.0.0.2"
"""The host that redirects lead to, on the upstream's port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is right: the status, and every byte of the body; `complete` says whether that is all.

    `body` is None for a refusal in the router's own words, with this `code`. Of a broken answer `code`
    is that of the event which tells so, if one does. `second`: whether the next candidate is asked.
    """

    status: int
    body: bytes | None
    complete: bool
    code: str | None
    encoding: str | None
    second: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fault:
    """One row. `first`: a good answer comes before, so that the router has a connection to use again.

    `alone`: nothing else may be asked meanwhile, since its upstream may spoil a connection of the pool.
    """

    row: str
    name: str
    case: Case
    expected: Facts
    alone: bool = False
    first: bool = False

    @property
    def id(self) -> str:
        """Row and name, and what is asked for."""
        return f"{self.row} {self.name}, {'stream' if self.case.streams else 'document'}"

    @property
    def verdict(self) -> Verdict:
        """What is right, out of what the lab expects."""
        expected = self.expected
        words, _plus, told = str(expected["body"]).partition(" + ")
        second = SECOND_STREAM if self.case.streams else SECOND_DOCUMENT
        bodies = {"U2's": second, "as sent": self.case.sent, "empty": b"", "refusal": None}
        code, encoding = expected.get("code"), expected.get("content-encoding")
        status = expected.get("status", 200)
        assert isinstance(status, int)
        return Verdict(
            status=status,
            body=bodies[words],
            complete=any(agrees(expected["end"], str(end)) for end in (End.CLEAN, End.UNFRAMED)),
            code=told or (None if code is None else str(code)),
            encoding=None if encoding is None else str(encoding),
            second=words == "U2's",
        )


_NOT_PLAYED: Mapping[tuple[str, str], str] = {
    ("18", "br"): "the lab's bytes are no brotli: whoever decodes them sees garbage",
}
"""What the lab plays and no client here can judge, by row and the first word of the name, and why."""

_SAME_FOR_A_DOCUMENT = frozenset({"5", "7", "21", "22", "22b"})
"""Rows whose answer is wrong, or final, before the kind of its body matters."""


def _of_the_lab() -> Iterator[Fault]:
    for scenario in SCENARIOS:
        look = scenario.look
        case = look.keywords.get("case") if isinstance(look, partial) else None
        if not isinstance(case, Case):
            continue
        if (scenario.row, scenario.name.partition(",")[0]) in _NOT_PLAYED:
            continue
        fault = Fault(
            row=scenario.row,
            name=scenario.name,
            case=case,
            expected=scenario.expected,
            alone=scenario.alone,
        )
        yield fault
        if scenario.row in _SAME_FOR_A_DOCUMENT:
            yield replace(fault, case=replace(case, streams=False))


def _stale() -> Iterator[Fault]:
    """Row 6: the connection of the first attempt was used before."""
    for name, step in (("FIN", Fin()), ("RST", Rst())):

        def once(asked: Asked, then: Script = (step,)) -> Script:
            return then if asked.reused else GOOD

        well = Case(play=once, sent=GOOD_STREAM)
        again = Case(play=(step,), sent=GOOD_STREAM)
        for words, case, expected in (
            ("well on a new connection", well, answered()),
            ("the same on a new connection, U2 left", again, failed_over()),
            ("the same on a new connection, last", replace(again, second=False), refused(502)),
        ):
            yield Fault(
                row="6",
                name=f"{name} on a reused connection, {words}",
                case=case,
                expected=expected,
                alone=True,
                first=True,
            )


def _going_on() -> Iterator[Fault]:
    """Row 16: bytes behind the end."""
    for scenario in SCENARIOS:
        if scenario.row == "16" and isinstance(scenario.look, partial):
            yield Fault(
                row="16",
                name=scenario.name,
                case=Case(play=scenario.look.keywords["play"], sent=GOOD_STREAM),
                expected=answered(),
                alone=scenario.alone,
            )


_OPENING = head(200, chunked=True) + chunks(GOOD_EVENTS[:2], last=False)
_OPENED = b"".join(GOOD_EVENTS[:2])


def _dripping() -> Iterator[Fault]:
    """Row 13, where no deadline ends it."""
    drip: Script = (
        Send(_OPENING + b"%x\r\n" % len(GOOD_EVENTS[2])),
        Drip(GOOD_EVENTS[2][:20], 0.02),
        Send(GOOD_EVENTS[2][20:] + b"\r\n" + chunks(GOOD_EVENTS[3:])),
    )
    yield Fault(
        row="13",
        name="a byte at a time",
        case=Case(play=drip, sent=GOOD_STREAM),
        expected=answered(),
    )


_LARGE = document("x" * 300 * 1024)
_NO_JSON_END = GOOD_DOCUMENT[:-9]


def _documents() -> Iterator[Fault]:
    """Row 14 for what is not streamed."""
    for end, step in (("FIN", Fin()), ("RST", Rst())):
        for framing, opening in (
            ("with length", head(200, media=JSON, length=len(GOOD_DOCUMENT)) + _NO_JSON_END),
            ("within a chunk", head(200, media=JSON, chunked=True) + b"ff\r\n" + _NO_JSON_END),
            ("between chunks", head(200, media=JSON, chunked=True) + chunk(_NO_JSON_END)),
        ):
            yield _document(f"{end}, {framing}", (Send(opening), step), _NO_JSON_END)
    whole = head(200, media=JSON, chunked=True) + chunk(GOOD_DOCUMENT)
    yield _document("FIN in place of the last chunk", (Send(whole), Fin()), GOOD_DOCUMENT)
    yield _document("a bad size after it", (Send(whole + b"zz\r\n"), Stall()), GOOD_DOCUMENT)
    cut = _LARGE[:-9]
    held = head(200, media=JSON, length=len(_LARGE)) + cut
    yield _document("FIN after more than is held", (Send(held), Fin()), cut, second=True)
    yield _document(
        "RST after more than is held",
        # Linux drops what it has received and not handed over when a reset comes: here it has time.
        (Send(held), Pause(0.3), Rst()),
        cut,
        second=True,
    )


def _document(name: str, play: Script, sent: bytes, *, second: bool = False) -> Fault:
    case = Case(play=play, sent=sent, streams=False, second=second)
    return Fault(row="14", name=name, case=case, expected=broken())


_CUTS = 10
_ENDS: Mapping[Right, Callable[[bytes], Facts]] = {
    Right.FAIL_OVER: lambda _sent: failed_over(),
    Right.BREAK: lambda sent: broken("upstream_broken" if sent.endswith(b"\n\n") else None),
    Right.REFUSE: lambda _sent: refused(502),
    Right.CLEAN: lambda _sent: answered(),
}


def _cuts() -> Iterator[Fault]:
    """A sample of the sweep, and each offset at which the right answer changes."""
    recording = record()
    for second in (True, False):
        for place, offset in enumerate(offsets(recording, _CUTS)):
            cut = (Cut.FIN, Cut.RST)[place % 2]
            sent = recording.body(offset)
            right = recording.right(offset, second=second)
            yield Fault(
                row="cut",
                name=f"{cut} at {offset}, {'U2 left' if second else 'last'}",
                case=Case(play=script(recording, offset, cut), sent=sent, second=second),
                expected=_ENDS[right](sent),
            )


def _moved(asked: Asked, status: int) -> Script:
    """A redirect to the same port of another host."""
    fields = asked.head.split(b"\r\n")
    hosts = [field[6:] for field in fields if field.lower().startswith(b"host: ")]
    target = b"http://%b:%b/" % (ELSEWHERE.encode(), hosts[0].rpartition(b":")[2])
    return (Send(refusal(status, "moved", b"Location: " + target)),)


def _redirects() -> Iterator[Fault]:
    sent = json.dumps({"detail": "moved"}).encode()
    for status in (301, 302, 307, 308):
        yield Fault(
            row=REDIRECT,
            name=f"{status} to another host",
            case=Case(play=partial(_moved, status=status), sent=sent),
            expected=passed(status),
        )


FAULTS: tuple[Fault, ...] = (
    *_of_the_lab(),
    *_stale(),
    *_dripping(),
    *_documents(),
    *_going_on(),
    *_redirects(),
    *_cuts(),
)

_SILENT: Script = (Send(_OPENING), Stall())
OVERDUE = Fault(
    row="13",
    name="an answer that outlives the deadline of the whole request",
    case=Case(play=_SILENT, sent=_OPENED),
    expected=broken("upstream_stalled"),
)
DRAINED = Fault(
    row="43",
    name="an answer that outlives the drain",
    case=Case(play=_SILENT, sent=_OPENED),
    expected=broken(),
)
