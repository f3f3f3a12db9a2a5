"""A port that several processes share: who has more lets the others go first, and nobody waits long."""

import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from autopilot.ledger import SharedCells
from autopilot.web.fair import LEFT_OVER, MAY_LEAD_BY, PATIENT_TURNS, YIELD_SECONDS, FairPort


class Bench:
    """One process's port on a real socket; another process has as many connections as the test says."""

    def __init__(self) -> None:
        self.accepted = 0
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.listening.setblocking(False)
        self.cells = SharedCells.make(2)
        self.ours, self.others = self.cells.ledger(0), self.cells.ledger(1)
        self.ours.enter(1)
        self.others.enter(2)
        self.others.accepts(True)
        self.reactor: Any = MemoryReactorClock()
        self.port = FairPort.of(
            self.reactor, self.listening.fileno(), socket.AF_INET, Factory.forProtocol(Protocol)
        )
        self.port.ledger = self.ours
        self.port.transport = cast("Any", self._accept)
        self.port.startListening()
        self.clients: list[socket.socket] = []

    def _accept(self, skt: socket.socket, *_rest: Any) -> Any:
        self.accepted += 1
        skt.close()

        class Nothing:
            def __getattr__(self, _name: str) -> Any:
                return lambda *_arguments: None

        return Nothing()

    def dial(self, number: int) -> None:
        for _each in range(number):
            self.clients.append(socket.create_connection(self.listening.getsockname()))

    @property
    def reads(self) -> bool:
        return self.port in self.reactor.getReaders()

    def close(self) -> None:
        if self.port.connected:
            self.port.connectionLost(Failure(ConnectionDone()))
        for each in (*self.clients, self.listening):
            each.close()
        self.cells.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_one_is_accepted_in_a_turn_so_that_others_have_theirs(bench: Bench) -> None:
    bench.dial(3)
    for turn in range(1, 4):
        bench.port.doRead()
        assert bench.accepted == turn


def test_who_has_more_lets_others_go_first_for_as_long_as_they_catch_up(bench: Bench) -> None:
    bench.dial(1)
    bench.ours.has_connections(MAY_LEAD_BY + 10)
    for connections in range(10):
        bench.others.has_connections(connections)
        for _turn in range(PATIENT_TURNS - 1):
            bench.port.doRead()
            assert (bench.accepted, bench.reads) == (0, False)
            bench.reactor.advance(YIELD_SECONDS)
            assert bench.reads
    bench.others.has_connections(10)
    bench.port.doRead()
    assert bench.accepted == 1


def test_some_of_what_is_waiting_is_taken_when_nobody_else_does(bench: Bench) -> None:
    bench.dial(2 * LEFT_OVER + 1)
    bench.ours.has_connections(MAY_LEAD_BY + 1)
    for taken in (LEFT_OVER, 2 * LEFT_OVER):
        for _turn in range(PATIENT_TURNS):
            bench.port.doRead()
            assert not bench.reads
            bench.reactor.advance(YIELD_SECONDS)
        for _each in range(LEFT_OVER):
            bench.port.doRead()
        assert bench.accepted == taken
    bench.port.doRead()
    assert (bench.accepted, bench.reads) == (2 * LEFT_OVER, False)
    bench.reactor.advance(YIELD_SECONDS)


def test_nobody_waits_for_a_process_that_does_not_accept(bench: Bench) -> None:
    bench.dial(1)
    bench.ours.has_connections(MAY_LEAD_BY + 1)
    bench.others.accepts(False)
    bench.port.doRead()
    assert bench.accepted == 1


@pytest.mark.parametrize("ours", [0, MAY_LEAD_BY])
def test_who_has_no_more_than_others_accepts_at_once(bench: Bench, ours: int) -> None:
    bench.dial(1)
    bench.ours.has_connections(ours)
    bench.port.doRead()
    assert bench.accepted == 1


def test_a_port_that_is_closed_while_it_waits_leaves_no_timer(bench: Bench) -> None:
    bench.dial(1)
    bench.ours.has_connections(MAY_LEAD_BY + 1)
    bench.port.doRead()
    bench.port.stopListening()
    bench.reactor.advance(0)
    assert not bench.reactor.getDelayedCalls()
    assert not bench.reads
