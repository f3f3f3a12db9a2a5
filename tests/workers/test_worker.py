"""One worker on a reactor in memory: it serves when it has been told all, and leaves in order, once."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from autopilot.labels import Feed
from autopilot.ledger import SharedCells
from autopilot.policy.stickiness import StickyTable
from autopilot.selectors.finding import UnknownSelectorError
from autopilot.settings import load
from autopilot.web.fair import FairPort
from autopilot.worker import Worker
from autopilot.workers.hub import Hub
from autopilot.workers.link import Link
from autopilot.workers.supervisor import Inherited
from tests.workers.test_sharing import CATALOG, FEED, Wire

SETTINGS = {
    "LISTEN_ADDR": "127.0.0.1:8080",
    "WORKERS": "2",
    "BACKEND_BASE_URL": "http://llm.test:1",
    "MODELS_URL": "http://llm.test:2/v1/models",
    "UTILIZATION_URL": "http://api.test:3/chutes/utilization",
    "DRAIN_GRACE_MS": "2000",
}


class Threads:
    """A pool in which nothing happens until the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def callInThreadWithCallback(
        self, done: Callable[[bool, Any], None], work: Callable[..., Any], *arguments: Any
    ) -> None:
        self.waiting.append(lambda: done(True, work(*arguments)))

    def run(self) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each()


class Reactor(MemoryReactorClock):
    """Carries the worker's end of the link in memory, and counts how often it was stopped."""

    link: Link

    def __init__(self) -> None:
        super().__init__()
        self.up = Wire()
        self.stops = 0
        self.threads = Threads()

    def getThreadPool(self) -> Threads:
        return self.threads

    def callFromThread(self, function: Callable[..., Any], *arguments: Any) -> None:
        function(*arguments)

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> None:
        with socket.socket(fileno=socket.dup(fileDescriptor)) as link:
            assert link.family == addressFamily
        self.link = factory.buildProtocol(None)
        self.link.makeConnection(self.up)

    def stop(self) -> None:
        assert not self.stops, "Twisted raises ReactorNotRunning"
        self.stops += 1


class Bench:
    """A worker with the descriptors that a parent would have left it."""

    def __init__(self, **settings: str) -> None:
        self.reactor: Any = Reactor()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.admin = socket.create_server(("127.0.0.1", 0))
        self.cells = SharedCells.make(2)
        ours, theirs = socket.socketpair()
        self.ours = ours
        self.inherits = Inherited(
            slot=1,
            slots=2,
            # Each a descriptor of its own, which the worker closes when it needs it no longer.
            listening=os.dup(self.listening.fileno()),
            link=theirs.detach(),
            cells=self.cells.descriptor,
            admin=os.dup(self.admin.fileno()),
        )
        self.worker = Worker(load({**SETTINGS, **settings}), self.reactor, self.inherits)
        self.hub = Hub(secret=b"secret", sticky=StickyTable(ttl=1.0, max_entries=1))
        self.parents_end: Link = self.hub.link()
        self.down = Wire()

    def join(self) -> None:
        """The worker takes up the link, and hears all from the parent."""
        self.worker.join()
        self.parents_end.makeConnection(self.down)
        self.hub.welcome(self.parents_end)
        self.reactor.link.dataReceived(self.down.take())

    def lose_the_parent(self) -> None:
        self.reactor.link.connectionLost(Failure(ConnectionDone()))

    @property
    def ports(self) -> list[FairPort]:
        """What listens here."""
        return [each for each in self.reactor.getReaders() if isinstance(each, FairPort)]

    @property
    def copies(self) -> int:
        """How many descriptors of this process are the listening socket, the bench's own aside."""
        return self.copies_of(self.listening)

    def copies_of(self, listening: socket.socket) -> int:
        own = os.fstat(listening.fileno()).st_ino
        numbers = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
        return sum(_inode(number) == own for number in numbers) - 1

    def close(self) -> None:
        for port in self.ports:
            port.connectionLost(Failure(ConnectionDone()))
        if self.copies:
            # It never got so far as to close it.
            os.close(self.inherits.listening)
        if self.copies_of(self.admin):
            os.close(self.inherits.admin)
        for each in (self.listening, self.admin, self.ours):
            each.close()
        self.cells.close()


def _inode(descriptor: int) -> int | None:
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        # The one that the list of descriptors was read with.
        return None


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_it_accepts_nothing_before_it_knows_what_all_share(bench: Bench) -> None:
    bench.worker.join()
    assert bench.ports == []
    assert bench.worker.leave() is None
    # Only the reactor has the link now: its end is the end of it.
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(bench.inherits.link)


def test_it_serves_with_the_port_as_the_only_one_that_keeps_the_socket(bench: Bench) -> None:
    bench.join()
    (port,) = bench.ports
    assert port.getHost().port == bench.listening.getsockname()[1]
    assert bench.copies == 1
    port.connectionLost(Failure(ConnectionDone()))
    assert bench.copies == 0


def test_the_operators_port_is_served_beside_it_and_is_no_client_s() -> None:
    bench = Bench(ADMIN_LISTEN_ADDR="127.0.0.1:1")
    bench.join()
    port, admin = sorted(bench.ports, key=lambda port: port.ledger is None)
    assert admin.getHost().port == bench.admin.getsockname()[1]
    # Whom the operator's port accepts does not count as a client, here or anywhere.
    assert (port.ledger is None, admin.ledger is None) == (False, True)
    assert (bench.copies, bench.copies_of(bench.admin)) == (1, 1)
    bench.worker.leave()
    for _turn in range(3):
        bench.reactor.advance(0)
    assert bench.ports == []
    bench.close()


def test_it_accepts_nobody_before_its_picture_is_that_of_the_others(bench: Bench) -> None:
    bench.hub.fetched(Feed.CATALOG, CATALOG, 0.0)
    bench.hub.fetched(Feed.UTILIZATION, FEED, 0.0)
    bench.join()
    assert bench.ports == []
    bench.reactor.threads.run()
    assert len(bench.ports) == 1


def test_one_that_is_told_to_leave_while_it_reads_them_never_accepts(bench: Bench) -> None:
    bench.hub.fetched(Feed.CATALOG, CATALOG, 0.0)
    bench.join()
    leaving = bench.worker.leave()
    assert leaving is not None
    bench.reactor.threads.run()
    bench.reactor.advance(0)
    assert leaving.called
    assert bench.ports == []


def test_it_counts_in_its_own_place(bench: Bench) -> None:
    bench.join()
    others, its_own = bench.cells.ledger(0), bench.cells.ledger(1)
    others.accepts(True)
    (port,) = bench.ports
    assert port.ledger is not None
    port.ledger.has_connections(3)
    assert (its_own.surplus, others.connections) == (3, 3)


def test_it_leaves_in_order_and_tells_when_nothing_is_left(bench: Bench) -> None:
    bench.join()
    leaving = bench.worker.leave()
    assert leaving is not None
    bench.reactor.advance(0)
    bench.reactor.advance(0)
    assert leaving.called
    assert bench.reactor.up.disconnecting
    assert (bench.ports, bench.copies) == ([], 0)
    assert not bench.reactor.getDelayedCalls()


def test_however_often_it_is_told_it_stops_once(bench: Bench) -> None:
    bench.join()
    bench.worker.stop()
    bench.worker.stop()
    bench.lose_the_parent()
    assert bench.reactor.stops == 1


def test_one_whose_parent_is_gone_stops(bench: Bench) -> None:
    bench.join()
    bench.lose_the_parent()
    bench.worker.stop()
    assert bench.reactor.stops == 1


def test_one_whose_parent_goes_before_it_has_said_anything_stops(bench: Bench) -> None:
    bench.worker.join()
    bench.lose_the_parent()
    assert bench.reactor.stops == 1
    assert bench.worker.leave() is None


def test_one_that_cannot_begin_says_so_and_stops(lost_errors: list[Failure]) -> None:
    bench = Bench(SELECTOR="no-such")
    bench.join()
    assert [failure.type for failure in lost_errors] == [UnknownSelectorError]
    lost_errors.clear()
    assert bench.reactor.stops == 1
    bench.close()
