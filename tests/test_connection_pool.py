"""The pool: which idle connection is taken, when one leaves, and that all are gone at the stop.

`Stuck` lines are those of a peer over TLS that never sends its close_notify: only an abort ends them.
"""

from typing import Any, cast

import pytest
from twisted.internet.protocol import Protocol

from autopilot.connection_pool import IDLE_SECONDS, ClientPool
from autopilot.interfaces import ISelector
from autopilot.selectors.capacity import Capacity
from autopilot.service import make_service
from autopilot.settings import load
from tests.test_http_client import Bench, Line, read


class Stuck(Line):
    def loseConnection(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass

    def abortConnection(self) -> None:
        super().loseConnection()


def idle_lines(bench: Bench, count: int, kind: type[Line] = Line) -> list[Line]:
    """Lines that have each served one request, in this order."""
    first = bench.net.dialled
    requesting = [bench.request(b"{}") for _ in range(count)]
    lines = [
        kind(bench.net.reactor, bench.net.reactor.tcpClients[first + index][2])
        for index in range(count)
    ]
    for line, one in zip(lines, requesting, strict=True):
        line.answer(b"x")
        read(one)
        line.clear()
    return lines


def open_ones(lines: list[Line]) -> list[bool]:
    return [line.is_open() for line in lines]


def test_the_newest_idle_connection_is_taken_first() -> None:
    bench = Bench()
    lines = idle_lines(bench, 3)
    taken = []
    for _ in range(3):
        bench.request(b"{}")
        (used,) = [line for line in lines if line.received]
        taken.append(lines.index(used))
        used.clear()
    assert taken == [2, 1, 0]
    assert bench.net.dialled == 3
    for line in lines:
        line.answer()
    bench.finish()


def test_what_was_used_last_is_newest() -> None:
    bench = Bench()
    lines = idle_lines(bench, 2)
    both = [bench.request(b"{}"), bench.request(b"{}")]
    for line, requesting in zip(reversed(lines), both, strict=True):
        line.answer()
        read(requesting)
        line.clear()
    bench.request(b"{}")
    assert [bool(line.received) for line in lines] == [True, False]
    lines[0].answer()
    bench.finish()


def test_a_connection_that_dies_idle_leaves_at_once_with_its_timer() -> None:
    bench = Bench(max_idle=2)
    lines = idle_lines(bench, 2)
    lines[0].hang_up()
    assert len(bench.net.reactor.getDelayedCalls()) == 1
    # Its place is free: a third one does not push the living one out.
    taken = bench.request(b"{}")
    more = idle_lines(bench, 1)
    lines[1].answer()
    read(taken)
    bench.net.turn()
    assert open_ones([*lines, *more]) == [False, True, True]
    bench.finish()


def test_a_connection_that_dies_in_use_changes_nothing_for_the_idle_ones() -> None:
    bench = Bench()
    lines = idle_lines(bench, 2)
    requesting = bench.request(b"{}")
    lines[1].send(b"HTTP/1.1 200 OK\r\n")
    lines[1].hang_up()
    requesting.addErrback(lambda _failure: None)
    bench.request(b"{}")
    assert (bool(lines[0].received), bench.net.dialled) == (True, 2)
    lines[0].answer()
    bench.finish()


def test_the_surplus_is_the_one_idle_longest_and_is_closed_whatever_the_peer_does() -> None:
    bench = Bench(max_idle=2)
    lines = idle_lines(bench, 3, Stuck)
    bench.net.turn()
    assert open_ones(lines) == [False, True, True]
    bench.finish()


def test_one_idle_for_too_long_is_closed_whatever_the_peer_does() -> None:
    bench = Bench()
    lines = idle_lines(bench, 2, Stuck)
    bench.net.reactor.advance(IDLE_SECONDS)
    bench.net.turn()
    assert open_ones(lines) == [False, False]
    assert bench.net.reactor.getDelayedCalls() == []


def test_one_that_may_not_be_reused_is_closed_whatever_the_peer_does() -> None:
    bench = Bench()
    requesting = bench.request(b"{}")
    line = Stuck(bench.net.reactor, bench.net.reactor.tcpClients[0][2])
    line.answer(fields=b"connection: close\r\n")
    read(requesting)
    bench.net.turn()
    assert not line.is_open()
    bench.finish()


def test_closing_the_pool_is_done_whatever_the_peer_does() -> None:
    bench = Bench()
    lines = idle_lines(bench, 2, Stuck)
    closed = bench.pool.closeCachedConnections()
    at_once = closed.called
    bench.net.turn()
    assert (at_once, closed.called) == (False, True)
    assert open_ones(lines) == [False, False]
    assert bench.net.reactor.getDelayedCalls() == []


def test_a_closed_pool_keeps_nothing_until_it_is_opened() -> None:
    bench = Bench()
    requesting = bench.request(b"{}")
    bench.pool.closeCachedConnections()
    line = bench.net.accept()
    line.answer(b"late")
    assert read(requesting)[1].data == b"late"
    bench.net.turn()
    assert not line.is_open()
    assert bench.net.reactor.getDelayedCalls() == []
    bench.pool.open()
    (kept,) = idle_lines(bench, 1)
    bench.net.turn()
    assert kept.is_open()
    bench.finish()


@pytest.mark.parametrize("count", [1, 128])
def test_the_setting_is_the_size_of_the_pool(count: int) -> None:
    bench = Bench()
    service = make_service(
        load({"UPSTREAM_MAX_IDLE_CONNECTIONS": str(count)}),
        {"capacity": ISelector(Capacity())},
        bench.net.reactor,
    )
    pools: list[Any] = [child for child in service if isinstance(child, ClientPool)]
    assert pools[0].pool.maxPersistentPerHost == count


def test_the_service_opens_its_pool_again_when_it_starts_again() -> None:
    bench = Bench()
    service = ClientPool(bench.net.reactor, max_idle=1, connect_timeout=1)
    assert service.stopService().called
    assert service.pool._closed
    service.startService()
    assert not service.pool._closed


class Enough(Protocol):
    """Wants no more of a body after its first bytes."""

    def dataReceived(self, data: bytes) -> None:  # noqa: ARG002 - whatever it is
        cast("Any", self.transport).stopProducing()


def test_a_connection_that_is_being_closed_is_not_taken_for_the_next_request() -> None:
    bench = Bench()
    bench.request(b"{}").addCallback(lambda answer: answer.deliverBody(Enough()))
    line = bench.net.accept()
    line.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
    bench.request(b"{}")
    assert bench.net.dialled == 2
    bench.net.accept().answer()
    bench.finish()
