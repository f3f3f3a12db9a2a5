"""The service as a whole: inert before its start, gone after its stop, real on a real port.

pytest-twisted waits for the Deferred that a test returns, on the one real reactor.
"""

from typing import Any

from twisted.application.service import IService
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from autopilot.simulator.config import SimulatorConfig
from autopilot.simulator.service import Simulator, make_simulator

from .harness import Bench

reactor: Any = installed_reactor


class Recorder(Protocol):
    """Sends one request and keeps what comes back until the end."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.received = b""
        self.first_byte: Deferred[None] = Deferred()
        self.ended: Deferred[type[Exception] | None] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.request)

    def dataReceived(self, data: bytes) -> None:
        if not self.received:
            self.first_byte.callback(None)
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(reason.check(ConnectionDone, ConnectionLost))


def request(model: str) -> bytes:
    body = b'{"model":"%s","stream":true,"messages":[{"role":"user","content":"x"}]}'
    body %= model.encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: simulator\r\nAuthorization: Bearer t\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def connected(simulator: Simulator, model: str) -> Recorder:
    recorder = Recorder(request(model))
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", simulator.port)
    await endpoint.connect(Factory.forProtocol(lambda: recorder))
    return recorder


def test_building_opens_and_times_nothing() -> None:
    memory = MemoryReactorClock()
    simulator = make_simulator(SimulatorConfig(), memory)
    assert verifyObject(IService, simulator)
    assert memory.tcpServers == []
    assert memory.getDelayedCalls() == []


def test_it_binds_where_it_is_told_with_a_backlog_for_bursts() -> None:
    bench = Bench(SimulatorConfig(host="127.0.0.1", port=9191))
    ((port, _, backlog, interface),) = bench.reactor.tcpServers
    assert (port, interface) == (9191, "127.0.0.1")
    assert backlog >= 1024


def test_stopping_leaves_no_timer() -> None:
    bench = Bench()
    client = bench.client()
    client.ask("sim/Alpha-70B-TEE")
    stopped = bench.simulator.stopService()
    assert client.transport.disconnected
    assert not stopped.called
    client.leave()
    assert stopped.called
    assert bench.reactor.getDelayedCalls() == []


def test_stopping_cuts_open_answers_and_idle_connections_on_a_real_port() -> Deferred[None]:
    async def scenario() -> None:
        before = set(reactor.getReaders()), set(reactor.getDelayedCalls())
        simulator = make_simulator(SimulatorConfig(port=0), reactor)
        simulator.startService()
        assert simulator.base_url == f"http://127.0.0.1:{simulator.port}"
        stalled = await connected(simulator, "faults/stall-mid")
        idle = await connected(simulator, "faults/invalid-400")
        await gatherResults([stalled.first_byte, idle.first_byte])
        await simulator.stopService()
        ends = await gatherResults([stalled.ended, idle.ended])
        assert ends == [ConnectionLost, ConnectionLost]
        assert simulator.world.journal.in_flight == 0
        assert (set(reactor.getReaders()), set(reactor.getDelayedCalls())) == before

    return Deferred.fromCoroutine(scenario())


def test_a_reset_and_a_close_look_different_on_a_real_port() -> Deferred[None]:
    async def scenario() -> None:
        simulator = make_simulator(SimulatorConfig(port=0), reactor)
        simulator.startService()
        try:
            reset = await connected(simulator, "faults/reset-mid")
            closed = await connected(simulator, "faults/fin-mid")
            dropped = await connected(simulator, "faults/drop")
            ends = await gatherResults([reset.ended, closed.ended, dropped.ended])
        finally:
            await simulator.stopService()
        assert ends == [ConnectionLost, ConnectionDone, ConnectionDone]
        assert reset.received.count(b"data: ") == closed.received.count(b"data: ") == 13
        assert dropped.received == b""

    return Deferred.fromCoroutine(scenario())
