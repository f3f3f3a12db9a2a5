"""The loop of a feed: nothing ends it, nothing costs the last good picture, and every end is counted.

`Bench` runs one `Refresher` with the real client, and the test plays the platform: each fetch is a
new connection, because every answer closes its own.
"""

import gzip
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from prometheus_client import CollectorRegistry
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from autopilot.connection_pool import ConnectionPool
from autopilot.controlplane.publisher import Publisher
from autopilot.controlplane.refresher import RETRY_SECONDS, Refresher, Source
from autopilot.controlplane.state import RoutingState
from autopilot.http_client import make_client
from autopilot.labels import Feed
from autopilot.metrics import Metrics
from autopilot.policy.catalog import Utilization
from autopilot.testing import at_once
from tests.test_http_client import HangingResolver, Net

INTERVAL = 5.0
TIMEOUT = 2.0
LIMIT = 2000
CLOSE = b"connection: close\r\n"

FEED = b'[{"name":"org/a-TEE","chute_id":"1","active_instance_count":2}]'
OTHER_FEED = b'[{"name":"org/b-TEE","chute_id":"2","active_instance_count":2}]'
CATALOG = b'{"object":"list","data":[{"id":"org/a","chute_id":"1"}]}'

Fail = Callable[["Bench"], None]


class Bench:
    def __init__(
        self,
        feed: Feed = Feed.UTILIZATION,
        state: RoutingState | None = None,
        *,
        interval: float = INTERVAL,
    ) -> None:
        self.net = Net()
        self.registry = CollectorRegistry()
        self.state = state or RoutingState()
        self.publisher = Publisher(self.state, parsing=at_once, monotonic=self.net.reactor.seconds)
        self.pool = ConnectionPool(self.net.reactor, max_idle=2, connect_timeout=TIMEOUT)
        self.refresher = Refresher(
            Source(
                feed=feed,
                url="http://feed.test/",
                interval=interval,
                timeout=TIMEOUT,
                max_bytes=LIMIT,
            ),
            self.publisher,
            client=make_client(
                self.net.reactor,
                self.pool,
                accept_encoding=b"gzip",
                retried=lambda: None,
            ),
            clock=self.net.reactor,
            metrics=Metrics(self.registry),
        )
        self._feed = feed

    def start(self) -> None:
        self.refresher.startService()

    def answer(self, body: bytes, *, status: bytes = b"200 OK", fields: bytes = b"") -> None:
        """Answer the fetch that is under way."""
        self.net.accept().answer(body, status=status, fields=CLOSE + fields)
        self.net.turn()

    def next_tick(self) -> None:
        before = self.net.dialled
        late = self.net.reactor.seconds() % INTERVAL
        self.net.reactor.advance(INTERVAL - late)
        assert self.net.dialled == before + 1, "no fetch began at the tick"

    def count(self, result: str) -> float:
        labels = {"feed": self._feed.value, "result": result}
        return self.registry.get_sample_value("autopilot_refreshes_total", labels) or 0.0

    def dropped(self, reason: str) -> float | None:
        labels = {"feed": self._feed.value, "reason": reason}
        return self.registry.get_sample_value("autopilot_rows_dropped_total", labels)

    def order(self) -> tuple[str, ...]:
        return self.state.picture.order

    def stop(self) -> "Deferred[None]":
        stopping = self.refresher.stopService()
        self.net.turn()
        return stopping

    def finish(self) -> None:
        """Stop; nothing may be left on the clock, and no line open."""
        stopping = self.stop()
        assert stopping.called
        assert self.net.reactor.getDelayedCalls() == []
        assert not any(line.is_open() for line in self.net.lines)


@pytest.fixture
def said() -> Iterator[list[tuple[str, str, str]]]:
    """Level, feed and result of each `refresh` event."""
    words: list[tuple[str, str, str]] = []

    def observe(event: LogEvent) -> None:
        if event.get("event") == "refresh":
            record = event["record"]
            words.append((event["log_level"].name, record["feed"], record["result"]))

    observer = cast("ILogObserver", observe)
    globalLogPublisher.addObserver(observer)
    yield words
    globalLogPublisher.removeObserver(observer)


def sends(body: bytes, *, status: bytes = b"200 OK", fields: bytes = b"") -> Fail:
    return lambda bench: bench.answer(body, status=status, fields=fields)


def refuses(bench: Bench) -> None:
    bench.net.refuse()
    bench.net.reactor.advance(0.1)


def hangs_up(bench: Bench) -> None:
    bench.net.accept().hang_up(error.ConnectionLost())


def drops_packets(bench: Bench) -> None:
    bench.net.reactor.pump([TIMEOUT / 4] * 4)


def never_answers(bench: Bench) -> None:
    bench.net.accept()
    bench.net.reactor.advance(TIMEOUT)
    bench.net.turn()


def stalls_in_the_body(bench: Bench) -> None:
    bench.net.accept().send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[")
    bench.net.reactor.advance(TIMEOUT)
    bench.net.turn()


def breaks_off(bench: Bench) -> None:
    line = bench.net.accept()
    line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[")
    line.hang_up()


ANY_FEED: dict[str, tuple[str, Fail]] = {
    "status 500": ("status", sends(b"[]", status=b"500 No")),
    "status 404": ("status", sends(b"", status=b"404 No")),
    "redirect": ("status", sends(b"", status=b"302 No", fields=b"location: http://b.test/\r\n")),
    "refused": ("connect", refuses),
    "closed": ("connect", hangs_up),
    "packets dropped": ("connect", drops_packets),
    "no answer": ("timeout", never_answers),
    "stall": ("timeout", stalls_in_the_body),
    "cut": ("broken", breaks_off),
    "cut gzip": (
        "broken",
        sends(gzip.compress(FEED)[:-9], fields=b"content-encoding: gzip\r\n"),
    ),
    "too large": ("too_large", sends(b"[" * (LIMIT + 1))),
    "bomb": (
        "too_large",
        sends(gzip.compress(bytes(10_000_000))[:1500], fields=b"content-encoding: gzip\r\n"),
    ),
    "brotli": ("encoding", sends(b"x", fields=b"content-encoding: br\r\n")),
    "html": ("bad_json", sends(b"<html>Bad gateway</html>")),
    "nothing": ("bad_json", sends(b"")),
    "cut json": ("bad_json", sends(FEED[:-1])),
    "number": ("wrong_shape", sends(b"7")),
    "null": ("wrong_shape", sends(b"null")),
}
OF_UTILIZATION: dict[str, tuple[str, Fail]] = ANY_FEED | {
    "object": ("wrong_shape", sends(b"{}")),
    "no row": ("no_usable_row", sends(b"[]")),
    "no usable row": ("no_usable_row", sends(b'[{"name":"a"},7]')),
}
OF_CATALOG: dict[str, tuple[str, Fail]] = ANY_FEED | {
    "object": ("wrong_shape", sends(b"{}")),
    "array": ("wrong_shape", sends(b"[]")),
    "empty": ("empty", sends(b'{"data":[]}')),
    "no usable row": ("no_usable_row", sends(b'{"data":[{"id":""}]}')),
}
ALL = [
    pytest.param(feed, reason, fail, id=f"{feed}: {name}")
    for feed, table in ((Feed.UTILIZATION, OF_UTILIZATION), (Feed.CATALOG, OF_CATALOG))
    for name, (reason, fail) in table.items()
]


@pytest.mark.parametrize(("feed", "reason", "fail"), ALL)
def test_ten_failures_keep_the_last_good_picture_and_the_next_tick_refreshes_it(
    feed: Feed, reason: str, fail: Fail
) -> None:
    good = CATALOG if feed is Feed.CATALOG else FEED
    bench = Bench(feed)
    bench.start()
    bench.answer(good)
    fetched = bench.state.picture
    for _ in range(10):
        bench.next_tick()
        fail(bench)
    assert bench.state.picture.catalog is fetched.catalog
    assert bench.state.picture.utilization is fetched.utilization
    assert bench.state.picture.catalog_fetched_at == fetched.catalog_fetched_at
    assert bench.state.picture.utilization_fetched_at == fetched.utilization_fetched_at
    assert bench.order() == fetched.order
    assert (bench.count(reason), bench.count("ok")) == (10, 1)
    bench.next_tick()
    bench.answer(good)
    assert bench.count("ok") == 2
    ages = bench.state.picture.catalog_fetched_at, bench.state.picture.utilization_fetched_at
    assert bench.net.reactor.seconds() in ages
    bench.finish()


def test_a_run_of_every_failure_before_the_first_success_does_not_end_the_loop() -> None:
    bench = Bench()
    bench.start()
    for _reason, fail in OF_UTILIZATION.values():
        fail(bench)
        bench.next_tick()
    assert bench.order() == ()
    assert bench.state.picture.utilization_fetched_at is None
    bench.answer(FEED)
    assert bench.state.picture.order == ("org/a-TEE",)
    bench.finish()


class MoodyState(RoutingState):
    broken = True

    def utilization_fetched(self, utilization: Utilization, *, at: float) -> None:
        if self.broken:
            raise ZeroDivisionError
        super().utilization_fetched(utilization, at=at)


def test_an_exception_while_publishing_is_counted_logged_and_survived(
    lost_errors: list[Failure],
) -> None:
    state = MoodyState()
    bench = Bench(state=state)
    bench.start()
    for _ in range(10):
        bench.answer(FEED)
        bench.next_tick()
    assert bench.count("error") == 10
    assert bench.state.picture.utilization is None
    assert [failure.type for failure in lost_errors] == [ZeroDivisionError] * 10
    lost_errors.clear()
    state.broken = False
    bench.answer(FEED)
    assert (bench.order(), bench.count("ok")) == (("org/a-TEE",), 1)
    bench.finish()


def test_a_fetch_that_hangs_in_the_resolver_is_given_up_and_the_loop_goes_on() -> None:
    bench = Bench()
    bench.net.reactor.installNameResolver(HangingResolver())
    bench.start()
    bench.net.reactor.advance(TIMEOUT)
    assert bench.count("connect") == 1
    bench.net.reactor.installNameResolver(Net().reactor.nameResolver)
    bench.next_tick()
    bench.answer(FEED)
    assert bench.count("ok") == 1
    bench.finish()


def test_a_fetch_longer_than_the_interval_is_not_joined_by_another() -> None:
    bench = Bench(interval=1.0)
    bench.start()
    line = bench.net.accept()
    bench.net.reactor.advance(1.5)
    assert bench.net.dialled == 1
    line.answer(FEED, fields=CLOSE)
    bench.net.reactor.advance(0.5)
    assert bench.net.dialled == 2
    bench.finish()


def test_the_first_fetch_begins_with_the_service_and_the_next_ones_with_the_interval() -> None:
    bench = Bench()
    assert bench.net.dialled == 0
    bench.start()
    assert bench.net.dialled == 1
    bench.net.reactor.advance(0.5)
    bench.answer(FEED)
    bench.net.reactor.advance(INTERVAL - 0.51)
    assert bench.net.dialled == 1
    bench.net.reactor.advance(0.01)
    assert bench.net.dialled == 2
    bench.finish()


def test_an_age_is_the_time_since_the_last_good_fetch() -> None:
    bench = Bench()
    bench.start()
    bench.net.reactor.advance(1)
    bench.answer(FEED)
    bench.next_tick()
    bench.answer(b"<html>")
    assert bench.state.picture.utilization_fetched_at == 1.0
    bench.next_tick()
    bench.answer(OTHER_FEED)
    assert bench.state.picture.utilization_fetched_at == 2 * INTERVAL
    bench.finish()


def test_rows_that_were_dropped_are_counted_and_the_others_are_published() -> None:
    bench = Bench()
    bench.start()
    bench.answer(b'[7,{"name":"org/x"},{"name":""},' + FEED[1:])
    assert bench.order() == ("org/a-TEE",)
    reasons = "bad_row", "bad_count", "bad_id"
    assert [bench.dropped(reason) for reason in reasons] == [1, 1, 1]
    bench.finish()


def test_an_empty_catalogue_is_noted_so_that_readiness_can_tell() -> None:
    bench = Bench(Feed.CATALOG)
    bench.start()
    bench.answer(b'{"data":[]}')
    assert bench.state.picture.catalog_answered_empty
    assert bench.state.picture.catalog_fetched_at is None
    assert bench.count("empty") == 1
    bench.finish()


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"data":[{"id":""}]}', b"null"], ids=str)
def test_an_answer_that_is_no_catalogue_is_not_an_empty_one(body: bytes) -> None:
    bench = Bench(Feed.CATALOG)
    bench.start()
    bench.answer(body)
    assert not bench.state.picture.catalog_answered_empty
    bench.finish()


def test_only_changes_of_the_result_are_said(said: list[tuple[str, str, str]]) -> None:
    bench = Bench()
    bench.start()
    bodies = [FEED, FEED, b"<", b"<", b"<", b"{}", b"{}", FEED, FEED, b"<"]
    for body in bodies:
        bench.answer(body)
        bench.next_tick()
    assert said == [
        ("warn", "utilization", "bad_json"),
        ("warn", "utilization", "wrong_shape"),
        ("info", "utilization", "ok"),
        ("warn", "utilization", "bad_json"),
    ]
    bench.finish()


def resolving(bench: Bench) -> None:
    bench.net.reactor.installNameResolver(HangingResolver())


def nothing(_bench: Bench) -> None:
    pass


def connected(bench: Bench) -> None:
    bench.net.accept()


def answering(bench: Bench) -> None:
    bench.net.accept().send(b"HTTP/1.1 200 OK\r\ncontent-")


def streaming(bench: Bench) -> None:
    bench.net.accept().send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[")


@pytest.mark.parametrize(
    ("before", "during"),
    [
        (resolving, nothing),
        (nothing, nothing),
        (nothing, connected),
        (nothing, answering),
        (nothing, streaming),
    ],
    ids=["resolving", "connecting", "waiting", "in the headers", "in the body"],
)
def test_stopping_cancels_a_fetch_in_any_phase_and_leaves_nothing(
    before: Fail, during: Fail, said: list[tuple[str, str, str]]
) -> None:
    bench = Bench()
    before(bench)
    bench.start()
    during(bench)
    stopping = bench.stop()
    assert stopping.called
    assert bench.net.reactor.getDelayedCalls() == []
    assert not any(line.is_open() for line in bench.net.lines)
    for connector in bench.net.reactor.connectors[len(bench.net.lines) :]:
        assert connector.stoppedConnecting
    refreshes = bench.registry.collect()
    assert [s for m in refreshes if m.name == "autopilot_refreshes" for s in m.samples] == []
    assert said == []
    assert bench.state.picture.utilization is None


def test_stopping_between_fetches_leaves_nothing() -> None:
    bench = Bench()
    bench.start()
    bench.answer(FEED)
    bench.finish()
    bench.net.reactor.advance(10 * INTERVAL)
    assert bench.net.dialled == 1


def test_stopping_what_never_started_is_done_at_once() -> None:
    assert Bench().refresher.stopService().called


def test_a_refresher_can_be_started_again() -> None:
    bench = Bench()
    bench.start()
    bench.finish()
    bench.start()
    bench.answer(FEED)
    assert bench.order() == ("org/a-TEE",)
    bench.finish()


def test_the_catalogue_ranks_the_feed_of_before_without_waiting_for_the_next() -> None:
    bench = Bench(Feed.CATALOG)
    feed = b'[{"name":"org/a","active_instance_count":1},{"name":"org/c-TEE","active_instance_count":1}]'
    Deferred.fromCoroutine(bench.publisher.publish(Feed.UTILIZATION, feed))
    before = bench.order()
    bench.start()
    bench.answer(CATALOG)
    assert (before, bench.order()) == (("org/c-TEE",), ("org/a",))
    bench.finish()


def test_a_connection_is_used_for_the_next_fetch_too() -> None:
    bench = Bench()
    bench.start()
    line = bench.net.accept()
    line.answer(FEED)
    bench.net.reactor.advance(INTERVAL)
    line.answer(OTHER_FEED)
    assert (bench.net.dialled, bench.count("ok")) == (1, 2)
    assert bench.order() == ("org/b-TEE",)
    bench.pool.closeCachedConnections()
    bench.finish()


def test_a_failed_fetch_is_repeated_soon_where_the_interval_is_long() -> None:
    bench = Bench(Feed.CATALOG, interval=300.0)
    bench.start()
    bench.net.refuse()
    bench.net.reactor.pump([0.1, RETRY_SECONDS - 0.1])
    assert bench.net.dialled == 2
    bench.answer(b'{"object":"list","data":[{"id":"org/a"}]}')
    assert bench.count("ok") == 1
    bench.net.reactor.pump([RETRY_SECONDS] * 59)
    assert bench.net.dialled == 2
    bench.net.reactor.advance(RETRY_SECONDS)
    assert bench.net.dialled == 3
    bench.finish()
