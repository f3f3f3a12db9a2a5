"""What the client takes for a response, and after which it uses a connection again.

The whole client on `Line`s of `test_http_client`: `refused` and `answered` send one raw response to
one request.
"""

from typing import Any

import pytest
from twisted.internet import error
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss

from autopilot.client_protocol import MAX_HEAD_BYTES, MAX_HEAD_LINES, MAX_INTERIM
from autopilot.dataplane.upstream import outcome_of
from autopilot.http_client import WireResponse, reasons_of
from autopilot.policy.failover import Outcome
from tests.test_http_client import URL, Bench, Collected, Line, failure_of, read, waiting

OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = b"Content-Length: 0\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
CANARY = b"canary"


def asked(method: str = "POST") -> tuple[Bench, Any, Line]:
    bench = Bench()
    if method == "POST":
        requesting: Any = bench.request(b"{}")
    else:
        requesting = bench.client.request(method, URL, allow_redirects=False, unbuffered=True)
    return bench, requesting, bench.net.accept()


def refused(raw: bytes) -> Failure:
    """How the request failed; its connection was closed and is not used again."""
    bench, requesting, line = asked()
    line.send(raw)
    failure = failure_of(requesting)
    assert_not_used_again(bench, line)
    return failure


def answered(raw: bytes, method: str = "POST") -> tuple[Bench, Line, WireResponse, Collected]:
    bench, requesting, line = asked(method)
    line.send(raw)
    response, body = read(requesting)
    return bench, line, response, body


def assert_not_used_again(bench: Bench, line: Line) -> None:
    # Asked for at once: before the reactor has got round to closing it.
    dialled = bench.net.dialled
    again = bench.request(b"{}")
    assert bench.net.dialled == dialled + 1
    bench.net.accept().answer(b"x")
    read(again)
    bench.net.turn()
    assert not line.is_open()
    bench.finish()


INVALID = {
    "garbage": b"\x16\x03\x01\x00\x05hello\r\n\r\n",
    "an empty status line": b"\r\n" + OK + EMPTY,
    "another protocol": b"ICY/1.1 200 OK\r\n" + EMPTY,
    "HTTP/2": b"HTTP/2.0 200 OK\r\n" + EMPTY,
    "status -1": b"HTTP/1.1 -1 OK\r\n" + EMPTY,
    "status 0": b"HTTP/1.1 000 OK\r\n" + EMPTY,
    "status 99": b"HTTP/1.1 99 OK\r\n" + EMPTY,
    "status 600": b"HTTP/1.1 600 OK\r\n" + EMPTY,
    "status 2000": b"HTTP/1.1 2000 OK\r\n" + EMPTY,
    "a signed status": b"HTTP/1.1 +20 OK\r\n" + EMPTY,
    "NUL in the phrase": b"HTTP/1.1 200 O\0K\r\n" + EMPTY,
    "CR in the phrase": b"HTTP/1.1 200 O\rK\r\n" + EMPTY,
    "NUL in a value": OK + b"X: a\0b\r\n" + EMPTY,
    "CR in a value": OK + b"X: a\rX-B: b\r\n" + EMPTY,
    "CR at the end of a value": OK + b"X: a\r\r\n" + EMPTY,
    "no colon": OK + b"X\r\n" + EMPTY,
    "a space before the colon": OK + b"X : a\r\n" + EMPTY,
    "no name": OK + b": a\r\n" + EMPTY,
    "a folded first line": OK + b" a: b\r\n" + EMPTY,
    "conflicting lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "conflicting lengths in a list": OK + b"Content-Length: 1, 2\r\n\r\nab",
    "a signed length": OK + b"Content-Length: +1\r\n\r\na",
    "a negative length": OK + b"Content-Length: -1\r\n\r\na",
    "no number for a length": OK + b"Content-Length: a\r\n\r\na",
    "5000 digits": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\na",
    "length and chunked": OK + b"Content-Length: 6\r\n" + CHUNKED,
    "chunked and length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
    "gzip, chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\n" + CHUNKED,
    "chunked, then gzip": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\n" + CHUNKED,
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
}


@pytest.mark.parametrize("raw", INVALID.values(), ids=INVALID)
def test_what_is_no_valid_response_is_a_protocol_error_and_ends_the_connection(raw: bytes) -> None:
    failure = refused(raw)
    assert failure.check(ResponseFailed)
    assert outcome_of(failure) is Outcome.PROTOCOL_ERROR


@pytest.mark.parametrize("reason", [error.ConnectionDone(), error.ConnectionLost()])
def test_a_head_that_is_cut_is_a_lost_connection(reason: Exception) -> None:
    bench, requesting, line = asked()
    line.send(OK + b"X: ")
    line.hang_up(reason)
    assert outcome_of(failure_of(requesting)) is Outcome.CONNECTION_LOST
    bench.finish()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 %s\r\n\r\n" % CANARY,
        OK + b"X: %s\0\r\n\r\n" % CANARY,
        b"HTTP/1.1 200 " + CANARY * 12000,
    ],
)
def test_our_errors_repeat_nothing_that_the_peer_said(raw: bytes) -> None:
    (reason,) = reasons_of(refused(raw))
    assert isinstance(reason.value, ParseError)
    assert CANARY.decode() not in repr(reason.value)


ODD = {
    "LF alone": b"HTTP/1.1 200 OK\nX: a\nContent-Length: 1\n\nb",
    "no phrase": b"HTTP/1.1 200\r\nX: a\r\nContent-Length: 1\r\n\r\nb",
    "an empty phrase": b"HTTP/1.1 200 \r\nX: a\r\nContent-Length: 1\r\n\r\nb",
    "a phrase in another alphabet": b"HTTP/1.1 200 \xc3\xa9\r\nX: a\r\nContent-Length: 1\r\n\r\nb",
    "a folded value": OK + b"X:\r\n a\r\nContent-Length: 1\r\n\r\nb",
    "one length twice": OK + b"X: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nb",
    "Chunked": OK + b"X: a\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n",
    "a later minor version": b"HTTP/1.2 200 OK\r\nX: a\r\nContent-Length: 1\r\n\r\nb",
    "trailers": OK + b"X: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nX: c\r\n\r\n",
}


@pytest.mark.parametrize("raw", ODD.values(), ids=ODD)
def test_what_is_odd_but_unambiguous_is_a_response_and_its_connection_is_used_again(
    raw: bytes,
) -> None:
    bench, line, response, body = answered(raw)
    assert (response.code, response.wire_headers.getRawHeaders(b"x")) == (200, [b"a"])
    assert body.data == b"b"
    assert body.ended is not None
    assert body.ended.check(ResponseDone)
    bench.request(b"{}")
    assert bench.net.dialled == 1
    line.answer()
    bench.finish()


def head_of(total: int) -> bytes:
    """A head of exactly `total` bytes, in lines of 1000."""
    head, end = OK, b"Content-Length: 0\r\n\r\n"
    while (room := total - len(head) - len(end)) > 0:
        size = 1000 if room >= 2000 else room
        head += b"X: " + b"a" * (size - 5) + b"\r\n"
    return head + end


@pytest.mark.parametrize("step", [1 << 20, 1460, 1])
def test_a_head_may_have_so_many_bytes_and_not_one_more(step: int) -> None:
    for total in (MAX_HEAD_BYTES, MAX_HEAD_BYTES + 1):
        bench, requesting, line = asked()
        raw = head_of(total)
        assert len(raw) == total
        for start in range(0, total, step):
            line.send(raw[start : start + step])
        if total == MAX_HEAD_BYTES:
            assert read(requesting)[0].code == 200
        else:
            assert outcome_of(failure_of(requesting)) is Outcome.PROTOCOL_ERROR
        bench.net.turn()
        assert line.is_open() is (total == MAX_HEAD_BYTES)
        bench.finish()


def test_a_head_may_have_so_many_lines_and_not_one_more() -> None:
    def head(lines: int) -> bytes:
        return OK + b"A:b\r\n" * (lines - 3) + b"Content-Length: 0\r\n\r\n"

    assert answered(head(MAX_HEAD_LINES))[2].code == 200
    assert outcome_of(refused(head(MAX_HEAD_LINES + 1))) is Outcome.PROTOCOL_ERROR


def test_folded_lines_count() -> None:
    folded = OK + b"A:b\r\n" + b" c\r\n" * MAX_HEAD_LINES + EMPTY
    assert outcome_of(refused(folded)) is Outcome.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "endless", [b"X: a\r\n", b"X: " + b"a" * 1000 + b"\r\n", b"a" * 1000, b" a\r\n"]
)
def test_an_endless_head_is_ended_within_its_bounds(endless: bytes) -> None:
    bench, requesting, line = asked()
    line.send(OK + b"X: ")
    sent = 0
    while waiting(requesting) and sent < 10 * MAX_HEAD_BYTES:
        line.send(endless)
        sent += len(endless)
    assert sent < MAX_HEAD_BYTES + len(endless)
    assert failure_of(requesting).check(ResponseFailed)
    bench.net.turn()
    assert not line.is_open()
    bench.finish()


INTERIM = [
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n" + b"Link: </a>; rel=preload\r\n" * 100 + b"\r\n",
]


@pytest.mark.parametrize("one", INTERIM)
def test_a_few_interim_responses_are_passed_over_whatever_they_hold(one: bytes) -> None:
    bench, requesting, line = asked()
    for _ in range(MAX_INTERIM):
        line.send(one)
        assert waiting(requesting)
    line.answer(b"final")
    response, body = read(requesting)
    assert (response.code, body.data) == (200, b"final")
    assert response.wire_headers.getRawHeaders(b"link") is None
    bench.request(b"{}")
    assert bench.net.dialled == 1
    line.answer()
    bench.finish()


@pytest.mark.parametrize("one", INTERIM)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_flood_of_interim_responses_is_a_protocol_error(one: bytes, *, at_once: bool) -> None:
    bench, requesting, line = asked()
    if at_once:
        line.send(one * 5000)
    else:
        for _ in range(MAX_INTERIM):
            line.send(one)
        assert waiting(requesting)
        line.send(one)
    assert outcome_of(failure_of(requesting)) is Outcome.PROTOCOL_ERROR
    bench.net.turn()
    assert not line.is_open()
    bench.finish()


def test_what_belongs_to_the_hop_stays_there() -> None:
    fields = (
        b"Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nx-hop: 2\r\nKeep-Alive: timeout=5\r\n"
        b"connection: x-OTHER ,not a token,\r\nX-Other: 3\r\nX-Hop-Not: 4\r\nTE: x\r\n"
        b"Trailer: X-T\r\nUpgrade: h2c\r\nProxy-Connection: x\r\nProxy-Authenticate: Basic\r\n"
        b"Proxy-Authentication-Info: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
    )
    bench, _line, response, _body = answered(OK + fields + EMPTY)
    assert dict(response.wire_headers.getAllRawHeaders()) == {
        b"X-Hop-Not": [b"4"],
        b"Set-Cookie": [b"a", b"b"],
    }
    bench.finish()


LAST = {
    "close": OK + b"Connection: close\r\n" + EMPTY,
    "Close": OK + b"Connection: Close\r\n" + EMPTY,
    "a list": OK + b"Connection: x, CLOSE\r\n" + EMPTY,
    "a list without spaces": OK + b"Connection: close,x\r\n" + EMPTY,
    "two fields": OK + b"Connection: x\r\nConnection: close\r\n" + EMPTY,
    "close, chunked": OK + b"Connection: Close\r\n" + CHUNKED,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n" + EMPTY,
    "HTTP/1.0 keep-alive": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + EMPTY,
    "leftover": OK + EMPTY + b"x",
    "leftover after a body": OK + b"Content-Length: 1\r\n\r\na" + OK + EMPTY,
    "leftover after chunks": OK + CHUNKED + b"\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
}


@pytest.mark.parametrize("raw", LAST.values(), ids=LAST)
def test_after_such_a_response_the_connection_is_closed_and_not_used_again(raw: bytes) -> None:
    bench, line, _response, body = answered(raw)
    assert body.ended is not None
    assert body.ended.check(ResponseDone)
    assert_not_used_again(bench, line)


@pytest.mark.parametrize("value", [b"keep-alive", b"closed", b"x-close", b""])
@pytest.mark.parametrize("rest", [EMPTY, CHUNKED])
def test_after_any_other_response_it_is_used_again(value: bytes, rest: bytes) -> None:
    bench, line, _response, _body = answered(OK + b"Connection: %s\r\n" % value + rest)
    bench.request(b"{}")
    assert bench.net.dialled == 1
    line.answer()
    bench.finish()


def test_a_body_that_ends_with_the_connection_leaves_nothing_to_use_again() -> None:
    bench, line, _response, body = answered(OK + b"\r\nbody")
    line.hang_up()
    assert body.ended is not None
    assert body.ended.check(PotentialDataLoss)
    assert_not_used_again(bench, line)


FRAMINGS = [
    b"",
    b"Content-Length: 4\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\nContent-Length: 4\r\n",
]
BODILESS = [
    (status + framing + b"\r\n" + body)
    for status in (b"HTTP/1.1 204 No Content\r\n", b"HTTP/1.1 304 Not Modified\r\n")
    for framing in FRAMINGS
    for body in (b"", b"evil", b"4\r\nevil\r\n0\r\n\r\n")
]


@pytest.mark.parametrize("raw", BODILESS)
@pytest.mark.parametrize("later", [False, True])
def test_a_status_without_a_body_has_none_whatever_is_sent(raw: bytes, *, later: bool) -> None:
    head, blank, illegal = raw.partition(b"\r\n\r\n")
    bench, requesting, line = asked()
    line.send(head + blank if later else raw)
    response, body = read(requesting)
    assert response.code in {204, 304}
    assert response.length == 0
    line.send(illegal if later else b"")
    assert body.data == b""
    assert body.ended is not None
    assert body.ended.check(ResponseDone)
    assert response.wire_headers.getRawHeaders(b"transfer-encoding") is None
    assert_not_used_again(bench, line)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("illegal", [b"", b"evil"])
def test_an_answer_to_head_keeps_its_length_and_has_no_body(framing: bytes, illegal: bytes) -> None:
    bench, line, response, body = answered(OK + framing + b"\r\n" + illegal, "HEAD")
    expected = [b"4"] if b"Length" in framing else None
    assert response.wire_headers.getRawHeaders(b"content-length") == expected
    assert body.data == b""
    assert_not_used_again(bench, line)


@pytest.mark.parametrize("late", [b"x", OK + EMPTY, b"\r\n"])
def test_bytes_that_come_after_the_response_end_the_connection_at_once(late: bytes) -> None:
    bench, line, _response, body = answered(OK + b"Content-Length: 1\r\n\r\na")
    line.send(late)
    assert body.data == b"a"
    assert_not_used_again(bench, line)
