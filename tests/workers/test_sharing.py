"""What one worker learns all know, in one order, and so does one that comes later; nothing piles up."""

import json
from collections import Counter
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from autopilot.controlplane.publisher import Publisher
from autopilot.controlplane.state import RoutingState
from autopilot.labels import Feed
from autopilot.policy.rest import BRIEF_SECONDS, Cause
from autopilot.policy.stickiness import StickyTable
from autopilot.testing import at_once
from autopilot.workers.hub import Hub
from autopilot.workers.link import Link, room_for
from autopilot.workers.member import Member

SECRET = b"\x01\xfe secret"
TTL = 100.0
CATALOG = b'{"object":"list","data":[{"id":"org/a","chute_id":"1"},{"id":"org/b","chute_id":"2"}]}'
FEED = b'[{"name":"org/a","chute_id":"1","active_instance_count":2}]'
OTHER_FEED = b'[{"name":"org/b","chute_id":"2","active_instance_count":2}]'


BUFFER = 1 << 16
"""Bytes that a transport of Twisted takes before it has its producer pause."""


class Wire(StringTransport):
    """One end of a socket pair: what is written waits until the test carries it over."""

    aborted = False

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None and len(self.value()) > BUFFER:
            self.producer.pauseProducing()

    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True

    def doWrite(self) -> None:
        """See `IWriteDescriptor`: what a transport can send it sends now."""

    def take(self) -> bytes:
        data = cast("bytes", self.value())
        self.clear()
        if self.producer is not None and len(data) > BUFFER:
            self.producer.resumeProducing()
        return data


def abouts(written: bytes) -> Counter[str]:
    """How many messages of each kind stand in what was written."""
    kinds: Counter[str] = Counter()
    while written:
        end = 4 + int.from_bytes(written[:4], "big")
        kinds[json.loads(written[4:end].partition(b"\n")[0])[0]] += 1
        written = written[end:]
    return kinds


class Worker:
    """A member, its wire, and the parent's end of it."""

    def __init__(self, bench: "Bench") -> None:
        self.bench = bench
        self.orphaned = 0
        self.member = Member(
            StickyTable(ttl=TTL, max_entries=100),
            monotonic=lambda: bench.now,
            orphaned=self._orphan,
        )
        self.state = RoutingState()
        self.publisher = Publisher(self.state, parsing=at_once, monotonic=lambda: bench.now)
        self.up, self.down = Wire(), Wire()
        self.parents_end: Link = bench.hub.link()
        self.parents_end.makeConnection(self.down)
        self.member.link.makeConnection(self.up)
        bench.hub.welcome(self.parents_end)

    def _orphan(self) -> None:
        self.orphaned += 1

    def deliver(self) -> bool:
        """Carry over what waits in both directions; whether there was anything."""
        up, down = self.up.take(), self.down.take()
        if up:
            self.parents_end.dataReceived(up)
        if down:
            self.member.link.dataReceived(down)
        return bool(up or down)


class Bench:
    def __init__(self) -> None:
        self.now = 1000.0
        self.hub = Hub(secret=SECRET, sticky=StickyTable(ttl=TTL, max_entries=100))
        self.workers: list[Worker] = []

    def join(self) -> Worker:
        worker = Worker(self)
        self.workers.append(worker)
        self.settle()
        return worker

    def settle(self) -> None:
        moved = True
        while moved:
            moved = False
            for worker in self.workers:
                moved = worker.deliver() or moved


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_worker_is_welcome_with_the_secret_once_it_knows_all(bench: Bench) -> None:
    worker = bench.join()
    assert worker.member.welcomed.called
    assert worker.member.secret == SECRET


def test_a_client_is_on_the_same_model_with_every_worker(bench: Bench) -> None:
    first, second = bench.join(), bench.join()
    first.member.sticky.put(b"client", "org/a")
    bench.settle()
    assert second.member.sticky.get(b"client") == "org/a"
    later = bench.join()
    assert later.member.sticky.get(b"client") == "org/a"
    second.member.sticky.forget(b"client", "org/a")
    bench.settle()
    assert [w.member.sticky.get(b"client") for w in (first, second, later)] == [None] * 3


def test_a_place_expires_everywhere_at_once(bench: Bench) -> None:
    first, second = bench.join(), bench.join()
    first.member.sticky.put(b"client", "org/a")
    bench.settle()
    bench.now += TTL
    later = bench.join()
    assert [w.member.sticky.get(b"client") for w in (first, second, later)] == [None] * 3


def test_of_two_that_move_a_client_at_once_all_believe_the_same(bench: Bench) -> None:
    first, second = bench.join(), bench.join()
    first.member.sticky.put(b"client", "org/a")
    second.member.sticky.put(b"client", "org/b")
    bench.settle()
    models = {worker.member.sticky.get(b"client") for worker in (first, second, bench.join())}
    assert len(models) == 1


def test_an_answer_that_changes_nothing_is_no_message(bench: Bench) -> None:
    worker = bench.join()
    worker.member.sticky.put(b"client", "org/a")
    bench.settle()
    bench.now += TTL * 0.05
    worker.member.sticky.put(b"client", "org/a")
    assert worker.up.take() == b""
    bench.now += TTL * 0.1
    worker.member.sticky.put(b"client", "org/a")
    assert worker.up.take()


def test_what_one_worker_learns_of_a_model_all_heed(bench: Bench) -> None:
    first, second = bench.join(), bench.join()
    first.member.rests.failed("org/a", Cause.BRIEF, now=bench.now)
    bench.settle()
    later = bench.join()
    for worker in (second, later):
        assert worker.member.rests.resting("org/a", now=bench.now)
    bench.now += BRIEF_SECONDS
    assert later.member.rests.asked("org/a", now=bench.now)
    bench.settle()
    # One probe for the whole service.
    assert not first.member.rests.asked("org/a", now=bench.now)
    later.member.rests.succeeded("org/a")
    bench.settle()
    assert first.member.rests.items() == second.member.rests.items() == ()


def test_what_the_parent_fetched_is_published_by_every_worker_with_its_date(bench: Bench) -> None:
    first = bench.join()
    first.member.publish_with(first.publisher)
    bench.hub.fetched(Feed.CATALOG, CATALOG, 3.0)
    bench.hub.fetched(Feed.UTILIZATION, FEED, 4.0)
    bench.settle()
    later = bench.join()
    # It has come before there was a publisher.
    later.member.publish_with(later.publisher)
    for worker in (first, later):
        picture = worker.state.picture
        assert picture.order == ("org/a",)
        assert (picture.catalog_fetched_at, picture.utilization_fetched_at) == (3.0, 4.0)


def test_of_feeds_that_come_while_one_is_parsed_only_the_newest_is_parsed(
    bench: Bench, lost_errors: list[Failure]
) -> None:
    parsing: list[tuple[bytes, Deferred[Any]]] = []

    def later(_parse: object, body: bytes) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        parsing.append((body, waiting))
        return waiting

    worker = bench.join()
    worker.member.publish_with(
        Publisher(worker.state, parsing=cast("Any", later), monotonic=lambda: bench.now)
    )
    for body in (FEED, OTHER_FEED, FEED, OTHER_FEED):
        bench.hub.fetched(Feed.UTILIZATION, body, 1.0)
    bench.settle()
    assert [body for body, _waiting in parsing] == [FEED]
    parsing[0][1].errback(ZeroDivisionError())
    assert [body for body, _waiting in parsing] == [FEED, OTHER_FEED]
    assert [failure.type for failure in lost_errors] == [ZeroDivisionError]
    lost_errors.clear()
    worker.member.startService()
    worker.member.stopService()
    assert parsing[1][1].called


def test_a_worker_that_does_not_read_is_told_the_state_later_and_nothing_piles_up(
    bench: Bench,
) -> None:
    first, second = bench.join(), bench.join()
    second.parents_end.pauseProducing()
    for number in range(50):
        first.member.sticky.put(b"client %d" % number, "org/a")
        bench.hub.fetched(Feed.UTILIZATION, FEED, float(number))
    first.deliver()
    assert second.down.take() == b""
    second.parents_end.resumeProducing()
    # Of the feeds the newest only.
    assert abouts(second.down.value()) == Counter({"sticky": 50, "feed": 1})
    bench.settle()
    second.member.publish_with(second.publisher)
    assert second.member.sticky.get(b"client 49") == "org/a"
    assert second.state.picture.utilization_fetched_at == 49.0


def test_feeds_that_fill_the_buffer_hold_up_nothing_for_good(bench: Bench) -> None:
    large = b" " * 2 * BUFFER
    first = bench.join()
    first.member.sticky.put(b"client", "org/a")
    bench.hub.fetched(Feed.CATALOG, CATALOG + large, 3.0)
    bench.hub.fetched(Feed.UTILIZATION, FEED + large, 4.0)
    later = bench.join()
    assert later.member.welcomed.called
    assert later.member.sticky.get(b"client") == "org/a"
    for worker in (first, later):
        worker.member.publish_with(worker.publisher)
        picture = worker.state.picture
        assert (picture.catalog_fetched_at, picture.utilization_fetched_at) == (3.0, 4.0)


def test_who_waits_for_too_much_is_told_of_the_latest_places_and_all_that_it_needs() -> None:
    table = StickyTable(ttl=TTL, max_entries=2)
    hub = Hub(secret=SECRET, sticky=table)
    wire = Wire()
    link = hub.link()
    link.makeConnection(wire)
    hub.fetched(Feed.CATALOG, CATALOG, 3.0)
    link.pauseProducing()
    hub.welcome(link)
    places = room_for(table) + 10
    for number in range(places):
        link.say("sticky", f"{number:04x}", "org/a", 1.0)
    link.resumeProducing()
    said = abouts(wire.value())
    assert said["feed"] == said["welcome"] == 1
    assert said.total() == room_for(table)
    assert f'"{places - 1:04x}"'.encode() in wire.value()


def test_a_parent_that_does_not_read_is_told_the_state_later(bench: Bench) -> None:
    worker = bench.join()
    worker.member.link.pauseProducing()
    worker.member.sticky.put(b"client", "org/a")
    worker.member.rests.failed("org/b", Cause.COLD, now=bench.now)
    assert worker.up.take() == b""
    worker.member.link.resumeProducing()
    bench.settle()
    later = bench.join()
    assert later.member.sticky.get(b"client") == "org/a"
    assert later.member.rests.resting("org/b", now=bench.now)


def test_a_worker_that_loses_its_parent_says_so_once_and_not_when_it_leaves(bench: Bench) -> None:
    lost, left = bench.join(), bench.join()
    lost.member.link.connectionLost()
    assert lost.orphaned == 1
    left.member.startService()
    left.member.stopService()
    assert left.up.disconnecting
    left.member.link.connectionLost()
    assert left.orphaned == 0


def test_a_link_that_is_gone_is_told_nothing(bench: Bench) -> None:
    gone = bench.join()
    gone.parents_end.connectionLost()
    bench.hub.fetched(Feed.UTILIZATION, FEED, 1.0)
    assert gone.down.take() == b""


@pytest.mark.parametrize("message", [["nonsense"], ["sticky", "zz", "org/a", 1.0], ["rest"]])
def test_what_cannot_be_a_message_ends_the_link(
    bench: Bench, lost_errors: list[Failure], message: list[Any]
) -> None:
    worker = bench.join()
    worker.member.link.say(*message)
    worker.parents_end.dataReceived(worker.up.take())
    assert worker.down.aborted
    worker.parents_end.say(*message)
    worker.member.link.dataReceived(worker.down.take())
    assert worker.up.aborted
    assert len(lost_errors) == 2
    lost_errors.clear()


def test_who_only_wants_to_know_of_a_place_tells_nobody(bench: Bench) -> None:
    first, second = bench.join(), bench.join()
    first.member.sticky.put(b"client", "org/a")
    bench.settle()
    assert second.member.sticky.peek(b"client") == "org/a"
    assert not second.deliver()
