"""Both feeds kept fresh: what fetches them, as services."""

from typing import Any

from twisted.application.service import Service

from autopilot.connection_pool import ClientPool
from autopilot.controlplane.publisher import Publisher
from autopilot.controlplane.refresher import Refresher, Source
from autopilot.http_client import make_client
from autopilot.labels import Feed
from autopilot.metrics import Metrics
from autopilot.settings import Settings

MAX_IDLE_FEEDS = 2
"""One connection for each of the two feeds."""


def feeds(
    settings: Settings, publisher: Publisher, *, reactor: Any, metrics: Metrics
) -> list[Service]:
    """The pool of their connections, and a loop for each. To be stopped in the reverse order."""
    pool = ClientPool(
        reactor, max_idle=MAX_IDLE_FEEDS, connect_timeout=settings.control_plane_timeout
    )
    client = make_client(
        reactor,
        pool.pool,
        accept_encoding=b"gzip",
        retried=metrics.stale_retries.inc,
    )
    refreshers = [
        Refresher(
            Source(
                feed=feed,
                url=url,
                interval=interval,
                timeout=settings.control_plane_timeout,
                max_bytes=settings.control_plane_max_bytes,
            ),
            publisher,
            client=client,
            clock=reactor,
            metrics=metrics,
        )
        for feed, url, interval in (
            (Feed.CATALOG, settings.models_url, settings.models_refresh),
            (Feed.UTILIZATION, settings.utilization_url, settings.utilization_refresh),
        )
    ]
    return [pool, *refreshers]
