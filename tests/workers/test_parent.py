"""The parent binds the port for all, and leaves no counts behind, whichever way it ends."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from autopilot.parent import ListeningSocket, ParentService
from autopilot.setting_values import ListenAddress
from autopilot.settings import load
from tests.workers.test_supervisor import Bench as Supervised

HOST = "127.0.0.1"


class Bench:
    """A parent with a port and two workers, on a reactor in memory, and without feeds."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        directory.mkdir()
        (directory / "counter_0.db").touch()
        self.directory = directory
        self.supervised = Supervised()
        self.at_second_signal: list[Callable[[], None]] = []
        self.listening = ListeningSocket(ListenAddress(host=HOST, port=port))
        self.service = ParentService(
            load({}),
            self.supervised.supervisor,
            directory=directory,
            forced=self.at_second_signal.append,
        )
        self.listening.setServiceParent(self.service)
        self.supervised.supervisor.setServiceParent(self.service)

    def start(self) -> None:
        """As twistd does."""
        self.service.privilegedStartService()
        self.service.startService()

    @property
    def port(self) -> int:
        with socket.socket(fileno=socket.dup(self.listening.fileno())) as bound:
            return int(bound.getsockname()[1])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "counts")
    yield made
    made.supervised.cells.close()


def test_it_binds_once_and_before_privileges_are_dropped(bench: Bench) -> None:
    bench.service.privilegedStartService()
    port = bench.port
    assert bench.supervised.children == []
    bench.service.startService()
    assert bench.port == port
    # Nobody accepts here, but the kernel does.
    socket.create_connection((HOST, port)).close()
    bench.service.stopService()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port))


def test_it_stops_when_its_workers_have_and_then_removes_the_counts(bench: Bench) -> None:
    bench.start()
    stopping = bench.service.stopService()
    first, second = bench.supervised.children
    first.exits()
    assert (stopping.called, bench.directory.exists()) == (False, True)
    second.exits()
    assert [stopping.called, bench.directory.exists()] == [True, False]


def test_at_a_second_signal_it_kills_them_and_removes_the_counts(bench: Bench) -> None:
    bench.start()
    assert bench.at_second_signal == []
    bench.service.stopService()
    (end,) = bench.at_second_signal
    end()
    assert [child.signals for child in bench.supervised.children] == [["TERM", "KILL"]] * 2
    assert not bench.directory.exists()


def test_a_port_that_is_taken_leaves_no_counts(tmp_path: Path) -> None:
    with closing(socket.create_server((HOST, 0))) as taken:
        bench = Bench(tmp_path / "counts", port=taken.getsockname()[1])
        with pytest.raises(SystemExit, match="Address already in use"):
            bench.service.privilegedStartService()
    assert not bench.directory.exists()
    bench.supervised.cells.close()


def test_it_has_no_port_before_it_starts() -> None:
    with pytest.raises(RuntimeError, match="not bound"):
        ListeningSocket(ListenAddress(host=HOST, port=0)).fileno()
