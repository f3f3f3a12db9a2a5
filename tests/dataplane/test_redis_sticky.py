"""The store in Redis over wires in memory: what is sent, what is believed, and when nothing is asked.

`Bench` is a started store with the real txredisapi protocol; the test is the server. `accept` takes the
connection that is being made, `heard` are the commands that came since, `say` answers them.
"""

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from autopilot.dataplane.redis_link import CONNECT_SECONDS, MAX_UNANSWERED_BYTES, RedisLink
from autopilot.dataplane.redis_sticky import (
    LOOKUP_SECONDS,
    MAX_MODEL_BYTES,
    MAX_PENDING,
    RedisSticky,
)
from autopilot.interfaces import IStickyStore
from autopilot.logs import observer
from autopilot.metrics import Metrics
from autopilot.policy.breaker import FIRST_PAUSE, THRESHOLD
from autopilot.setting_values import redis_url

KEY = bytes(range(32))
NAME = b"autopilot:sticky:" + KEY.hex().encode()
LOOKUP = [b"GETRANGE", NAME, b"0", b"%d" % MAX_MODEL_BYTES]
PLAIN = "redis://redis.test/"
PASSWORD = "marked-pass"
AS_A_USER = "redis://marked-user:marked-pass@redis.test:7000/3"
TTL = 600


class Wire(StringTransport):
    """The store's side of a connection to Redis; one that is aborted is gone a turn later."""

    def __init__(self, clock: Clock, protocol: Any) -> None:
        super().__init__()
        self.protocol = protocol
        self._clock = clock
        self.no_delay = False
        # Any, because mypy would take what has been asserted once for settled.
        self.gone: Any = False

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: FBT001
        self.no_delay = enabled

    def loseConnection(self) -> None:
        super().loseConnection()
        if not self.gone:
            self.gone = True
            self._clock.callLater(0, self.protocol.connectionLost, Failure(ConnectionDone()))


def commands(sent: bytes) -> list[list[bytes]]:
    """The commands in a client's bytes."""
    found = []
    while sent:
        head, _, sent = sent.partition(b"\r\n")
        words = []
        for _ in range(int(head.removeprefix(b"*"))):
            size, _, sent = sent.partition(b"\r\n")
            length = int(size.removeprefix(b"$"))
            words.append(sent[:length])
            sent = sent[length + 2 :]
        found.append(words)
    return found


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(value), value)


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Where the connections that are being made wait for the test."""

    def __init__(self) -> None:
        self.dialled: list[tuple[Any, Deferred[Any]]] = []
        self.cancelled = 0

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        connecting: Deferred[Any] = Deferred(self._cancel)
        self.dialled.append((protocolFactory, connecting))
        return connecting

    def _cancel(self, _connecting: Deferred[Any]) -> None:
        self.cancelled += 1


class Bench:
    """A store that has been started; `url` is where it thinks the server is."""

    def __init__(self, url: str = PLAIN) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.registry = CollectorRegistry()
        address = redis_url(url)
        assert address is not None
        link = RedisLink(cast("IStreamClientEndpoint", self.endpoint), address, clock=self.clock)
        self.store = RedisSticky(
            link,
            ttl=TTL,
            clock=self.clock,
            now=self.clock.seconds,
            metrics=Metrics(self.registry),
        )
        self.store.startService()
        self.wire: Wire | None = None

    @property
    def server(self) -> Wire:
        assert self.wire is not None
        return self.wire

    @property
    def dialled(self) -> int:
        return len(self.endpoint.dialled)

    def accept(self) -> "Bench":
        """The newest connection is made."""
        factory, connecting = self.endpoint.dialled[-1]
        protocol = factory.buildProtocol(None)
        self.wire = Wire(self.clock, protocol)
        protocol.makeConnection(self.wire)
        connecting.callback(protocol)
        return self

    def refuse(self) -> None:
        """The newest connection is not made."""
        self.endpoint.dialled[-1][1].errback(ConnectError())

    def ready(self) -> "Bench":
        """The newest connection is made, and the first command answered."""
        self.accept()
        assert self.heard() == [[b"PING"]]
        self.say(b"+PONG\r\n")
        return self

    def heard(self) -> list[list[bytes]]:
        """What was sent since this was last asked."""
        sent = self.server.value()
        self.server.clear()
        return commands(sent)

    def say(self, answer: bytes) -> None:
        self.server.protocol.dataReceived(answer)
        self.clock.advance(0)

    def hang_up(self) -> None:
        self.server.gone = True
        self.server.protocol.connectionLost(Failure(ConnectionDone()))

    def look(self) -> "list[str | None]":
        """Begin a lookup; its result will be in the list."""
        results: list[str | None] = []
        found = self.store.get(KEY)
        if isinstance(found, Deferred):
            found.addCallback(results.append)
        else:
            results.append(found)
        return results

    def time_out(self, times: int = THRESHOLD) -> None:
        """So many lookups get no answer."""
        for _ in range(times):
            looking = self.look()
            self.clock.advance(LOOKUP_SECONDS)
            assert looking == [None]

    def stop(self) -> None:
        stopped: list[object] = []
        self.store.stopService().addCallback(stopped.append)
        self.clock.advance(0)
        assert len(stopped) == 1
        assert self.clock.getDelayedCalls() == []
        assert self.wire is None or self.wire.gone

    def lookups(self, result: str) -> float | None:
        return self.registry.get_sample_value(
            "autopilot_sticky_store_lookups_total", {"result": result}
        )

    def writes(self, result: str) -> float | None:
        return self.registry.get_sample_value(
            "autopilot_sticky_store_writes_total", {"result": result}
        )

    @property
    def unavailable(self) -> float | None:
        return self.registry.get_sample_value("autopilot_sticky_store_unavailable")


@pytest.fixture
def log() -> Iterator[StringIO]:
    stream = StringIO()
    lines = observer(stream=stream, level="debug", style="json")
    globalLogPublisher.addObserver(lines)
    yield stream
    globalLogPublisher.removeObserver(lines)


def events(log: StringIO) -> list[tuple[str, str | None]]:
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [(line["event"], line.get("reason")) for line in lines]


def test_it_is_a_store() -> None:
    bench = Bench()
    assert verifyObject(IStickyStore, bench.store)
    bench.stop()


@pytest.mark.parametrize(
    ("value", "found", "result"), [(b"org/a", "org/a", "hit"), (b"", None, "miss")]
)
def test_a_lookup_is_one_command_by_the_hash_and_bounded(
    value: bytes, found: str | None, result: str
) -> None:
    bench = Bench().ready()
    looking = bench.look()
    assert bench.heard() == [LOOKUP]
    assert looking == []
    bench.say(bulk(value))
    assert looking == [found]
    assert bench.lookups(result) == 1
    assert bench.clock.getDelayedCalls() == []
    bench.stop()


def test_a_place_is_written_with_its_time_and_forgotten_in_one_command() -> None:
    bench = Bench().ready()
    bench.store.put(KEY, "org/a")
    assert bench.heard() == [[b"SET", NAME, b"org/a", b"EX", b"%d" % TTL]]
    bench.store.forget(KEY, "org/a")
    ((verb, _script, *rest),) = bench.heard()
    assert (verb, rest) == (b"EVAL", [b"1", NAME, b"org/a"])
    bench.say(b"+OK\r\n")
    bench.say(b"-READONLY You can't write against a read only replica.\r\n")
    assert (bench.writes("ok"), bench.writes("error")) == (1, 1)
    assert bench.unavailable == 0
    bench.stop()


@pytest.mark.parametrize("model", ["", "x" * (MAX_MODEL_BYTES + 1), "\ud800"])
def test_a_name_that_could_not_be_read_back_is_not_kept(model: str) -> None:
    bench = Bench().ready()
    bench.store.put(KEY, model)
    bench.store.forget(KEY, model)
    assert bench.heard() == []
    bench.store.put(KEY, "x" * MAX_MODEL_BYTES)
    looking = bench.look()
    bench.say(b"+OK\r\n")
    bench.say(bulk(b"x" * MAX_MODEL_BYTES))
    assert looking == ["x" * MAX_MODEL_BYTES]
    bench.stop()


def test_it_connects_at_the_start_with_user_password_and_database() -> None:
    bench = Bench(AS_A_USER).accept()
    assert bench.server.no_delay
    looking = bench.look()
    assert bench.heard() == [[b"AUTH", b"marked-user", PASSWORD.encode()]]
    bench.say(b"+OK\r\n")
    assert bench.heard() == [[b"SELECT", b"3"]]
    bench.say(b"+OK\r\n")
    assert bench.heard() == [[b"PING"]]
    bench.say(b"+PONG\r\n")
    assert bench.heard() == [LOOKUP]
    bench.say(bulk(b"org/a"))
    assert looking == ["org/a"]
    bench.stop()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"-WRONGPASS invalid username-password pair\r\n", "RefusedError"),
        (None, "ConnectionLost"),
    ],
)
def test_a_server_that_refuses_is_no_store_and_its_words_and_ours_stay_secret(
    reply: bytes | None, reason: str, log: StringIO
) -> None:
    bench = Bench(AS_A_USER)
    for attempt in range(THRESHOLD):
        if attempt:
            assert bench.look() == []
        bench.accept()
        if reply is None:
            bench.hang_up()
        else:
            bench.say(reply)
        assert bench.server.gone
        bench.clock.advance(0)
    assert bench.unavailable == 1
    assert bench.look() == [None]
    assert events(log) == [("sticky_store_unavailable", reason)]
    assert "marked" not in log.getvalue()
    assert "redis.test" not in log.getvalue()
    bench.stop()


def test_a_lookup_that_takes_too_long_is_let_go_and_its_answer_is_nobody_elses() -> None:
    bench = Bench().ready()
    late = bench.look()
    bench.clock.advance(LOOKUP_SECONDS - 0.001)
    assert late == []
    bench.clock.advance(0.001)
    assert late == [None]
    next_one = bench.look()
    bench.say(bulk(b"org/late"))
    assert next_one == []
    bench.say(bulk(b"org/own"))
    assert (late, next_one) == ([None], ["org/own"])
    assert (bench.lookups("timeout"), bench.lookups("hit")) == (1, 1)
    bench.stop()


def test_a_client_that_leaves_cancels_its_lookup_and_no_other() -> None:
    bench = Bench().ready()
    leaving = bench.store.get(KEY)
    assert isinstance(leaving, Deferred)
    failures: list[Failure] = []
    leaving.addErrback(failures.append)
    staying = bench.look()
    leaving.cancel()
    assert failures[0].check(CancelledError)
    bench.say(bulk(b"org/left"))
    bench.say(bulk(b"org/a"))
    assert staying == ["org/a"]
    assert bench.clock.getDelayedCalls() == []
    assert sum(bench.lookups(each) or 0 for each in ("hit", "error", "timeout")) == 1
    bench.stop()


def test_clients_that_leave_while_it_connects_leave_nothing() -> None:
    bench = Bench()
    for _ in range(MAX_PENDING + 1):
        leaving = bench.store.get(KEY)
        assert isinstance(leaving, Deferred)
        leaving.addErrback(lambda failure: failure.trap(CancelledError) and None)
        leaving.cancel()
    bench.ready()
    assert bench.heard() == []
    bench.stop()


def test_a_server_that_hangs_is_soon_left_alone_and_asked_again_by_no_request(
    log: StringIO,
) -> None:
    bench = Bench().ready()
    bench.time_out()
    assert bench.unavailable == 1
    assert bench.server.gone
    opened = bench.clock.seconds()
    bench.clock.advance(0)
    for _ in range(1000):
        assert bench.look() == [None]
        bench.store.put(KEY, "org/a")
    assert (bench.dialled, bench.lookups("skipped"), bench.writes("skipped")) == (1, 1000, 1000)
    assert bench.clock.getDelayedCalls() == []
    bench.clock.advance(opened + FIRST_PAUSE - bench.clock.seconds())
    assert bench.look() == [None]
    assert bench.look() == [None]
    assert bench.dialled == 2
    bench.ready()
    assert bench.unavailable == 0
    looking = bench.look()
    bench.say(bulk(b"org/a"))
    assert looking == ["org/a"]
    assert events(log) == [
        ("sticky_store_unavailable", "timeout"),
        ("sticky_store_available", None),
    ]
    bench.stop()


def test_one_that_accepts_and_hangs_stays_left_alone() -> None:
    bench = Bench().ready()
    bench.time_out()
    bench.clock.advance(FIRST_PAUSE)
    assert bench.look() == [None]
    bench.accept()
    assert bench.heard() == [[b"PING"]]
    bench.clock.advance(CONNECT_SECONDS - 0.001)
    assert bench.look() == [None]
    assert not bench.server.gone
    bench.clock.advance(0.001)
    assert bench.server.gone
    bench.clock.advance(2 * FIRST_PAUSE - 0.001)
    assert bench.look() == [None]
    assert bench.dialled == 2
    bench.clock.advance(0.001)
    assert bench.look() == [None]
    assert bench.dialled == 3
    bench.stop()


def test_what_waits_for_answers_is_bounded() -> None:
    bench = Bench().ready()
    looking = [bench.look() for _ in range(MAX_PENDING + 5)]
    assert len(bench.heard()) == MAX_PENDING
    assert [each for each in looking if each] == [[None]] * 5
    bench.store.put(KEY, "org/a")
    assert (bench.lookups("skipped"), bench.writes("skipped")) == (5, 1)
    for _ in range(MAX_PENDING):
        bench.say(bulk(b"org/a"))
    assert looking[0] == ["org/a"]
    assert bench.look() == []
    bench.stop()


@pytest.mark.parametrize(
    "answer",
    [
        bulk(b"x" * (MAX_MODEL_BYTES + 1)),
        bulk(b"\xff\xfe"),
        b":5\r\n",
        b"*2\r\n$1\r\na\r\n$1\r\nb\r\n",
        b"$-1\r\n",
        b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
    ],
)
def test_a_value_that_is_not_ours_is_no_model_and_no_trouble(answer: bytes) -> None:
    bench = Bench().ready()
    for _ in range(2 * THRESHOLD):
        looking = bench.look()
        bench.say(answer)
        assert looking == [None]
    assert bench.lookups("error") == 2 * THRESHOLD
    assert bench.unavailable == 0
    bench.stop()


def test_a_server_that_refuses_lookups_is_left_alone(log: StringIO) -> None:
    bench = Bench().ready()
    for _ in range(THRESHOLD):
        looking = bench.look()
        bench.say(b"-LOADING Redis is loading the dataset in memory\r\n")
        assert looking == [None]
    assert (bench.unavailable, bench.lookups("error")) == (1, THRESHOLD)
    assert events(log) == [("sticky_store_unavailable", "ResponseError")]
    bench.stop()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 \xff\xff\r\n",
        b"*1000000000\r\n" + bulk(b"x") * (MAX_UNANSWERED_BYTES // 7 + 1),
        b"$1000000000\r\n" + b"x" * MAX_UNANSWERED_BYTES,
        bulk(b"org/a") + b"+OK\r\n",
    ],
)
def test_what_is_no_answer_ends_the_connection(answer: bytes, log: StringIO) -> None:
    bench = Bench().ready()
    bench.look()
    bench.say(answer[: len(answer) - 5])
    bench.say(answer[len(answer) - 5 :])
    bench.clock.advance(0)
    assert bench.server.gone
    assert log.getvalue() == ""
    bench.stop()


def test_a_lost_connection_is_made_anew_by_the_next_lookup_which_waits_for_it() -> None:
    bench = Bench().ready()
    looking = bench.look()
    bench.hang_up()
    assert looking == [None]
    assert (bench.dialled, bench.lookups("error")) == (1, 1)
    again = bench.look()
    assert bench.dialled == 2
    bench.ready()
    assert bench.heard() == [LOOKUP]
    bench.say(bulk(b"org/a"))
    assert again == ["org/a"]
    bench.stop()


def test_a_connection_that_takes_long_costs_lookups_no_more_than_their_deadline() -> None:
    bench = Bench()
    bench.time_out(THRESHOLD)
    # Nor is another one made beside it when the breaker would have one tried.
    bench.clock.advance(FIRST_PAUSE)
    assert bench.look() == [None]
    assert (bench.dialled, bench.endpoint.cancelled) == (1, 0)
    bench.ready()
    assert bench.unavailable == 0
    assert bench.heard() == []
    bench.stop()


def test_refused_connections_count_once_each_and_open_the_breaker(log: StringIO) -> None:
    bench = Bench()
    waiting = [bench.look() for _ in range(2 * THRESHOLD)]
    bench.refuse()
    assert waiting == [[None]] * (2 * THRESHOLD)
    assert bench.unavailable == 0
    for _ in range(THRESHOLD - 1):
        bench.look()
        bench.refuse()
    assert (bench.unavailable, bench.dialled) == (1, THRESHOLD)
    assert events(log) == [("sticky_store_unavailable", "ConnectError")]
    bench.stop()


@pytest.mark.parametrize("state", ["dialling", "greeting", "ready", "asked", "broken"])
def test_stopped_it_leaves_nothing_and_is_asked_no_more(state: str) -> None:
    bench = Bench()
    looking: list[str | None] = []
    if state == "greeting":
        bench.accept()
    elif state in {"ready", "asked", "broken"}:
        bench.ready()
    if state == "asked":
        looking = bench.look()
    if state == "broken":
        bench.time_out()
    bench.stop()
    assert looking == ([None] if state == "asked" else [])
    dialled = bench.dialled
    assert bench.look() == [None]
    bench.store.put(KEY, "org/a")
    bench.clock.advance(100)
    assert bench.look() == [None]
    assert bench.dialled == dialled


def test_it_has_stopped_when_the_connection_is_gone_and_not_before() -> None:
    bench = Bench().ready()
    stopped: list[object] = []
    bench.store.stopService().addCallback(stopped.append)
    assert stopped == []
    bench.clock.advance(0)
    assert len(stopped) == 1


def test_an_attempt_that_ends_with_the_service_is_no_failure(log: StringIO) -> None:
    bench = Bench()
    for _ in range(THRESHOLD - 1):
        bench.refuse()
        bench.look()
    bench.stop()
    assert bench.unavailable == 0
    assert events(log) == []


def test_it_can_be_started_again() -> None:
    bench = Bench().ready()
    bench.time_out()
    bench.stop()
    bench.store.startService()
    bench.ready()
    looking = bench.look()
    bench.say(bulk(b"org/a"))
    assert looking == ["org/a"]
    assert bench.unavailable == 0
    bench.stop()


def peeked(bench: Bench) -> "list[str | None]":
    """Begin to look without leaving a trace."""
    results: list[str | None] = []
    found = bench.store.peek(KEY)
    if isinstance(found, Deferred):
        found.addCallback(results.append)
    else:
        results.append(found)
    return results


@pytest.mark.parametrize(
    ("answer", "found"),
    [(bulk(b"org/a"), "org/a"), (bulk(b""), None), (b"-ERR no\r\n", None), (None, None)],
)
def test_who_only_wants_to_know_asks_the_same_and_is_not_counted(
    answer: bytes | None, found: str | None
) -> None:
    bench = Bench().ready()
    looking = peeked(bench)
    assert bench.heard() == [LOOKUP]
    if answer is None:
        bench.clock.advance(LOOKUP_SECONDS)
    else:
        bench.say(answer)
    assert looking == [found]
    for result in ("hit", "miss", "timeout", "error", "skipped"):
        assert not bench.lookups(result)
    assert bench.clock.getDelayedCalls() == []
    bench.stop()


def test_who_only_wants_to_know_neither_connects_nor_opens_the_breaker() -> None:
    bench = Bench()
    bench.refuse()
    assert (peeked(bench), bench.dialled) == ([None], 1)
    bench.look()
    bench.ready()
    for _turn in range(THRESHOLD + 1):
        peeked(bench)
        bench.clock.advance(LOOKUP_SECONDS)
    assert bench.unavailable == 0
    bench.stop()
