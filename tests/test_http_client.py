"""The HTTP client on the wire: real agent, pool and protocols over transports that the test plays.

`Net` is a reactor whose outgoing connections wait for the test; `net.accept()` lets the newest one
succeed and gives its `Line`, the server's end: `received` is what was sent there, `send` answers,
`hang_up` ends it. What the client does to its transport takes effect one reactor turn later, as on a
socket; `net.turn()` is that turn.
"""

import gzip
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pytest
from OpenSSL.SSL import Error as TlsError
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.web._newclient import (
    RequestNotSent,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from autopilot.connection_pool import IDLE_SECONDS, ConnectionPool
from autopilot.dataplane.upstream import BytesProducer
from autopilot.http_client import (
    StaleRetryAgent,
    WireResponse,
    make_client,
)

URL = "http://feed.test/path"
CONNECT_TIMEOUT = 2.0
NO_FIELDS: Mapping[str, str] = {}


class Line(StringTransport):
    """The server's end of one connection."""

    def __init__(self, reactor: MemoryReactorClock, factory: Any) -> None:
        super().__init__()
        self._reactor = reactor
        self._closing = False
        self._open = True
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self)

    @property
    def received(self) -> bytes:
        return cast("bytes", self.value())

    def is_open(self) -> bool:
        return self._open

    def send(self, data: bytes) -> None:
        if self._open:
            self.protocol.dataReceived(data)

    def answer(self, body: bytes = b"", *, status: bytes = b"200 OK", fields: bytes = b"") -> None:
        head = b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n\r\n" % (status, fields, len(body))
        self.send(head + body)

    def hang_up(self, reason: Exception | None = None) -> None:
        if self._open:
            self._open = self.connected = False
            self.protocol.connectionLost(Failure(reason or error.ConnectionDone()))

    def setTcpNoDelay(self, _enabled: bool) -> None:  # noqa: FBT001 - see ITCPTransport
        pass

    def loseConnection(self) -> None:
        super().loseConnection()
        if not self._closing:
            self._closing = True
            self._reactor.callLater(0, self.hang_up)

    def stopProducing(self) -> None:
        super().stopProducing()
        self.loseConnection()

    def resumeProducing(self) -> None:
        # A socket that is being closed ignores it.
        if not self.disconnecting:
            super().resumeProducing()


@implementer(IHostResolution)
class Resolution:
    name = "feed.test"

    def cancel(self) -> None:
        pass


@implementer(IHostnameResolver)
class HangingResolver:
    """Never finds an address."""

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,  # noqa: ARG002 - see IHostnameResolver
        portNumber: int = 0,  # noqa: ARG002
        addressTypes: Sequence[type[IAddress]] | None = None,  # noqa: ARG002
        transportSemantics: str = "TCP",  # noqa: ARG002
    ) -> IHostResolution:
        resolution = cast("IHostResolution", Resolution())
        resolutionReceiver.resolutionBegan(resolution)
        return resolution


class HangingForOne(HangingResolver):
    """Finds every host but `name` at once."""

    def __init__(self, name: str) -> None:
        self._name = name

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolution = super().resolveHostName(
            resolutionReceiver, hostName, portNumber, addressTypes, transportSemantics
        )
        if hostName != self._name:
            resolutionReceiver.addressResolved(IPv4Address("TCP", "192.0.2.1", portNumber))
            resolutionReceiver.resolutionComplete()
        return resolution


class Net:
    """A reactor in memory, and the lines of the connections that it was asked for."""

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.lines: list[Line] = []

    @property
    def dialled(self) -> int:
        return len(self.reactor.tcpClients)

    def accept(self, index: int = -1) -> Line:
        self.lines.append(Line(self.reactor, self.reactor.tcpClients[index][2]))
        return self.lines[-1]

    def refuse(self) -> None:
        factory = self.reactor.tcpClients[-1][2]
        connector = self.reactor.connectors[-1]
        factory.clientConnectionFailed(connector, Failure(error.ConnectionRefusedError()))

    def turn(self) -> None:
        self.reactor.advance(0)


class Collected(Protocol):
    """A whole body and how it ended."""

    def __init__(self) -> None:
        self.data = b""
        self.ended: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = reason


class Bench:
    """A client made by `make_client` on a `Net`."""

    def __init__(self, *, max_idle: int = 8) -> None:
        self.net = Net()
        self.retries = 0
        self.pool = ConnectionPool(
            self.net.reactor, max_idle=max_idle, connect_timeout=CONNECT_TIMEOUT
        )
        self.client: HTTPClient = make_client(
            self.net.reactor,
            self.pool,
            accept_encoding=b"identity",
            retried=self._retried,
        )

    def _retried(self) -> None:
        self.retries += 1

    def request(
        self,
        body: bytes | None = None,
        fields: Mapping[str, str] = NO_FIELDS,
        url: str = URL,
    ) -> "Deferred[Any]":
        headers = Headers({name: [value] for name, value in fields.items()})
        return cast(
            "Deferred[Any]",
            self.client.request(
                "GET" if body is None else "POST",
                url,
                headers=headers,
                data=None if body is None else cast("bytes", BytesProducer(body)),
                allow_redirects=False,
                unbuffered=True,
            ),
        )

    def finish(self) -> None:
        """Close what is idle; nothing may be left on the clock then."""
        self.pool.closeCachedConnections()
        self.net.turn()
        assert self.net.reactor.getDelayedCalls() == []


def read(requesting: "Deferred[Any]") -> tuple[WireResponse, Collected]:
    """The answer and its body as they are delivered beneath treq."""
    answers: list[Any] = []
    requesting.addCallback(answers.append)
    (answer,) = answers
    body = Collected()
    answer.original.deliverBody(body)
    return answer.original, body


def failure_of(requesting: "Deferred[Any]") -> Failure:
    failures: list[Failure] = []
    requesting.addErrback(failures.append)
    (failure,) = failures
    return failure


def waiting(requesting: "Deferred[Any]") -> bool:
    # A Deferred that waits for another one has been called and is paused.
    return not requesting.called or bool(requesting.paused)


def used_line(bench: Bench) -> Line:
    """A line that has served one request and is idle in the pool."""
    requesting = bench.request()
    line = bench.net.accept()
    line.answer(b"first")
    read(requesting)
    line.clear()
    return line


def header_lines(request: bytes, name: bytes) -> list[bytes]:
    head = request.partition(b"\r\n\r\n")[0]
    pairs = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    return [value.strip() for key, _, value in pairs if key.lower() == name]


@pytest.mark.parametrize("reason", [error.ConnectionDone(), error.ConnectionLost()])
def test_a_reused_connection_that_was_closed_is_replaced_once_by_a_new_one(
    reason: Exception,
) -> None:
    bench = Bench()
    stale = used_line(bench)
    requesting = bench.request(b'{"model":"a"}', {"authorization": "Bearer x"})
    sent = stale.received
    assert sent.endswith(b'{"model":"a"}')
    stale.hang_up(reason)
    assert bench.net.dialled == 2
    fresh = bench.net.accept()
    assert fresh.received == sent
    assert bench.retries == 1
    fresh.answer(b"second")
    response, body = read(requesting)
    assert (response.code, body.data) == (200, b"second")
    bench.finish()


@pytest.mark.parametrize("body", [None, b"{}"], ids=["GET", "POST"])
def test_the_replacement_is_not_replaced_again(body: bytes | None) -> None:
    bench = Bench()
    stale = used_line(bench)
    requesting = bench.request(body)
    stale.hang_up()
    bench.net.accept().hang_up()
    assert failure_of(requesting).check(ResponseNeverReceived)
    assert (bench.net.dialled, bench.retries) == (2, 1)
    bench.finish()


def test_the_replacement_is_a_new_connection_even_if_another_one_is_idle() -> None:
    bench = Bench()
    both = [bench.request(), bench.request()]
    for index, requesting in enumerate(both):
        bench.net.accept(index).answer(b"x")
        read(requesting)
    requesting = bench.request(b"{}")
    bench.net.lines[1].hang_up()
    assert bench.net.dialled == 3
    bench.net.accept().answer(b"y")
    assert read(requesting)[1].data == b"y"
    bench.finish()


def test_after_a_replacement_idle_connections_are_used_again() -> None:
    bench = Bench()
    stale = used_line(bench)
    requesting = bench.request(b"{}")
    stale.hang_up()
    fresh = bench.net.accept()
    fresh.answer(b"x")
    read(requesting)
    again = bench.request()
    assert bench.net.dialled == 2
    fresh.answer(b"y")
    assert read(again)[1].data == b"y"
    bench.finish()


def test_a_new_connection_that_closes_without_an_answer_is_not_replaced() -> None:
    bench = Bench()
    requesting = bench.request(b"{}")
    bench.net.accept().hang_up()
    assert failure_of(requesting).check(ResponseNeverReceived)
    assert (bench.net.dialled, bench.retries) == (1, 0)
    bench.finish()


def test_a_reused_connection_that_had_begun_to_answer_is_not_replaced() -> None:
    bench = Bench()
    stale = used_line(bench)
    requesting = bench.request(b"{}")
    stale.send(b"HTTP/1.1 200 OK\r\n")
    stale.hang_up()
    assert failure_of(requesting).check(ResponseFailed)
    assert (bench.net.dialled, bench.retries) == (1, 0)
    bench.finish()


def test_a_cancelled_request_on_a_reused_connection_is_not_sent_again() -> None:
    bench = Bench()
    stale = used_line(bench)
    requesting = bench.request(b"{}")
    requesting.cancel()
    failure_of(requesting)
    bench.net.turn()
    assert not stale.is_open()
    assert (bench.net.dialled, bench.retries) == (1, 0)
    bench.finish()


@implementer(IAgent)
class FailingAgent:
    """Fails each request as told, on a connection that the pool says was used before."""

    def __init__(self, pool: ConnectionPool, *, reused: bool) -> None:
        self.asked: list[Deferred[IResponse]] = []
        self._pool = pool
        self._reused = reused

    def request(
        self,
        method: bytes,  # noqa: ARG002 - see IAgent
        uri: bytes,  # noqa: ARG002
        headers: Headers | None = None,  # noqa: ARG002
        bodyProducer: IBodyProducer | None = None,  # noqa: ARG002
    ) -> "Deferred[IResponse]":
        self._pool.handed_out_reused = self._reused
        self.asked.append(Deferred())
        return self.asked[-1]


def asked_after(failure: Exception, *, reused: bool = True) -> int:
    """How often a request was made in all when its first attempt ends in `failure`."""
    pool = ConnectionPool(MemoryReactorClock(), max_idle=1, connect_timeout=CONNECT_TIMEOUT)
    agent = FailingAgent(pool, reused=reused)
    retries: list[None] = []
    requesting = StaleRetryAgent(agent, pool, lambda: retries.append(None)).request(b"POST", b"u")
    requesting.addErrback(lambda _failure: None)
    agent.asked[0].errback(failure)
    assert len(retries) == len(agent.asked) - 1
    return len(agent.asked)


NEVER: list[Callable[[list[Failure]], Exception]] = [
    ResponseNeverReceived,
    RequestTransmissionFailed,
]


@pytest.mark.parametrize("wrapper", NEVER)
@pytest.mark.parametrize(
    "reason",
    [CancelledError(), TlsError([("ssl", "", "verify")]), VerificationError(errors=[])],
    ids=["cancelled by us", "untrusted", "wrong name"],
)
def test_what_another_connection_would_not_change_is_not_sent_again(
    wrapper: Callable[[list[Failure]], Exception], reason: Exception
) -> None:
    assert asked_after(wrapper([Failure(error.ConnectionDone()), Failure(reason)])) == 1


@pytest.mark.parametrize("wrapper", NEVER)
def test_a_connection_lost_before_the_answer_is_sent_again_only_if_it_was_reused(
    wrapper: Callable[[list[Failure]], Exception],
) -> None:
    lost = wrapper([Failure(error.ConnectionLost())])
    assert asked_after(lost, reused=True) == 2
    assert asked_after(lost, reused=False) == 1


def test_a_request_that_found_its_connection_busy_is_sent_again() -> None:
    assert asked_after(RequestNotSent()) == 2


@pytest.mark.parametrize(
    "failure",
    [
        ResponseFailed([Failure(error.ConnectionLost())]),
        error.ConnectionRefusedError(),
        error.TimeoutError(),
        CancelledError(),
        ValueError(),
    ],
)
def test_other_failures_are_not_sent_again(failure: Exception) -> None:
    assert asked_after(failure) == 1


def test_a_resolver_that_hangs_ends_at_the_connect_deadline() -> None:
    bench = Bench()
    bench.net.reactor.installNameResolver(HangingResolver())
    requesting = bench.request()
    bench.net.reactor.advance(CONNECT_TIMEOUT - 0.01)
    assert waiting(requesting)
    bench.net.reactor.advance(0.01)
    assert failure_of(requesting).check(error.TimeoutError)
    bench.finish()


def test_while_the_resolver_hangs_for_one_host_the_others_are_served() -> None:
    bench = Bench()
    idle = used_line(bench)
    bench.net.reactor.installNameResolver(HangingForOne("hangs.test"))
    hanging = [bench.request(url="http://hangs.test/") for _ in range(20)]
    over_a_new_connection = bench.request(url="http://other.test/")
    bench.net.accept().answer(b"new")
    assert read(over_a_new_connection)[1].data == b"new"
    over_an_old_connection = bench.request()
    idle.answer(b"old")
    assert read(over_an_old_connection)[1].data == b"old"
    assert all(waiting(each) for each in hanging)
    bench.net.reactor.advance(CONNECT_TIMEOUT)
    assert all(failure_of(each).check(error.TimeoutError) for each in hanging)
    bench.finish()


def test_a_host_that_drops_packets_ends_at_the_connect_deadline() -> None:
    bench = Bench()
    requesting = bench.request()
    bench.net.reactor.pump([0.1] * 19)
    assert waiting(requesting)
    bench.net.reactor.pump([0.1] * 2)
    assert failure_of(requesting).check(error.TimeoutError)
    assert bench.net.reactor.connectors[0].stoppedConnecting
    bench.finish()


def test_the_connect_deadline_ends_with_the_connection() -> None:
    bench = Bench()
    requesting = bench.request()
    bench.net.reactor.advance(CONNECT_TIMEOUT - 0.1)
    line = bench.net.accept()
    bench.net.reactor.advance(60)
    assert waiting(requesting)
    line.answer(b"late")
    assert read(requesting)[1].data == b"late"
    bench.finish()


def test_a_tls_handshake_that_stalls_ends_at_the_connect_deadline() -> None:
    bench = Bench()
    requesting = bench.request(b"{}", url="https://feed.test/")
    bench.net.accept()
    bench.net.reactor.advance(CONNECT_TIMEOUT)
    late = waiting(requesting)
    requesting.cancel()
    failure_of(requesting)
    bench.net.turn()
    assert not late


def test_a_refusal_is_noticed_within_a_twentieth_of_a_second() -> None:
    bench = Bench()
    requesting = bench.request()
    bench.net.refuse()
    bench.net.reactor.advance(0.05)
    assert failure_of(requesting).check(error.ConnectionRefusedError)
    bench.finish()


def test_a_cookie_is_neither_kept_nor_sent_for_another_user() -> None:
    bench = Bench()
    requesting = bench.request(b"{}", {"authorization": "Bearer a"})
    line = bench.net.accept()
    line.answer(b"x", fields=b"set-cookie: session=of-a; path=/; domain=feed.test\r\n")
    response, _ = read(requesting)
    shown = response.wire_headers.getRawHeaders(b"set-cookie")
    assert shown == [b"session=of-a; path=/; domain=feed.test"]
    line.clear()
    bench.request(b"{}", {"authorization": "Bearer b"})
    assert b"session" not in line.received
    assert header_lines(line.received, b"cookie") == []
    line.answer()
    bench.finish()


def test_a_clients_own_cookie_crosses_as_it_is() -> None:
    bench = Bench()
    bench.request(fields={"cookie": "theirs=1; other=2"})
    line = bench.net.accept()
    assert header_lines(line.received, b"cookie") == [b"theirs=1; other=2"]
    line.answer()
    bench.finish()


@pytest.mark.parametrize("asked", [None, "gzip, br"])
def test_the_accept_encoding_on_the_wire_is_ours_alone(asked: str | None) -> None:
    bench = Bench()
    bench.request(fields={} if asked is None else {"accept-encoding": asked})
    line = bench.net.accept()
    assert header_lines(line.received, b"accept-encoding") == [b"identity"]
    line.answer()
    bench.finish()


@pytest.mark.parametrize("encoding", [b"gzip", b"br"])
def test_an_encoded_body_and_its_encoding_field_cross_untouched(encoding: bytes) -> None:
    body = gzip.compress(b"a body")
    bench = Bench()
    requesting = bench.request()
    line = bench.net.accept()
    line.answer(body, fields=b"content-encoding: %s\r\n" % encoding)
    response, collected = read(requesting)
    assert collected.data == body
    assert collected.ended is not None
    assert collected.ended.check(ResponseDone)
    assert response.wire_headers.getRawHeaders(b"content-encoding") == [encoding]
    bench.finish()


def test_no_field_is_added_to_an_answer() -> None:
    bench = Bench()
    requesting = bench.request()
    line = bench.net.accept()
    line.answer(b"a body", fields=b"x-one: 1\r\n")
    response, _collected = read(requesting)
    names = {name.lower() for name, _values in response.wire_headers.getAllRawHeaders()}
    assert b"x-one" in names
    assert b"content-encoding" not in names
    bench.finish()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("body", [None, b"{}"], ids=["GET", "POST"])
def test_a_redirect_is_an_answer_and_is_not_followed(status: int, body: bytes | None) -> None:
    bench = Bench()
    requesting = bench.request(body, {"authorization": "Bearer a"})
    line = bench.net.accept()
    line.answer(status=b"%d There" % status, fields=b"location: http://elsewhere.test/\r\n")
    response, _ = read(requesting)
    assert response.code == status
    assert bench.net.dialled == 1
    bench.finish()


def test_an_idle_connection_is_closed_before_the_upstream_would() -> None:
    bench = Bench()
    line = used_line(bench)
    bench.net.reactor.advance(IDLE_SECONDS - 1)
    bench.net.turn()
    assert line.is_open()
    bench.net.reactor.advance(1)
    bench.net.turn()
    assert not line.is_open()
    assert bench.net.reactor.getDelayedCalls() == []


def test_no_more_connections_are_kept_idle_than_allowed() -> None:
    bench = Bench(max_idle=3)
    for requesting in [bench.request() for _ in range(4)]:
        bench.net.accept(len(bench.net.lines)).answer(b"x")
        read(requesting)
    bench.net.turn()
    assert [line.is_open() for line in bench.net.lines] == [False, True, True, True]
    bench.finish()
