"""Workers are kept running: spawned, replaced when they die, and all seen to end; on a reactor in memory.

`Reactor` starts nothing: it writes down what it was asked for, and the test says when a process ends.
"""

import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import pytest
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessProtocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from autopilot.exposition import SLOT
from autopilot.ledger import SharedCells
from autopilot.policy.stickiness import StickyTable
from autopilot.workers.hub import Hub
from autopilot.workers.supervisor import (
    ADMIN,
    CELLS,
    FIRST_BACKOFF,
    LINK,
    LISTENING,
    MAX_BACKOFF,
    SLOTS,
    WELL_SECONDS,
    Supervisor,
    inherited,
)

PATIENCE = 30.0
PORT, ADMIN_PORT = 77, 78
"""The numbers of descriptors that only the recording reactor ever sees."""


class Child:
    """A process that the test ends."""

    def __init__(
        self, pid: int, protocol: IProcessProtocol, env: Mapping[str, str], fds: Mapping[int, int]
    ) -> None:
        self.pid = pid
        self.env = env
        self.fds = fds
        self.signals: list[str] = []
        self.reaped = False
        self._protocol = protocol

    def signalProcess(self, name: str) -> None:
        if self.reaped:
            raise ProcessExitedAlready
        self.signals.append(name)

    def dies(self, number: int = signal.SIGKILL) -> None:
        self._ended(ProcessTerminated(signal=number))

    def exits(self) -> None:
        self._ended(ProcessDone(0))

    def _ended(self, how: Exception) -> None:
        self.reaped = True
        self._protocol.processEnded(Failure(how))


class Wire(StringTransport):
    """The parent's end of a link."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True

    def doWrite(self) -> None:
        """See `IWriteDescriptor`: what a transport can send it sends now."""


class Reactor(MemoryReactorClock):
    """Keeps what it was asked to start in `children`, and refuses to while `refusing`."""

    def __init__(self) -> None:
        super().__init__()
        self.children: list[Child] = []
        self.commands: list[tuple[str, Sequence[str]]] = []
        self.wires: list[Wire] = []
        self.refusing = False

    def spawnProcess(
        self,
        protocol: IProcessProtocol,
        executable: str,
        args: Sequence[str],
        *,
        env: Mapping[str, str],
        childFDs: Mapping[int, int],
    ) -> Child:
        if self.refusing:
            raise OSError(11, "Resource temporarily unavailable")
        # The worker's end of the link: a stream socket that is open now.
        with socket.socket(fileno=socket.dup(childFDs[LINK])) as link:
            assert link.family == socket.AF_UNIX
        self.commands.append((executable, args))
        child = Child(100 + len(self.children), protocol, env, childFDs)
        self.children.append(child)
        return child

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> None:
        with socket.socket(fileno=socket.dup(fileDescriptor)) as link:
            assert link.family == addressFamily
        wire = Wire()
        self.wires.append(wire)
        factory.buildProtocol(None).makeConnection(wire)


class Bench:
    """A supervisor of two, and what it has said."""

    def __init__(self, *, admin: bool = False) -> None:
        self.reactor: Any = Reactor()
        self.cells = SharedCells.make(2)
        self.said: list[LogEvent] = []
        self.gone: list[int] = []
        self.supervisor = Supervisor(
            self.reactor,
            count=2,
            hub=Hub(secret=b"secret", sticky=StickyTable(ttl=1.0, max_entries=1)),
            cells=self.cells,
            listening=lambda: PORT,
            admin=(lambda: ADMIN_PORT) if admin else None,
            environment={"WORKERS": "2", "HOME": "/"},
            gone=self.gone.append,
            patience=PATIENCE,
        )

    @property
    def children(self) -> list[Child]:
        children: list[Child] = self.reactor.children
        return children

    def start(self) -> list[Child]:
        self.supervisor.startService()
        return list(self.children)

    def events(self) -> list[str]:
        return [event["event"] for event in self.said]

    def record(self, event: str) -> dict[str, Any]:
        """The last line of that name."""
        record: dict[str, Any] = [e["record"] for e in self.said if e["event"] == event][-1]
        return record


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()

    def observe(event: LogEvent) -> None:
        if event.get("log_namespace") == "autopilot.workers":
            made.said.append(event)

    observer = cast("ILogObserver", observe)
    globalLogPublisher.addObserver(observer)
    yield made
    globalLogPublisher.removeObserver(observer)
    made.cells.close()


def test_they_inherit_the_operators_port_if_he_has_one(bench: Bench) -> None:
    assert ADMIN not in bench.start()[0].fds
    opened = Bench(admin=True)
    assert [child.fds[ADMIN] for child in opened.start()] == [ADMIN_PORT, ADMIN_PORT]
    opened.cells.close()


def test_it_spawns_them_all_with_what_they_inherit(bench: Bench) -> None:
    children = bench.start()
    assert bench.reactor.commands == [
        (sys.executable, [sys.executable, "-m", "autopilot.worker"])
    ] * len(children)
    for slot, child in enumerate(children):
        assert child.env == {"WORKERS": "2", "HOME": "/", SLOT: str(slot), SLOTS: "2"}
        assert set(child.fds) == {0, 1, 2, LISTENING, LINK, CELLS}
        assert [child.fds[number] for number in (0, 1, 2)] == [0, 1, 2]
        assert (child.fds[LISTENING], child.fds[CELLS]) == (PORT, bench.cells.descriptor)
        told = inherited(child.env)
        assert (told.slot, told.slots) == (slot, 2)
        assert (told.listening, told.link, told.cells) == (LISTENING, LINK, CELLS)
    assert bench.supervisor.processes == (100, 101)
    assert bench.cells.ledger(0).processes == (100, 101)
    assert all(b'["welcome"' in wire.value() for wire in bench.reactor.wires)


def test_a_process_that_no_parent_has_started_is_told_so() -> None:
    for environment in ({}, {SLOT: "0"}, {SLOT: "x", SLOTS: "2"}):
        with pytest.raises(SystemExit, match="not by hand"):
            inherited(environment)


def test_one_that_was_well_is_replaced_at_once_in_its_own_place(bench: Bench) -> None:
    first, second = bench.start()
    bench.cells.ledger(1).add_request(3)
    bench.cells.ledger(1).has_connections(4)
    bench.reactor.advance(WELL_SECONDS)
    second.dies()
    # Nothing of the dead one is counted, and its link is closed.
    ledger = bench.cells.ledger(0)
    assert [ledger.requests, ledger.connections, ledger.processes] == [0, 0, (first.pid,)]
    assert bench.reactor.wires[1].aborted
    assert bench.gone == [1]
    assert [*bench.supervisor.processes] == [first.pid]
    bench.reactor.advance(0)
    third = bench.children[2]
    assert third.env[SLOT] == "1"
    assert [bench.supervisor.processes, ledger.processes] == [(first.pid, third.pid)] * 2
    record = bench.record("worker_ended")
    assert (record["slot"], record["signal"], record["again_in_s"]) == (1, signal.SIGKILL, 0.0)


def test_successors_that_die_are_replaced_less_and_less_often(bench: Bench) -> None:
    bench.start()
    waits = []
    for _death in range(9):
        bench.children[-1].dies()
        waits.append(bench.record("worker_ended")["again_in_s"])
        running = len(bench.children)
        bench.reactor.advance(waits[-1] * 0.99)
        assert len(bench.children) == running
        bench.reactor.advance(waits[-1] * 0.01)
        assert len(bench.children) == running + 1
    doubling = [FIRST_BACKOFF * 2**n for n in range(6)]
    assert waits == [*doubling, *[MAX_BACKOFF] * 3]
    # One that lives makes good for all before it.
    bench.reactor.advance(WELL_SECONDS)
    bench.children[-1].dies()
    assert bench.record("worker_ended")["again_in_s"] == 0.0
    bench.reactor.advance(0)
    bench.children[-1].dies()
    assert bench.record("worker_ended")["again_in_s"] == FIRST_BACKOFF


def test_the_others_are_not_touched_by_a_death(bench: Bench) -> None:
    first, second = bench.start()
    second.dies()
    assert (first.signals, bench.reactor.wires[0].aborted) == ([], False)
    first.dies()
    # Each place has a back-off of its own.
    assert [e["record"]["again_in_s"] for e in bench.said if e["event"] == "worker_ended"] == [
        FIRST_BACKOFF
    ] * 2


def test_one_that_cannot_be_spawned_is_tried_again(bench: Bench) -> None:
    bench.reactor.refusing = True
    bench.start()
    assert (bench.children, bench.supervisor.processes) == ([], ())
    assert bench.record("worker_not_started")["error"] == "Resource temporarily unavailable"
    assert all(wire.aborted for wire in bench.reactor.wires)
    bench.reactor.advance(FIRST_BACKOFF)
    assert bench.events().count("worker_not_started") == 4
    bench.reactor.refusing = False
    bench.reactor.advance(2 * FIRST_BACKOFF)
    assert bench.supervisor.processes == (100, 101)


def test_no_descriptor_for_a_link_is_no_end_either(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left() -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socketpair", none_left)
        bench.start()
    assert bench.record("worker_not_started")["error"] == "Too many open files"
    bench.reactor.advance(FIRST_BACKOFF)
    assert bench.supervisor.processes == (100, 101)


def test_it_stops_when_the_last_has_drained(bench: Bench) -> None:
    first, second = bench.start()
    stopped: list[object] = []
    bench.supervisor.stopService().addCallback(stopped.append)
    assert first.signals == second.signals == ["TERM"]
    first.exits()
    bench.reactor.advance(PATIENCE / 2)
    assert not stopped
    second.exits()
    assert len(stopped) == 1
    # Those that have ended were meant to, and are not replaced.
    bench.reactor.advance(MAX_BACKOFF)
    assert bench.children == [first, second]
    assert not bench.reactor.getDelayedCalls()
    assert bench.record("worker_ended")["again_in_s"] is None
    assert [str(e["log_level"]) for e in bench.said if e["event"] == "worker_ended"] == [
        "<LogLevel=info>"
    ] * 2
    assert bench.cells.ledger(0).processes == ()


def test_one_that_does_not_end_is_killed_when_patience_is_over(bench: Bench) -> None:
    first, second = bench.start()
    stopped: list[object] = []
    bench.supervisor.stopService().addCallback(stopped.append)
    first.exits()
    bench.reactor.advance(PATIENCE)
    assert (first.signals, second.signals) == (["TERM"], ["TERM", "KILL"])
    second.dies()
    assert len(stopped) == 1
    assert not bench.reactor.getDelayedCalls()


def test_one_that_has_ended_unnoticed_cannot_be_signalled_and_that_is_no_fault(
    bench: Bench,
) -> None:
    first, second = bench.start()
    first.reaped = True
    stopping = bench.supervisor.stopService()
    assert second.signals == ["TERM"]
    first.dies()
    second.exits()
    assert stopping.called


def test_a_replacement_that_is_due_when_it_stops_never_comes(bench: Bench) -> None:
    first, second = bench.start()
    second.dies()
    stopped: list[object] = []
    bench.supervisor.stopService().addCallback(stopped.append)
    assert not stopped
    first.exits()
    assert len(stopped) == 1
    bench.reactor.advance(MAX_BACKOFF)
    assert len(bench.children) == 2
    assert not bench.reactor.getDelayedCalls()


def test_it_stops_at_once_when_nobody_runs(bench: Bench) -> None:
    bench.reactor.refusing = True
    bench.start()
    assert bench.supervisor.stopService().called
    assert not bench.reactor.getDelayedCalls()


def test_it_can_be_started_again(bench: Bench) -> None:
    for child in bench.start():
        child.dies()
    bench.reactor.advance(FIRST_BACKOFF)
    stopping = bench.supervisor.stopService()
    for child in bench.children[2:]:
        child.exits()
    assert stopping.called
    bench.supervisor.startService()
    assert bench.supervisor.processes == (104, 105)
