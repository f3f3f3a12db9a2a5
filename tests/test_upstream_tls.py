"""TLS to an upstream with real certificates over loopback: who is believed, and what is said of the rest.

`Server` is a TLS server in the same reactor; `heard` is what it was sent inside TLS. `SSL_CERT_FILE`
makes its authority the system's whole trust store.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from OpenSSL.SSL import TLS1_2_VERSION
from twisted.internet import error, reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from autopilot.connection_pool import ConnectionPool, HandshakeFailed, HandshakeTimedOut
from autopilot.dataplane.upstream import BytesProducer
from autopilot.http_client import make_client
from tests import certificates
from tests.certificates import Authority
from tests.test_http_client import read

WITHIN = 5.0
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server(Factory):
    """Answers every request that ends in one read, unless it is `mute`."""

    def __init__(self, options: certificates.Server | None, *, mute: bool = False) -> None:
        self.heard = b""
        self.mute = mute
        self.connections: list[Connection] = []
        real = cast("Any", reactor)
        self.port: IListeningPort = (
            real.listenTCP(0, self, interface="127.0.0.1")
            if options is None
            else real.listenSSL(0, self, options, interface="127.0.0.1")
        )
        self.number: int = cast("Any", self.port.getHost()).port

    def buildProtocol(self, addr: object) -> "Connection":  # noqa: ARG002
        self.connections.append(Connection(self))
        return self.connections[-1]

    async def stop(self) -> None:
        for connection in self.connections:
            connection.abort()
            await connection.ended
        await cast("Any", self.port.stopListening())


class Connection(Protocol):
    def __init__(self, server: Server) -> None:
        self.server = server
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.server.heard += data
        if not self.server.mute and self.transport is not None:
            self.transport.write(ANSWER)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self.ended.callback(None)

    def abort(self) -> None:
        if not self.ended.called:
            cast("Any", self.transport).abortConnection()


class Bench:
    def __init__(self, server: Server, *, connect_timeout: float = WITHIN) -> None:
        self.server = server
        self.pool = ConnectionPool(reactor, max_idle=2, connect_timeout=connect_timeout)
        self._client = make_client(
            reactor, self.pool, accept_encoding=b"identity", retried=lambda: None
        )

    def request(self) -> "Deferred[Any]":
        requesting: Deferred[Any] = self._client.request(
            "POST",
            f"https://localhost:{self.server.number}/",
            data=cast("bytes", BytesProducer(b"{}")),
            allow_redirects=False,
            unbuffered=True,
        )
        return requesting.addTimeout(2 * WITHIN, cast("Any", reactor))

    async def failure(self) -> Failure:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the tests say which
            await self.request()
        return Failure(caught.value)

    async def stop(self) -> None:
        closing = self.pool.closeCachedConnections()
        await closing.addTimeout(WITHIN, cast("Any", reactor))
        await self.server.stop()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    made = Authority()
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(made.certificate_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    return made


@pytest.fixture
def said() -> Iterator[list[dict[str, object]]]:
    """What was logged about TLS."""
    events: list[dict[str, object]] = []

    def observe(event: LogEvent) -> None:
        if str(event.get("event")).startswith("tls_"):
            level = event["log_level"].name
            events.append({"event": event["event"], "level": level, **event["record"]})

    globalLogPublisher.addObserver(cast("ILogObserver", observe))
    yield events
    globalLogPublisher.removeObserver(cast("ILogObserver", observe))


def untrusted(_authority: Authority) -> certificates.Server:
    return Authority().options("localhost")


def expired(authority: Authority) -> certificates.Server:
    return authority.options("localhost", days=-1)


def wrong_name(authority: Authority) -> certificates.Server:
    return authority.options("elsewhere.test")


def wrong_name_before_tls_1_3(authority: Authority) -> certificates.Server:
    made = authority.options("elsewhere.test")
    made.getContext().set_max_proto_version(TLS1_2_VERSION)
    return made


def no_tls(_authority: Authority) -> None:
    return None


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_certificate_of_the_systems_authority_for_the_name_is_believed(
    authority: Authority, said: list[dict[str, object]]
) -> None:
    bench = Bench(Server(authority.options("localhost")))
    for _ in range(3):
        response, body = read(_now(await bench.request()))
        await _body(body)
        assert (response.code, body.data) == (200, b"ok")
    assert len(bench.server.connections) == 1
    assert said == []
    await bench.stop()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (untrusted, "OpenSSL.SSL.Error"),
        (expired, "OpenSSL.SSL.Error"),
        (wrong_name, "service_identity.exceptions.VerificationError"),
        (wrong_name_before_tls_1_3, "service_identity.exceptions.VerificationError"),
        (no_tls, "OpenSSL.SSL.Error"),
    ],
)
@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_any_other_gets_no_byte_of_a_request_and_is_logged_once(
    options: Callable[[Authority], certificates.Server | None],
    fault: str,
    authority: Authority,
    said: list[dict[str, object]],
) -> None:
    made = options(authority)
    bench = Bench(Server(made))
    for _ in range(3):
        assert (await bench.failure()).check(HandshakeFailed)
    await _turns()
    assert b"POST" not in bench.server.heard
    assert made is None or bench.server.heard == b""
    assert said == [
        {
            "event": "tls_configuration_error",
            "level": "error",
            "host": "localhost",
            "port": bench.server.number,
            "error": fault,
        }
    ]
    await bench.stop()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_handshake_that_stalls_ends_at_the_connect_deadline_and_is_logged_once(
    authority: Authority,  # noqa: ARG001 - its bundle
    said: list[dict[str, object]],
) -> None:
    bench = Bench(Server(None, mute=True), connect_timeout=0.2)
    for _ in range(2):
        started = cast("Any", reactor).seconds()
        failure = await bench.failure()
        assert failure.check(HandshakeTimedOut)
        assert failure.check(error.TimeoutError)
        assert 0.2 <= cast("Any", reactor).seconds() - started < WITHIN
    assert b"POST" not in bench.server.heard
    assert [(event["event"], event["error"]) for event in said] == [
        ("tls_configuration_error", "HandshakeTimedOut")
    ]
    await bench.stop()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_peer_that_hangs_up_in_the_handshake_is_no_configuration_error(
    authority: Authority,  # noqa: ARG001 - its bundle
    said: list[dict[str, object]],
) -> None:
    server = Server(None, mute=True)
    bench = Bench(server)
    requesting = bench.request()
    requesting.addErrback(lambda failure: failure)
    while not server.heard:
        await _turns()
    server.connections[0].abort()
    with pytest.raises(HandshakeFailed):
        await requesting
    assert said == []
    await bench.stop()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_each_change_is_logged_and_recovery_too(
    authority: Authority, said: list[dict[str, object]]
) -> None:
    bench = Bench(Server(None))
    await bench.failure()
    real = cast("Any", reactor)
    good = authority.options("localhost")
    for options in (wrong_name(authority), wrong_name(authority), good, good):
        await cast("Any", bench.server.port.stopListening())
        # That nobody listens says nothing about TLS, neither good nor bad.
        with bench.pool.only_fresh():
            refused = bench.request()
        with pytest.raises(error.ConnectError):
            await refused
        bench.server.port = real.listenSSL(
            bench.server.number, bench.server, options, interface="127.0.0.1"
        )
        with bench.pool.only_fresh():
            requesting = bench.request()
        if options is good:
            _response, body = read(_now(await requesting))
            await _body(body)
        else:
            with pytest.raises(HandshakeFailed):
                await requesting
    assert [(event["event"], event["level"]) for event in said] == [
        ("tls_configuration_error", "error"),
        ("tls_configuration_error", "error"),
        ("tls_recovered", "info"),
    ]
    await bench.stop()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_stopping_does_not_wait_for_a_peer_that_reads_nothing(
    authority: Authority,
) -> None:
    bench = Bench(Server(authority.options("localhost")))
    _response, body = read(_now(await bench.request()))
    await _body(body)
    cast("Any", bench.server.connections[0].transport).pauseProducing()
    closing = bench.pool.closeCachedConnections()
    await closing.addTimeout(1.0, cast("Any", reactor))
    await bench.stop()


def _now(response: Any) -> "Deferred[Any]":
    answered: Deferred[Any] = Deferred()
    answered.callback(response)
    return answered


async def _body(body: Any) -> None:
    for _ in range(1000):
        if body.ended is not None:
            return
        await _turns()
    raise AssertionError("the body did not end")


async def _turns() -> None:
    await deferLater(cast("Any", reactor), 0.005, lambda: None)
