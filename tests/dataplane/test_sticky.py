"""A client's place in the store of this process, and what one request may do to it."""

import pytest
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from autopilot.dataplane.sticky import Affinity, MemorySticky
from autopilot.interfaces import IStickyStore
from autopilot.policy.stickiness import StickyTable
from autopilot.testing import FakeSticky

TTL = 10.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemorySticky:
    return MemorySticky(StickyTable(ttl=TTL, max_entries=10), clock.seconds)


def test_the_stores_implement_what_the_router_asks_of_one(store: MemorySticky) -> None:
    assert verifyObject(IStickyStore, store)
    assert verifyObject(IStickyStore, FakeSticky())


def test_a_place_lasts_as_long_as_the_clock_of_the_store_says(
    store: MemorySticky, clock: Clock
) -> None:
    clock.advance(1000)
    store.put(b"k", "org/a")
    clock.advance(TTL - 0.5)
    assert store.get(b"k") == "org/a"
    clock.advance(0.5)
    assert store.get(b"k") is None


def test_a_late_failure_does_not_undo_what_another_answer_wrote(store: MemorySticky) -> None:
    one, other = Affinity(store, b"k"), Affinity(store, b"k")
    one.served("org/a")
    other.served("org/b")
    one.failed("org/a")
    assert store.get(b"k") == "org/b"
    one.failed("org/b")
    assert store.get(b"k") is None


def test_clients_do_not_see_each_others_model(store: MemorySticky) -> None:
    Affinity(store, b"k1").served("org/a")
    Affinity(store, b"k2").failed("org/a")
    assert store.get(b"k2") is None
    assert store.get(b"k1") == "org/a"


def test_who_only_wants_to_know_changes_neither_time_nor_order(clock: Clock) -> None:
    store = MemorySticky(StickyTable(ttl=TTL, max_entries=2), clock.seconds)
    store.put(b"one", "org/a")
    store.put(b"two", "org/b")
    clock.advance(TTL - 1)
    assert [store.peek(b"one"), store.peek(b"nobody")] == ["org/a", None]
    # The least recently used is still the first to go.
    store.put(b"three", "org/c")
    assert [store.peek(b"one"), store.peek(b"two")] == [None, "org/b"]
    clock.advance(1)
    assert store.peek(b"two") is None
