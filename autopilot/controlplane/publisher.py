"""From the body of a feed to the published picture, without holding the loop while it is parsed."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from autopilot.controlplane.state import RoutingState
from autopilot.interfaces import Seconds
from autopilot.labels import Feed
from autopilot.policy.catalog import (
    FeedError,
    FeedFault,
    RowFault,
    parse_catalog,
    parse_utilization,
)

T = TypeVar("T")

Told = Callable[[Feed, bytes, float], None]
"""Told of each body that changed the picture, and when it was fetched."""


class Parsing(Protocol):
    """Runs a parser over a body; fails as the parser does."""

    def __call__(self, parse: Callable[[bytes], T], body: bytes) -> Deferred[T]:
        """The result of `parse(body)`."""


def in_a_thread(reactor: Any) -> Parsing:
    """Parsing in the reactor's thread pool: half a megabyte takes longer than a chunk may wait."""

    def parsing(parse: Callable[[bytes], T], body: bytes) -> Deferred[T]:
        parsed: Deferred[T] = deferToThreadPool(reactor, reactor.getThreadPool(), parse, body)
        return parsed

    return parsing


def _nobody(_feed: Feed, _body: bytes, _fetched_at: float) -> None:
    pass


class Publisher:
    """Parses what was fetched and has `state` publish it.

    `monotonic` dates what comes without a date; `told` hears of each change after it is made.
    """

    def __init__(
        self,
        state: RoutingState,
        *,
        parsing: Parsing,
        monotonic: Seconds,
        told: Told = _nobody,
    ) -> None:
        self._state = state
        self._parsing = parsing
        self._monotonic = monotonic
        self._told = told

    async def publish(
        self, feed: Feed, body: bytes, *, fetched_at: float | None = None
    ) -> Mapping[RowFault, int]:
        """Publish a feed; returns the dropped rows by reason.

        Cancelling it leaves the picture as it is.

        Raises:
            FeedError: it cannot be used. That the platform lists no model at all is noted.
        """
        at = self._monotonic() if fetched_at is None else fetched_at
        try:
            dropped = await (
                self._catalog(body, at) if feed is Feed.CATALOG else self._utilization(body, at)
            )
        except FeedError as error:
            if feed is Feed.CATALOG and error.fault is FeedFault.EMPTY:
                self._state.catalog_answered_empty()
                self._told(feed, body, at)
            raise
        self._told(feed, body, at)
        return dropped

    async def _catalog(self, body: bytes, at: float) -> Mapping[RowFault, int]:
        parsed = await self._parsing(parse_catalog, body)
        self._state.catalog_fetched(parsed.catalog, at=at)
        return parsed.dropped

    async def _utilization(self, body: bytes, at: float) -> Mapping[RowFault, int]:
        parsed = await self._parsing(parse_utilization, body)
        self._state.utilization_fetched(parsed.utilization, at=at)
        return parsed.dropped
