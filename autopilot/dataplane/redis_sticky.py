"""Clients' places kept in Redis, where all workers and replicas find them; no request depends on it.

A lookup is one command with a deadline, after which the request goes on without it. Failures in a row
open a breaker (`autopilot.policy.breaker`): then nothing is asked, nothing waits, and a connection is
tried again now and then while requests come. No timer runs but those of lookups under way.

Redis holds `autopilot:sticky:` and the keyed hash of a client, and of each the name of a model. Its
server keeps the time, so that no two clocks have to agree.
"""

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from txredisapi import ResponseError  # type: ignore[import-untyped]  # has no annotations
from zope.interface import implementer

from autopilot.dataplane.redis_link import NotConnectedError, RedisLink
from autopilot.interfaces import IStickyStore, Seconds
from autopilot.labels import StickyLookup, StickyWrite
from autopilot.logs import say
from autopilot.metrics import Metrics
from autopilot.policy.breaker import Breaker

_log = Logger(namespace="autopilot.sticky")

LOOKUP_SECONDS = 0.05
"""Deadline of a lookup: what a place is worth is less than what this costs."""

MAX_PENDING = 256
"""Commands without an answer. A server that hangs must not gather what it is sent until it is noticed."""

MAX_MODEL_BYTES = 256
"""Longest name that is kept: those of the catalogue are far shorter, a list's may be anything."""

PREFIX = "autopilot:sticky:"

_FORGET = (
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
)
"""In one step, as another replica may have moved the client meanwhile."""


@implementer(IStickyStore)
class RedisSticky(Service):
    """The store behind `link`, for `ttl` whole seconds. `clock` runs the deadlines, `now` the breaker."""

    def __init__(
        self,
        link: RedisLink,
        *,
        ttl: float,
        clock: IReactorTime,
        now: Seconds,
        metrics: Metrics,
    ) -> None:
        self._link = link
        self._ttl = int(ttl)
        self._clock = clock
        self._now = now
        self._metrics = metrics
        self._breaker = Breaker()
        self._unavailable = False

    def startService(self) -> None:
        """Connect, so that the first request need not wait for it."""
        super().startService()
        self._breaker = Breaker()
        self._connect()

    def stopService(self) -> Deferred[object]:
        """Fires when the connection is gone."""
        super().stopService()
        return self._link.close()

    def get(self, key: bytes) -> Deferred[str | None] | None:
        """See `IStickyStore`. A Deferred only if Redis is asked."""
        if not self._may_ask():
            self._metrics.sticky_lookup(StickyLookup.SKIPPED)
            return None
        # Not GET: however long a value somebody else has put there, no more of it is sent.
        asked = self._ask("GETRANGE", _name(key), 0, MAX_MODEL_BYTES)
        looking = asked.addCallback(self._found)
        looking.addTimeout(LOOKUP_SECONDS, self._clock, onTimeoutCancel=self._late)
        return looking.addErrback(self._not_found)

    def peek(self, key: bytes) -> Deferred[str | None] | None:
        """See `IStickyStore`. Nothing where Redis would not be asked for a request either."""
        if not (self.running and self._breaker.closed and self._link.connected):
            return None
        if self._link.pending >= MAX_PENDING:
            return None
        looking = self._link.command("GETRANGE", _name(key), 0, MAX_MODEL_BYTES)
        looking.addCallback(lambda answer: _model(answer) or None)
        looking.addTimeout(LOOKUP_SECONDS, self._clock, onTimeoutCancel=_nothing_in_time)
        return looking.addErrback(_not_known)

    def put(self, key: bytes, model: str) -> None:
        """See `IStickyStore`."""
        value = _value(model)
        if value is not None:
            self._write("SET", _name(key), value, "EX", self._ttl)

    def forget(self, key: bytes, model: str) -> None:
        """See `IStickyStore`."""
        value = _value(model)
        if value is not None:
            self._write("EVAL", _FORGET, 1, _name(key), value)

    def _may_ask(self) -> bool:
        if not self.running:
            return False
        if self._breaker.closed:
            return self._link.pending < MAX_PENDING
        if self._breaker.probe(now=self._now()) and self._link.idle:
            self._connect()
        return False

    def _ask(self, *words: str | bytes | int) -> Deferred[object]:
        if self._link.idle:
            self._connect()
        return self._link.command(*words)

    def _write(self, *words: str | bytes | int) -> None:
        if self._may_ask():
            self._ask(*words).addCallbacks(self._written, self._not_written)
        else:
            self._metrics.sticky_write(StickyWrite.SKIPPED)

    def _written(self, _answer: object) -> None:
        self._metrics.sticky_write(StickyWrite.OK)

    def _not_written(self, _failure: Failure) -> None:
        # No request waited, so that it is no reason to ask no more.
        self._metrics.sticky_write(StickyWrite.ERROR)

    def _found(self, answer: object) -> str | None:
        self._breaker.succeeded()
        if answer == b"":
            self._metrics.sticky_lookup(StickyLookup.MISS)
            return None
        model = _model(answer)
        self._metrics.sticky_lookup(StickyLookup.ERROR if model is None else StickyLookup.HIT)
        return model

    def _late(self, _result: object, _seconds: float) -> None:
        self._metrics.sticky_lookup(StickyLookup.TIMEOUT)
        self._failed("timeout")

    def _not_found(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            failure.raiseException()
        self._metrics.sticky_lookup(StickyLookup.ERROR)
        error = failure.value
        if isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE"):
            # One value that is not ours; the server is well.
            self._breaker.succeeded()
        elif not isinstance(error, NotConnectedError):
            # That has been counted once, as the attempt to connect.
            self._failed(type(error).__name__)

    def _failed(self, reason: str) -> None:
        self._breaker.failed(now=self._now())
        self._note(reason)

    def _connect(self) -> None:
        self._link.connect().addCallbacks(self._connected, self._not_connected)

    def _connected(self, _none: None) -> None:
        self._breaker.probed(well=True, now=self._now())
        self._note(None)

    def _not_connected(self, failure: Failure) -> None:
        if self.running:
            self._breaker.probed(well=False, now=self._now())
            self._note(type(failure.value).__name__)

    def _note(self, reason: str | None) -> None:
        """Tell of a change, in words that hold no address: `reason` is the name of a class."""
        if self._unavailable is not self._breaker.closed:
            return
        self._unavailable = not self._breaker.closed
        self._metrics.sticky_unavailable.set(self._unavailable)
        if self._unavailable:
            say(_log, "sticky_store_unavailable", level="warn", reason=reason)
            if self._link.connected:
                # It hangs, or is of no use: the next attempt is over a new one.
                self._link.drop()
        else:
            say(_log, "sticky_store_available")


def _nothing_in_time(_result: object, _seconds: float) -> None:
    """What is not there by now is not known."""


def _not_known(failure: Failure) -> None:
    if failure.check(CancelledError):
        failure.raiseException()


def _name(key: bytes) -> str:
    return PREFIX + key.hex()


def _value(model: str) -> bytes | None:
    """The bytes that stand for `model`, None if it is not one to be kept."""
    try:
        value = model.encode()
    except UnicodeEncodeError:
        return None
    return value if 0 < len(value) <= MAX_MODEL_BYTES else None


def _model(answer: object) -> str | None:
    """What `_value` gave these bytes for, if it did: anybody may have written them."""
    if not isinstance(answer, bytes) or len(answer) > MAX_MODEL_BYTES:
        return None
    try:
        return answer.decode()
    except UnicodeDecodeError:
        return None
