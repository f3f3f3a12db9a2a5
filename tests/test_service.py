"""The whole router as one service: it starts, serves, and is gone when it says so.

`Bench` runs `make_service` on a reactor in memory: the test is the platform on `Line`s, and a client
on `Client`s.
"""

import gc
import io
import json
from http.client import HTTPResponse
from typing import Any, cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError, ConnectError, ConnectionDone
from twisted.internet.interfaces import IListeningPort, IProtocol, IReactorTCP
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from twisted.python.failure import Failure

from autopilot.interfaces import ISelector
from autopilot.listening import LISTEN_BACKLOG
from autopilot.selectors.capacity import Capacity
from autopilot.service import (
    AutopilotService,
    make_service,
)
from autopilot.settings import load
from autopilot.testing import AlphabeticSelector, at_once
from autopilot.web.listener import Listener, bound_port
from tests.test_http_client import Line, Net

SETTINGS = {
    "LISTEN_ADDR": "127.0.0.1:8080",
    "BACKEND_BASE_URL": "http://llm.test:1",
    "MODELS_URL": "http://llm.test:2/v1/models",
    "UTILIZATION_URL": "http://api.test:3/chutes/utilization",
}
CATALOG = b'{"object":"list","data":[{"id":"org/a","chute_id":"1"},{"id":"org/b","chute_id":"2"}]}'
FEED = (
    b'[{"name":"org/a","chute_id":"1","active_instance_count":1,"utilization_5m":0.5},'
    b'{"name":"org/b","chute_id":"2","active_instance_count":9,"utilization_5m":0.1}]'
)
UPSTREAM, MODELS, UTILIZATION, STORE = 1, 2, 3, 4


class ClosingPort:
    """A port in memory that knows whether it listens; it stops one turn later, as a socket does."""

    def __init__(self, net: Net) -> None:
        self.listening = True
        self._net = net

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 8080)

    def stopListening(self) -> "Deferred[None]":
        stopped: Deferred[None] = Deferred()

        def stop() -> None:
            self.listening = False
            stopped.callback(None)

        self._net.reactor.callLater(0, stop)
        return stopped


class Client:
    """One connection of a client."""

    def __init__(self, net: Net) -> None:
        self.transport = StringTransport()
        site = net.reactor.tcpServers[0][1]
        peer = IPv4Address("TCP", "127.0.0.1", 50000)
        self.protocol = cast("IProtocol", site.buildProtocol(peer))
        self.protocol.makeConnection(self.transport)

    def get(self, path: str) -> None:
        self.protocol.dataReceived(f"GET {path} HTTP/1.1\r\nHost: r\r\n\r\n".encode())

    def ask(self, model: str) -> None:
        body = json.dumps({"model": model, "stream": True}).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: r\r\nContent-Length: "
        self.protocol.dataReceived(f"{head}{len(body)}\r\n\r\n".encode() + body)

    def answer(self) -> HTTPResponse:
        class Wire:
            def makefile(_self, _mode: str) -> io.BytesIO:  # noqa: N805 - self is the client
                return io.BytesIO(self.transport.value())

        response = HTTPResponse(cast("Any", Wire()))
        response.begin()
        self.transport.clear()
        return response

    def leave(self) -> None:
        self.transport.connected = False
        self.protocol.connectionLost(Failure(ConnectionDone()))


SELECTORS = {selector.name: ISelector(selector) for selector in (Capacity(), AlphabeticSelector())}


class Bench:
    def __init__(self, **settings: str) -> None:
        self.net = Net()
        self.ports: list[ClosingPort] = []
        self.listened: list[dict[str, Any]] = []
        self._listen = self.net.reactor.listenTCP
        cast("Any", self.net.reactor).listenTCP = self._listen_closing
        self.service: AutopilotService = make_service(
            load(SETTINGS | settings),
            SELECTORS,
            self.net.reactor,
            monotonic=self.net.reactor.seconds,
            wall=self.net.reactor.seconds,
            parsing=at_once,
        )

    def _listen_closing(self, port: int, factory: Any, **more: Any) -> IListeningPort:
        self._listen(port, factory, **more)
        self.listened.append({"port": port, **more})
        self.ports.append(ClosingPort(self.net))
        return cast("IListeningPort", self.ports[-1])

    def start(self) -> None:
        self.service.privilegedStartService()
        self.service.startService()

    def dialled(self) -> list[int]:
        return [client[1] for client in self.net.reactor.tcpClients]

    def accept(self, port: int) -> Line:
        """The newest connection to the given port of the platform."""
        index = max(i for i, dialled in enumerate(self.dialled()) if dialled == port)
        return self.net.accept(index)

    def feed(self) -> None:
        """Answer the first fetches; their connections stay in the pool."""
        self.accept(MODELS).answer(CATALOG)
        self.accept(UTILIZATION).answer(FEED)

    def get(self, path: str) -> HTTPResponse:
        client = Client(self.net)
        client.get(path)
        answer = client.answer()
        client.leave()
        return answer

    def stop(self) -> "Deferred[object]":
        stopping = cast("Deferred[object]", self.service.stopService())
        for _ in range(3):
            self.net.turn()
        return stopping

    def left(self) -> list[object]:
        """What a stopped service must not leave."""
        return [
            *self.net.reactor.getDelayedCalls(),
            *(line for line in self.net.lines if line.is_open()),
            *(port for port in self.ports if port.listening),
        ]


def test_a_service_that_is_not_started_has_done_nothing() -> None:
    bench = Bench()
    assert bench.net.reactor.getDelayedCalls() == []
    assert (bench.dialled(), bench.ports) == ([], [])
    assert not any(cast("Any", child).running for child in [bench.service, *bench.service])


def test_started_it_listens_once_and_fetches_both_feeds_at_once() -> None:
    bench = Bench()
    bench.start()
    assert bench.listened == [{"port": 8080, "backlog": LISTEN_BACKLOG, "interface": "127.0.0.1"}]
    assert sorted(bench.dialled()) == [MODELS, UTILIZATION]
    bench.stop()
    assert bench.left() == []


SHARED_STORE = {"STICKY_URL": "redis://redis.test:4", "STICKY_SECRET": "s" * 16}


@pytest.mark.parametrize("off", ["", "STICKY_TTL_SECS", "STICKY_MAX_ENTRIES"])
def test_a_shared_store_is_connected_to_unless_stickiness_is_off(off: str) -> None:
    bench = Bench(**SHARED_STORE, **({off: "0"} if off else {}))
    assert bench.dialled() == []
    bench.start()
    expected = [MODELS, UTILIZATION] if off else [MODELS, UTILIZATION, STORE]
    assert sorted(bench.dialled()) == expected
    bench.stop()
    assert bench.left() == []


def test_it_listens_without_a_privileged_start_too() -> None:
    bench = Bench(LISTEN_ADDR="[::1]:0")
    bench.service.startService()
    assert bench.listened == [{"port": 0, "backlog": LISTEN_BACKLOG, "interface": "::1"}]
    bench.stop()
    assert bench.left() == []


def test_it_is_ready_once_both_feeds_have_been_fetched() -> None:
    bench = Bench()
    bench.start()
    assert bench.get("/healthz").status == 200
    before = bench.get("/readyz")
    assert (before.status, json.loads(before.read())["error"]["code"]) == (503, "missing_allowlist")
    bench.feed()
    assert bench.get("/readyz").status == 200
    listed = json.loads(bench.get("/v1/models").read())
    assert [model["id"] for model in listed["data"]] == ["chutesai/AutoPilot", "org/a", "org/b"]
    bench.stop()
    assert bench.left() == []


@pytest.mark.parametrize(("selector", "chosen"), [("capacity", "org/b"), ("alphabetic", "org/a")])
def test_an_alias_goes_to_the_model_that_the_selector_puts_first(
    selector: str, chosen: str
) -> None:
    bench = Bench(SELECTOR=selector)
    bench.start()
    bench.feed()
    client = Client(bench.net)
    client.ask("chutesai/AutoPilot")
    upstream = bench.accept(UPSTREAM)
    head, _, body = upstream.received.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert json.loads(body) == {"model": chosen, "stream": True}
    whole = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\ndata: [DONE]\n\n'
    upstream.answer(whole, fields=b"content-type: text/event-stream\r\n")
    answer = client.answer()
    assert (answer.status, answer.read()) == (200, whole)
    assert answer.headers["x-chutes-autopilot-selected"] == chosen
    client.leave()
    bench.stop()
    assert bench.left() == []


def test_the_metrics_show_the_picture_and_the_refreshes() -> None:
    bench = Bench()
    bench.start()
    bench.feed()
    bench.net.reactor.advance(3)
    text = bench.get("/metrics").read().decode()
    for line in (
        'autopilot_refreshes_total{feed="catalog",result="ok"} 1.0',
        'autopilot_refreshes_total{feed="utilization",result="ok"} 1.0',
        "autopilot_catalog_models 2.0",
        "autopilot_candidates 2.0",
        "autopilot_feed_age_seconds 3.0",
    ):
        assert f"\n{line}\n" in text
    bench.stop()
    assert bench.left() == []


def test_each_setting_of_the_feeds_reaches_its_refresher() -> None:
    bench = Bench(
        MODELS_REFRESH_MS="7000", UTILIZATION_REFRESH_MS="3000", CONTROL_PLANE_TIMEOUT_MS="1000"
    )
    bench.start()
    for _ in range(int(14 / 0.5)):
        bench.net.reactor.advance(0.5)
    # Nobody answers, so that each fetch is a new connection, given up after one second.
    assert bench.dialled().count(MODELS) == 1 + 2
    assert bench.dialled().count(UTILIZATION) == 1 + 4
    bench.stop()
    assert bench.left() == []


def test_stopping_during_the_first_fetches_leaves_nothing() -> None:
    bench = Bench()
    bench.start()
    bench.accept(MODELS).send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
    stopping = bench.stop()
    assert stopping.called
    assert bench.left() == []
    assert bench.service.running == 0
    bench.net.reactor.advance(10_000)
    assert len(bench.dialled()) == 2


def test_stopping_closes_the_port_and_the_idle_connections_and_only_then_is_done() -> None:
    bench = Bench()
    bench.start()
    bench.feed()
    stopping = cast("Deferred[object]", bench.service.stopService())
    done = [stopping.called]
    bench.net.turn()
    assert [*done, stopping.called] == [False, True]
    assert bench.left() == []


@pytest.mark.parametrize(("connections", "warned"), [("0", False), ("1000000", True)])
def test_more_connections_than_files_may_be_open_is_said_at_start(
    connections: str,
    warned: bool,  # noqa: FBT001 - a parameter
) -> None:
    lines: list[LogEvent] = []
    remember = cast("ILogObserver", lines.append)
    globalLogPublisher.addObserver(remember)
    try:
        bench = Bench(MAX_CONNECTIONS=connections)
        bench.start()
        bench.stop()
    finally:
        globalLogPublisher.removeObserver(remember)
    said = [line for line in lines if line.get("event") == "descriptors_short"]
    assert bool(said) is warned


def stop_with_a_connection_that_does_not_close() -> bool:
    """Whether the stop was done at once."""
    bench = Bench()
    bench.start()
    line = bench.accept(MODELS)
    line.answer(CATALOG)
    # As over TLS, where the other end may never answer the close.
    cast("Any", line).loseConnection = lambda: None
    stopping = bench.stop()
    assert bench.net.reactor.getDelayedCalls() == []
    return bool(stopping.called)


def test_a_connection_that_does_not_close_does_not_delay_the_stop() -> None:
    assert stop_with_a_connection_that_does_not_close()


def test_a_connection_that_does_not_close_is_no_error_in_the_log(
    lost_errors: list[Failure],
) -> None:
    stop_with_a_connection_that_does_not_close()
    gc.collect()
    lost, lost_errors[:] = [*lost_errors], []
    assert lost == []


def test_stopping_cuts_a_refusal_that_is_still_being_drained() -> None:
    bench = Bench()
    bench.start()
    bench.feed()
    client = Client(bench.net)
    client.ask("chutesai/AutoPilot")
    first = bench.accept(UPSTREAM)
    first.send(b"HTTP/1.1 503 No\r\ncontent-length: 100\r\n\r\n{")
    bench.accept(UPSTREAM).answer(b"data: [DONE]\n\n")
    assert client.answer().status == 200
    client.leave()
    assert first.is_open()
    assert bench.stop().called
    assert bench.left() == []


def test_a_stopped_service_can_be_started_again() -> None:
    bench = Bench()
    bench.start()
    bench.feed()
    bench.stop()
    bench.start()
    assert sorted(bench.dialled()[2:]) == [MODELS, UTILIZATION]
    bench.stop()
    assert bench.left() == []
    assert len(bench.ports) == 2


@pytest.mark.parametrize("style", ["json", "text"])
def test_in_an_application_it_brings_the_log_observer(
    style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    application = Application("test")
    Bench(LOG_FORMAT=style, LOG_LEVEL="warn").service.setServiceParent(application)
    observe = cast("Any", application).getComponent(ILogObserver)
    log = Logger(observer=observe)
    log.info("quiet")
    log.error("loud")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("{") is (style == "json")
    assert "loud" in line


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_on_a_real_port_it_serves_and_then_refuses() -> None:
    closed = "http://127.0.0.1:1/"
    service = make_service(
        load({"LISTEN_ADDR": "127.0.0.1:0", "MODELS_URL": closed, "UTILIZATION_URL": closed}),
        SELECTORS,
        reactor,
    )
    service.privilegedStartService()
    service.startService()
    (listener,) = (child for child in service if isinstance(child, Listener))
    assert listener.port is not None
    endpoint = TCP4ClientEndpoint(IReactorTCP(reactor), "127.0.0.1", bound_port(listener.port))
    reader = Reader()
    await connectProtocol(endpoint, reader)
    reader.ask(b"GET /healthz HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n")
    assert (await reader.whole).endswith(b"\r\n\r\nok")
    await service.stopService()
    with pytest.raises(ConnectError):
        await connectProtocol(endpoint, Reader())


class Reader(Protocol):
    """Collects what comes until the other end closes."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred()
        self._received = b""

    def ask(self, request: bytes) -> None:
        assert self.transport is not None
        self.transport.write(request)

    def dataReceived(self, data: bytes) -> None:
        self._received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self.whole.callback(self._received)


def test_a_port_in_use_stops_the_start_with_one_sentence() -> None:
    class TakenReactor(MemoryReactorClock):
        def listenTCP(self, *_arguments: object, **_named: object) -> IListeningPort:
            raise CannotListenError("0.0.0.0", 8080, OSError(98, "Address already in use"))  # noqa: S104

    service = make_service(load({}), SELECTORS, TakenReactor())
    with pytest.raises(SystemExit) as caught:
        service.privilegedStartService()
    assert str(caught.value).endswith("port 8080: Address already in use")
