"""Plans: from a request and a fault, if any, to the script that is played.

Rule 1: an answer and its fault are the same bytes up to the point where it goes wrong.
Rule 2: what the model only shows when it streams shows itself in one document as half of it.
"""

import gzip
from collections.abc import Iterable, Iterator
from itertools import chain

from autopilot.simulator.answers import Ask, Pace, content_chunks, document, event, events, opening
from autopilot.simulator.faults import REFUSALS, Fault, Refusal
from autopilot.simulator.journal import Outcome
from autopilot.simulator.script import End, Piece, Script
from autopilot.simulator.wire import EVENTS, JSON, PAGE, compact, edge_page

Headers = tuple[tuple[str, str], ...]

# A cut must not overtake the bytes before it: Twisted writes on the reactor's next turn, and a
# reset throws away whatever has not been written.
_BEFORE_A_CUT = 0.02

_ENGINE_ERROR = {
    "error": {
        "message": "simulated engine failure",
        "type": "InternalServerError",
        "param": None,
        "code": 500,
    }
}
_PLATFORM_ERROR = compact({"detail": "No result returned from upstream"})


def refuse(refusal: Refusal, *, model: str = "", chute_id: str = "") -> Script:
    """The script of a refusal."""
    detail = refusal.detail
    if detail is None:
        content_type, body = PAGE, edge_page(refusal.status)
    else:
        if isinstance(detail, str):
            detail = detail.format(model=model, chute_id=chute_id)
        content_type, body = JSON, compact({"detail": detail})
    headers = _whole_headers(content_type, body)
    if refusal.location is not None:
        headers += (("Location", refusal.location),)
    return Script(
        status=refusal.status,
        headers=headers,
        pieces=(Piece(after=0.0, data=body),),
        outcome=Outcome.REFUSED,
    )


def answer(ask: Ask, pace: Pace, extra: Headers) -> Script:
    """The script of a good answer."""
    if ask.stream:
        return _streamed(events(ask, pace), pace, extra)
    body = document(ask, pace)
    return _whole(body, _seconds(ask, pace), extra + _whole_headers(JSON, body))


def fail(fault: Fault, ask: Ask, pace: Pace, extra: Headers) -> Script:
    """The script of a fault."""
    if fault in REFUSALS:
        return refuse(REFUSALS[fault], model=ask.model.id, chute_id=ask.model.chute_id)
    match fault:
        case Fault.DROP:
            return _broken(200, (), (), End.FIN)
        case Fault.HEADER_STALL:
            return _broken(200, (), (), End.STALL)
        case Fault.FIRST_BYTE_STALL:
            flush = Piece(after=pace.first_chunk_delay, data=b"")
            return _broken(200, _headers(ask, extra), (flush,), End.STALL)
        case Fault.EMPTY_200:
            return _broken(200, _headers(ask, extra), (), End.CLEAN)
        case Fault.EMPTY_204:
            return _broken(204, extra, (), End.CLEAN)
        case Fault.GZIP:
            body = gzip.compress(document(ask, pace))
            headers = (*_whole_headers(JSON, body), ("Content-Encoding", "gzip"))
            return _whole(body, _seconds(ask, pace), extra + headers)
        case Fault.DRIP:
            return _dripping(ask, pace, extra)
        case Fault.ERROR_FIRST | Fault.BARE_ERROR_FIRST:
            return _error_first(fault, ask, pace, extra)
        case _:
            return _cut(fault, ask, pace, extra)


def _cut(fault: Fault, ask: Ask, pace: Pace, extra: Headers) -> Script:
    """An answer that begins well; only the length of a document stays as announced."""
    end = {
        Fault.RESET_MID: End.RST,
        Fault.FIN_MID: End.FIN,
        Fault.STALL_MID: End.STALL,
    }.get(fault, End.CLEAN)
    if not ask.stream:
        body = document(ask, pace)
        half = body[: len(body) // 2]
        headers: Headers = (("Content-Type", JSON),)
        if end is not End.CLEAN:
            headers = _whole_headers(JSON, body)
        if fault is Fault.LATE_ERROR:
            half += _PLATFORM_ERROR
        pieces: Iterable[Piece] = (Piece(after=_seconds(ask, pace), data=half),)
        return _broken(200, extra + headers, pieces, end)
    count = content_chunks(ask, pace)
    # Truncation is the finish reason missing, all content there: nothing else gives it away.
    shown = opening(ask, pace, count if fault is Fault.TRUNCATED else (count + 1) // 2)
    if fault is Fault.LATE_ERROR:
        shown = chain(shown, (_PLATFORM_ERROR,))
    return _broken(200, _headers(ask, extra), _timed(shown, pace), end)


def _error_first(fault: Fault, ask: Ask, pace: Pace, extra: Headers) -> Script:
    if fault is Fault.BARE_ERROR_FIRST:
        body = _PLATFORM_ERROR
    elif ask.stream:
        body = event(_ENGINE_ERROR)
    else:
        body = compact(_ENGINE_ERROR)
    pieces = (Piece(after=pace.first_chunk_delay, data=body),)
    return _broken(200, _headers(ask, extra), pieces, End.CLEAN)


def _dripping(ask: Ask, pace: Pace, extra: Headers) -> Script:
    """One byte for every chunk delay."""
    body = events(ask, pace) if ask.stream else (document(ask, pace),)
    single = (bytes((byte,)) for part in body for byte in part)
    return Script(
        status=200, headers=_headers(ask, extra), pieces=_timed(single, pace), end=End.CLEAN
    )


def _streamed(parts: Iterable[bytes], pace: Pace, extra: Headers) -> Script:
    headers = (*extra, ("Content-Type", EVENTS))
    return Script(status=200, headers=headers, pieces=_timed(parts, pace))


def _whole(body: bytes, after: float, headers: Headers) -> Script:
    return Script(status=200, headers=headers, pieces=(Piece(after=after, data=body),))


def _broken(status: int, headers: Headers, pieces: Iterable[Piece], end: End) -> Script:
    return Script(
        status=status,
        headers=headers,
        pieces=pieces,
        end=end,
        end_after=0.0 if end is End.CLEAN else _BEFORE_A_CUT,
        outcome=Outcome.BROKEN,
    )


def _timed(parts: Iterable[bytes], pace: Pace) -> Iterator[Piece]:
    after = pace.first_chunk_delay
    for part in parts:
        yield Piece(after=after, data=part)
        after = pace.chunk_delay


def _seconds(ask: Ask, pace: Pace) -> float:
    return pace.first_chunk_delay + content_chunks(ask, pace) * pace.chunk_delay


def _headers(ask: Ask, extra: Headers) -> Headers:
    return (*extra, ("Content-Type", EVENTS if ask.stream else JSON))


def _whole_headers(content_type: str, body: bytes) -> Headers:
    return (("Content-Type", content_type), ("Content-Length", str(len(body))))
