"""One fetch on the wire: what its answer may be, how large, how late, and the word for what it was not.

The client is the real one of `autopilot.http_client`; `Bench.ask` starts a fetch, and the test plays
the server on the `Line` that it gets.
"""

import gzip
import tracemalloc
import zlib
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from autopilot.connection_pool import ConnectionPool
from autopilot.controlplane.fetch import FetchError, FetchFault, _Body, _Gzip, fetch
from autopilot.http_client import make_client
from tests.test_http_client import HangingResolver, Line, Net, header_lines

URL = "http://feed.test/feed?x=1"
WITHIN = 10.0
LIMIT = 1000
GZIP = b"content-encoding: gzip\r\n"


class Asked:
    """A fetch under way: its body or its fault, once there is one."""

    def __init__(self, fetching: "Deferred[bytes]") -> None:
        self.body: bytes | None = None
        self.fault: FetchFault | None = None
        self._fetching = fetching
        fetching.addCallbacks(self._succeeded, self._failed)

    def _succeeded(self, body: bytes) -> None:
        self.body = body

    def _failed(self, failure: Failure) -> None:
        assert isinstance(failure.value, FetchError)
        self.fault = failure.value.fault

    @property
    def result(self) -> bytes | FetchFault | None:
        return self.fault or self.body

    def cancel(self) -> None:
        self._fetching.cancel()


class Bench:
    def __init__(self) -> None:
        self.net = Net()
        self.pool = ConnectionPool(self.net.reactor, max_idle=2, connect_timeout=WITHIN)
        self.client = make_client(
            self.net.reactor,
            self.pool,
            accept_encoding=b"gzip",
            retried=lambda: None,
        )

    def start(self) -> Asked:
        return Asked(
            Deferred.fromCoroutine(
                fetch(self.client, URL, clock=self.net.reactor, within=WITHIN, max_bytes=LIMIT)
            )
        )

    def ask(self) -> tuple[Asked, Line]:
        asked = self.start()
        return asked, self.net.accept()

    def finish(self) -> None:
        """Whatever the end was, no timer is left once idle connections are closed."""
        self.pool.closeCachedConnections()
        self.net.turn()
        assert self.net.reactor.getDelayedCalls() == []


def answered(
    body: bytes = b"[]", *, status: bytes = b"200 OK", fields: bytes = b""
) -> bytes | FetchFault | None:
    """What a fetch makes of an answer that is complete."""
    bench = Bench()
    asked, line = bench.ask()
    line.answer(body, status=status, fields=fields)
    bench.finish()
    return asked.result


def parts(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def chunked(data: bytes, size: int = 7) -> bytes:
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in parts(data, size)]
    return b"".join([*chunks, b"0\r\n\r\n"])


def test_a_whole_body_is_the_result_and_its_connection_is_kept() -> None:
    bench = Bench()
    asked, line = bench.ask()
    assert line.received.startswith(b"GET /feed?x=1 HTTP/1.1\r\n")
    assert header_lines(line.received, b"host") == [b"feed.test"]
    assert header_lines(line.received, b"accept-encoding") == [b"gzip"]
    line.answer(b"[1]")
    assert asked.result == b"[1]"
    again = bench.start()
    assert bench.net.dialled == 1
    line.answer(b"[2]")
    assert again.result == b"[2]"
    bench.finish()


def test_a_chunked_body_is_the_result() -> None:
    bench = Bench()
    asked, line = bench.ask()
    line.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(b"[1,2,3,4,5]"))
    assert asked.result == b"[1,2,3,4,5]"
    bench.finish()


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 308, 404, 429, 500, 503])
def test_any_status_but_200_is_a_status_fault(status: int) -> None:
    fields = b"location: http://elsewhere.test/\r\n" if status in range(300, 400) else b""
    body = b"" if status == 204 else b"[]"
    assert answered(body, status=b"%d Word" % status, fields=fields) is FetchFault.STATUS


def test_a_redirect_is_not_followed() -> None:
    bench = Bench()
    asked, line = bench.ask()
    line.answer(status=b"302 Found", fields=b"location: http://elsewhere.test/\r\n")
    bench.net.turn()
    assert asked.fault is FetchFault.STATUS
    assert bench.net.dialled == 1
    bench.finish()


def test_the_body_of_a_refusal_is_not_waited_for() -> None:
    bench = Bench()
    asked, line = bench.ask()
    line.send(b"HTTP/1.1 503 Busy\r\ncontent-length: 100000000\r\n\r\n<html>")
    assert asked.fault is FetchFault.STATUS
    bench.net.turn()
    assert not line.is_open()
    bench.finish()


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_exactly_the_limit_is_accepted_however_it_is_cut(*, size: int, packed: bool) -> None:
    body = bytes(index % 251 for index in range(LIMIT))
    sent = gzip.compress(body) if packed else body
    bench = Bench()
    asked, line = bench.ask()
    encoding = GZIP if packed else b""
    line.send(b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n" % (encoding, len(sent)))
    for part in parts(sent, size):
        line.send(part)
    assert asked.result == body
    bench.finish()


@pytest.mark.parametrize("size", [1, 3, 1001])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_one_byte_over_the_limit_is_too_large_however_it_is_cut(*, size: int, packed: bool) -> None:
    body = bytes(index % 251 for index in range(LIMIT + 1))
    sent = gzip.compress(body) if packed else body
    bench = Bench()
    asked, line = bench.ask()
    encoding = GZIP if packed else b""
    line.send(b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n" % (encoding, len(sent)))
    for part in parts(sent, size):
        line.send(part)
    assert asked.fault is FetchFault.TOO_LARGE
    bench.finish()


def test_a_body_without_end_is_cut_at_the_limit() -> None:
    bench = Bench()
    asked, line = bench.ask()
    line.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(LIMIT // 100):
        line.send(b"64\r\n" + b"x" * 100 + b"\r\n")
        assert asked.result is None
    line.send(b"1\r\nx\r\n")
    assert asked.fault is FetchFault.TOO_LARGE
    bench.net.turn()
    assert not line.is_open()
    bench.finish()


@pytest.mark.parametrize("name", [b"gzip", b"GZIP", b"x-gzip", b" gzip "])
def test_gzip_is_decoded_under_each_of_its_names(name: bytes) -> None:
    fields = b"content-encoding: %s\r\n" % name
    assert answered(gzip.compress(b"[1]"), fields=fields) == b"[1]"


@pytest.mark.parametrize("fields", [b"", b"content-encoding: identity\r\n"])
def test_a_body_that_is_not_encoded_is_taken_as_it_is(fields: bytes) -> None:
    packed = gzip.compress(b"[1]")
    assert answered(packed, fields=fields) == packed


@pytest.mark.parametrize(
    "fields",
    [
        b"content-encoding: br\r\n",
        b"content-encoding: gzip, gzip\r\n",
        b"content-encoding: gzip\r\ncontent-encoding: gzip\r\n",
        b"content-encoding: deflate\r\n",
    ],
)
def test_an_encoding_that_was_not_asked_for_is_an_encoding_fault(fields: bytes) -> None:
    assert answered(gzip.compress(b"[1]"), fields=fields) is FetchFault.ENCODING


@pytest.mark.parametrize("body", [b"[1]", zlib.compress(b"[1]"), b"\x1f\x8b\x08\xff" + b"x" * 40])
def test_what_only_claims_to_be_gzip_is_an_encoding_fault(body: bytes) -> None:
    assert answered(body, fields=GZIP) is FetchFault.ENCODING


def test_gzip_with_a_wrong_checksum_is_an_encoding_fault() -> None:
    packed = bytearray(gzip.compress(b"[1]"))
    packed[-5] ^= 1
    assert answered(bytes(packed), fields=GZIP) is FetchFault.ENCODING


def test_gzip_cut_anywhere_is_broken_though_its_framing_is_whole() -> None:
    packed = gzip.compress(b"[1,2,3]")
    for cut in range(len(packed)):
        assert answered(packed[:cut], fields=GZIP) is FetchFault.BROKEN, cut


def test_a_gzip_bomb_is_too_large_and_is_never_expanded() -> None:
    limit = 4 << 20
    bomb = gzip.compress(bytes(64 << 20))
    body = _Body(_Gzip(), limit)
    asked = Asked(body.whole)
    body.makeConnection(StringTransport())
    tracemalloc.start()
    try:
        for part in parts(bomb, 4096):
            body.dataReceived(part)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert asked.fault is FetchFault.TOO_LARGE
    assert peak < 4 * limit


def test_a_gzip_bomb_in_one_piece_costs_no_more_than_the_limit() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    body = _Body(_Gzip(), LIMIT)
    asked = Asked(body.whole)
    body.makeConnection(StringTransport())
    tracemalloc.start()
    try:
        body.dataReceived(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert asked.fault is FetchFault.TOO_LARGE
    # What zlib has not looked at yet is copied once.
    assert peak < 2 * len(bomb) + 100 * LIMIT


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_content_length_that_promises_too_much_is_broken(*, packed: bool) -> None:
    body = gzip.compress(b"[1]") if packed else b"[1]"
    bench = Bench()
    asked, line = bench.ask()
    encoding = GZIP if packed else b""
    line.send(b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n" % (encoding, len(body) + 1))
    line.send(body)
    assert asked.result is None
    line.hang_up()
    assert asked.fault is FetchFault.BROKEN
    bench.finish()


def test_a_content_length_that_promises_too_little_ends_the_body_there() -> None:
    bench = Bench()
    asked, line = bench.ask()
    line.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n[],[1]")
    assert asked.result == b"[]"
    bench.finish()


@pytest.mark.parametrize("reason", [error.ConnectionDone(), error.ConnectionLost()])
def test_a_body_whose_chunks_break_off_is_broken(reason: Exception) -> None:
    whole = chunked(b"[1,2,3,4,5]")
    for cut in range(len(whole) - 2):
        bench = Bench()
        asked, line = bench.ask()
        line.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + whole[:cut])
        line.hang_up(reason)
        assert asked.fault is FetchFault.BROKEN, cut
        bench.finish()


def test_a_body_that_only_a_close_ends_is_broken_because_a_reset_looks_the_same() -> None:
    bench = Bench()
    asked, line = bench.ask()
    line.send(b"HTTP/1.1 200 OK\r\n\r\n[]")
    line.hang_up()
    assert asked.fault is FetchFault.BROKEN
    bench.finish()


def test_a_refused_connection_is_a_connect_fault() -> None:
    bench = Bench()
    asked = bench.start()
    bench.net.refuse()
    bench.net.reactor.advance(0.1)
    assert asked.fault is FetchFault.CONNECT
    bench.finish()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nx: ", b"\x16\x03\x01 no HTTP\r\n\r\n"])
def test_a_connection_that_ends_before_the_headers_do_is_a_connect_fault(sent: bytes) -> None:
    bench = Bench()
    asked, line = bench.ask()
    line.send(sent)
    line.hang_up()
    bench.net.turn()
    assert asked.fault is FetchFault.CONNECT
    bench.finish()


def test_a_resolver_that_hangs_costs_no_more_than_the_deadline() -> None:
    bench = Bench()
    bench.net.reactor.installNameResolver(HangingResolver())
    asked = bench.start()
    bench.net.reactor.advance(WITHIN)
    assert asked.fault is FetchFault.CONNECT
    bench.finish()


def test_headers_that_do_not_come_are_a_timeout_that_closes_the_connection() -> None:
    bench = Bench()
    asked, line = bench.ask()
    bench.net.reactor.advance(WITHIN - 0.01)
    assert asked.result is None
    bench.net.reactor.advance(0.01)
    bench.net.turn()
    assert asked.fault is FetchFault.TIMEOUT
    assert not line.is_open()
    bench.finish()


def test_headers_and_body_share_one_deadline() -> None:
    bench = Bench()
    asked, line = bench.ask()
    bench.net.reactor.advance(WITHIN / 2)
    line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[")
    bench.net.reactor.advance(WITHIN / 2 - 0.01)
    assert asked.result is None
    bench.net.reactor.advance(0.01)
    bench.net.turn()
    assert asked.fault is FetchFault.TIMEOUT
    assert not line.is_open()
    bench.finish()


def test_a_body_that_drips_is_a_timeout_at_the_same_deadline() -> None:
    bench = Bench()
    asked, line = bench.ask()
    line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
    for _ in range(int(WITHIN)):
        assert asked.result is None
        line.send(b" ")
        bench.net.reactor.advance(1)
    assert asked.fault is FetchFault.TIMEOUT
    bench.net.turn()
    assert not line.is_open()
    bench.finish()


def test_bytes_after_the_end_of_a_fetch_are_ignored() -> None:
    body = _Body(_Gzip(), LIMIT)
    asked = Asked(body.whole)
    body.makeConnection(StringTransport())
    body.fail(FetchFault.TIMEOUT)
    body.dataReceived(b"x")
    body.connectionLost(Failure(ResponseDone()))
    assert asked.result is FetchFault.TIMEOUT


@pytest.mark.parametrize("phase", ["resolving", "connecting", "waiting", "in headers", "in body"])
def test_cancelling_ends_a_fetch_in_any_phase_and_closes_its_connection(phase: str) -> None:
    bench = Bench()
    if phase == "resolving":
        bench.net.reactor.installNameResolver(HangingResolver())
    fetching: Deferred[Any] = Deferred.fromCoroutine(
        fetch(bench.client, URL, clock=bench.net.reactor, within=WITHIN, max_bytes=LIMIT)
    )
    ended: list[object] = []
    fetching.addBoth(ended.append)
    if phase not in {"resolving", "connecting"}:
        line = bench.net.accept()
        line.send(
            {"in headers": b"HTTP/1.1 ", "in body": b"HTTP/1.1 200 OK\r\n\r\n["}.get(phase, b"")
        )
    fetching.cancel()
    bench.net.turn()
    assert len(ended) == 1
    assert isinstance(ended[0], Failure)
    assert [line.is_open() for line in bench.net.lines if line.is_open()] == []
    if phase == "connecting":
        assert bench.net.reactor.connectors[0].stoppedConnecting
    bench.finish()


def test_a_fault_holds_nothing_of_the_answer() -> None:
    marked = b"marked-secret"
    bench = Bench()
    failures: list[Failure] = []
    Deferred.fromCoroutine(
        fetch(bench.client, URL, clock=Clock(), within=WITHIN, max_bytes=LIMIT)
    ).addErrback(failures.append)
    bench.net.accept().answer(marked * LIMIT, fields=b"x: %s\r\n" % marked)
    (failure,) = failures
    assert isinstance(failure.value, FetchError)
    assert marked.decode() not in failure.getErrorMessage() + repr(failure.value)
    bench.net.turn()
    bench.finish()
