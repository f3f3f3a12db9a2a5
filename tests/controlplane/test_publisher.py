"""What was fetched becomes the picture, or nothing: dated, told of, and parsed beside the loop."""

import threading
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from autopilot.controlplane.publisher import Publisher, in_a_thread
from autopilot.controlplane.state import RoutingState
from autopilot.labels import Feed
from autopilot.policy.catalog import FeedError, FeedFault
from autopilot.policy.picture import Picture
from autopilot.testing import at_once

CATALOG = b'{"object":"list","data":[{"id":"org/a","chute_id":"1"},{"id":3}]}'
FEED = b'[{"name":"org/a","chute_id":"1","active_instance_count":2}]'
NO_MODEL = b'{"object":"list","data":[]}'


class Bench:
    def __init__(self, parsing: Any = at_once) -> None:
        self.told: list[tuple[Feed, bytes, float]] = []
        self.state = RoutingState()
        self.publisher = Publisher(
            self.state,
            parsing=parsing,
            monotonic=lambda: 7.0,
            told=lambda *what: self.told.append(what),
        )

    def publish(self, feed: Feed, body: bytes, fetched_at: float | None = None) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.publisher.publish(feed, body, fetched_at=fetched_at))


def fault_of(failed: Deferred[Any]) -> Any:
    """What it failed with, which is then handled."""
    seen: list[Failure] = []
    failed.addErrback(seen.append)
    (failure,) = seen
    return failure.value


def test_a_feed_is_published_with_the_moment_of_its_fetch_and_told_of() -> None:
    bench = Bench()
    dropped: Any = bench.publish(Feed.CATALOG, CATALOG).result
    assert sum(dropped.values()) == 1
    bench.publish(Feed.UTILIZATION, FEED, fetched_at=3.0)
    picture = bench.state.picture
    assert picture.order == ("org/a",)
    assert (picture.catalog_fetched_at, picture.utilization_fetched_at) == (7.0, 3.0)
    assert bench.told == [(Feed.CATALOG, CATALOG, 7.0), (Feed.UTILIZATION, FEED, 3.0)]


@pytest.mark.parametrize("feed", list(Feed))
def test_what_cannot_be_used_changes_nothing_and_is_told_nobody(feed: Feed) -> None:
    bench = Bench()
    assert fault_of(bench.publish(feed, b"{")).fault is FeedFault.BAD_JSON
    assert bench.state.picture == Picture()
    assert bench.told == []


def test_that_the_platform_lists_no_model_is_noted_and_told() -> None:
    bench = Bench()
    assert fault_of(bench.publish(Feed.CATALOG, NO_MODEL)).fault is FeedFault.EMPTY
    assert bench.state.picture.catalog_answered_empty
    assert bench.told == [(Feed.CATALOG, NO_MODEL, 7.0)]


def test_a_publishing_that_is_cancelled_leaves_the_picture_as_it_is() -> None:
    bench = Bench(parsing=lambda _parse, _body: Deferred())
    publishing = bench.publish(Feed.UTILIZATION, FEED)
    publishing.cancel()
    assert isinstance(fault_of(publishing), CancelledError)
    assert bench.state.picture == Picture()
    assert bench.told == []


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_feed_is_parsed_in_another_thread_and_its_error_comes_back() -> None:
    parsing = in_a_thread(reactor)
    thread = await parsing(lambda _body: threading.get_ident(), b"")
    assert thread != threading.get_ident()

    def fail(_body: bytes) -> None:
        raise FeedError(FeedFault.BAD_JSON)

    with pytest.raises(FeedError):
        await parsing(fail, b"")
