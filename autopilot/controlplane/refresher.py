"""Keeps one feed fresh: a loop that fetches, parses and publishes, and that nothing can end.

Whatever goes wrong, the last good picture stays, the reason is counted, and the next tick comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from treq.client import HTTPClient
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from autopilot.controlplane.fetch import FetchError, fetch
from autopilot.controlplane.publisher import Publisher
from autopilot.labels import Feed
from autopilot.logs import say
from autopilot.metrics import Metrics
from autopilot.policy.catalog import FeedError, RowFault

_log = Logger(namespace="autopilot.controlplane")

RETRY_SECONDS = 5.0
"""How soon a failed fetch is repeated, where its interval is longer: a router that started before its
upstream must not wait five minutes for a catalogue."""

_OK = "ok"
_ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A feed: where it is, how often it is fetched, how long and how large a fetch may get."""

    feed: Feed
    url: str
    interval: float
    timeout: float
    max_bytes: int


class Refresher(Service):
    """Runs the loop of one `Source` from `startService` to `stopService`."""

    def __init__(
        self,
        source: Source,
        publisher: Publisher,
        *,
        client: HTTPClient,
        clock: IReactorTime,
        metrics: Metrics,
    ) -> None:
        self._source = source
        self._publisher = publisher
        self._client = client
        self._clock = clock
        self._metrics = metrics
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock
        self._ended: Deferred[None] = succeed(None)
        self._refreshing: Deferred[None] | None = None
        self._due = 0.0
        self._last_result = _OK

    def startService(self) -> None:
        """Start the loop; the first fetch begins at once."""
        super().startService()
        self._due = 0.0
        tick = min(self._source.interval, RETRY_SECONDS)
        self._ended = self._loop.start(tick).addCallback(lambda _loop: None)

    def stopService(self) -> Deferred[None]:
        """Stop the loop and any fetch under way. Fires when both are gone."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        if self._refreshing is not None:
            self._refreshing.cancel()
        return self._ended

    def _tick(self) -> Deferred[None]:
        if self._clock.seconds() < self._due:
            return succeed(None)
        self._refreshing = Deferred.fromCoroutine(self._refresh())
        return self._refreshing

    async def _refresh(self) -> None:
        started = self._clock.seconds()
        dropped: Mapping[RowFault, int] = {}
        try:
            body = await fetch(
                self._client,
                self._source.url,
                clock=self._clock,
                within=self._source.timeout,
                max_bytes=self._source.max_bytes,
            )
            dropped = await self._publisher.publish(self._source.feed, body)
            result = _OK
            # Half a tick early, since the loop may call a moment before the full interval.
            self._due = (
                started + self._source.interval - min(self._source.interval, RETRY_SECONDS) / 2
            )
        except CancelledError:
            return
        except (FetchError, FeedError) as error:
            result = error.fault.value
        except Exception:  # noqa: BLE001 - LoopingCall ends for ever on the first exception
            _log.failure("refresh failed")
            result = _ERROR
        if not self.running:
            return
        self._metrics.refreshed(self._source.feed, result, dropped)
        if result != self._last_result:
            # Once for each change: a feed that stays away must not fill the log.
            say(
                _log,
                "refresh",
                level="info" if result == _OK else "warn",
                feed=self._source.feed.value,
                result=result,
            )
        self._last_result = result
