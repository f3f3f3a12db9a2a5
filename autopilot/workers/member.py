"""A worker's side of what is shared: its own changes go to the parent, everybody's come from there."""

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from zope.interface import implementer

from autopilot.controlplane.publisher import Publisher
from autopilot.interfaces import IStickyStore, Seconds
from autopilot.labels import Feed
from autopilot.policy.catalog import FeedError
from autopilot.policy.rest import Rest, RestTable
from autopilot.policy.stickiness import StickyTable
from autopilot.workers.link import Link, rest_of, rest_values, room_for

_log = Logger(namespace="autopilot.workers")


@implementer(IStickyStore)
class SharedSticky:
    """A table of which all workers have a copy. `now` is a monotonic clock of the machine."""

    def __init__(
        self, table: StickyTable, now: Seconds, tell: Callable[[bytes, str | None, float], None]
    ) -> None:
        self._table = table
        self._now = now
        self._tell = tell

    def get(self, key: bytes) -> str | None:
        """See `IStickyStore`. Never to be waited for."""
        return self._table.get(key, now=self._now())

    def peek(self, key: bytes) -> str | None:
        """See `IStickyStore`."""
        return self._table.peek(key, now=self._now())

    def put(self, key: bytes, model: str) -> None:
        """See `IStickyStore`. Told only if it is news, so that not every answer is a message."""
        now = self._now()
        if self._table.is_fresh(key, model, now=now):
            return
        expires_at = self._table.put(key, model, now=now)
        if expires_at is not None:
            self._tell(key, model, expires_at)

    def forget(self, key: bytes, model: str) -> None:
        """See `IStickyStore`."""
        if self._table.forget(key, model):
            self._tell(key, None, 0.0)


class Member(Service):
    """What one worker has of the service. `welcomed` fires when all is here that it needs to begin.

    `orphaned` is called when the parent is gone: what is known stays, and nothing more will come.
    """

    def __init__(
        self, sticky: StickyTable, *, monotonic: Seconds, orphaned: Callable[[], None]
    ) -> None:
        self.secret = b""
        self.rests = RestTable(told=self._rest_changed)
        self.sticky = SharedSticky(sticky, monotonic, self._sticky_changed)
        self.welcomed: Deferred[None] = Deferred()
        self.link = Link(received=self._received, lost=self._lost, room=room_for(sticky))
        self._table = sticky
        self._orphaned = orphaned
        self._publisher: Publisher | None = None
        self._feeds: dict[Feed, tuple[bytes, float]] = {}
        self._busy: set[Feed] = set()
        self._publishing: dict[Feed, Deferred[None]] = {}

    def publish_with(self, publisher: Publisher) -> None:
        """From now on, and of what has come so far, feeds are published by `publisher`."""
        self._publisher = publisher
        for feed in tuple(self._feeds):
            self._publish(feed)

    def caught_up(self) -> Deferred[None]:
        """Fires when what has come so far is published, or cannot be."""
        return DeferredList(list(self._publishing.values())).addCallback(lambda _results: None)

    def stopService(self) -> None:
        """End the link, and what is being published."""
        super().stopService()
        self._orphaned = _nothing
        for publishing in tuple(self._publishing.values()):
            publishing.cancel()
        if self.link.connected:
            self.link.transport.loseConnection()

    def _received(self, _link: Link, message: list[Any], body: bytes) -> None:
        kind, *values = message
        if kind == "feed":
            feed, at = Feed(values[0]), values[1]
            self._feeds[feed] = (body, at)
            self._publish(feed)
        elif kind == "sticky":
            key, model, expires_at = values
            self._table.adopt(bytes.fromhex(key), model, expires_at=expires_at)
        elif kind == "rest":
            model, rest = values
            self.rests.adopt(model, rest_of(rest))
        elif kind == "welcome":
            self.secret = bytes.fromhex(values[0])
            self.welcomed.callback(None)
        else:
            raise ValueError(f"the parent does not say {kind!r}")

    def _publish(self, feed: Feed) -> None:
        if self._publisher is not None and feed not in self._busy:
            self._busy.add(feed)
            publishing = self._publish_newest(self._publisher, feed)
            self._publishing[feed] = Deferred.fromCoroutine(publishing)

    async def _publish_newest(self, publisher: Publisher, feed: Feed) -> None:
        """Publish what has come of `feed`, and what comes meanwhile; of several the newest."""
        try:
            while feed in self._feeds:
                body, at = self._feeds.pop(feed)
                await self._publish_one(publisher, feed, body, at)
        except CancelledError:
            return
        finally:
            self._busy.discard(feed)

    async def _publish_one(self, publisher: Publisher, feed: Feed, body: bytes, at: float) -> None:
        try:
            await publisher.publish(feed, body, fetched_at=at)
        except CancelledError:
            raise
        except FeedError:
            # A list of no model, which has been noted. The parent passes on nothing else that fails.
            return
        except Exception:  # noqa: BLE001 - the last good picture stays, whatever it is
            _log.failure("what the parent fetched could not be published")

    def _sticky_changed(self, key: bytes, model: str | None, expires_at: float) -> None:
        self.link.say("sticky", key.hex(), model, expires_at)

    def _rest_changed(self, model: str, rest: Rest | None) -> None:
        self.link.say("rest", model, rest_values(rest))

    def _lost(self, _link: Link) -> None:
        self._orphaned()


def _nothing() -> None:
    pass
