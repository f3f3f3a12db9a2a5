"""The one place where objects meet: `Settings` become a tree of services."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from autopilot.connection_pool import ClientPool
from autopilot.controlplane.feeds import feeds
from autopilot.controlplane.publisher import Parsing, Publisher, in_a_thread
from autopilot.controlplane.state import RoutingState
from autopilot.dataplane.redis_sticky import RedisSticky
from autopilot.dataplane.upstream import Upstream
from autopilot.entrances import Entrance, make_entrances
from autopilot.exposition import Shared
from autopilot.http_client import make_client
from autopilot.interfaces import ISelector, Seconds
from autopilot.logs import say
from autopilot.metrics import Metrics
from autopilot.observing import observe
from autopilot.routing import make_routing, rules_of
from autopilot.settings import Settings
from autopilot.trust_store import TrustStoreCheck
from autopilot.web.limits import connections_for, descriptor_limit
from autopilot.workers.share import Share

_log = Logger(namespace="autopilot.service")


class UpstreamService(Service):
    """Ends at stop what an `Upstream` is still doing."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def stopService(self) -> None:
        """Cut what is being drained."""
        super().stopService()
        self._upstream.close()


class AutopilotService(MultiService):
    """The router. Gives twistd its log observer when it is put into an application.

    `entrances` are what it drains before anything else is stopped; `forced` is called when that begins,
    to have a second signal end the process at once.
    """

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        *,
        entrances: Sequence[Entrance],
        forced: Callable[[], None],
    ) -> None:
        super().__init__()
        self._settings = settings
        self._reactor = reactor
        self._entrances = entrances
        self._forced = forced

    def stopService(self) -> Deferred[None]:
        """Drain, then stop all else. Fires when nothing is left."""
        self._forced()
        open_now = sum(len(entrance.connections) for entrance in self._entrances)
        say(_log, "draining", connections=open_now)
        lag, grace = self._settings.drain_readiness_lag, self._settings.drain_grace
        drains = [
            entrance.drain(self._reactor, lag=lag, grace=grace) for entrance in self._entrances
        ]
        for draining in drains:
            # Whatever goes wrong in one, the rest must be stopped.
            draining.addErrback(lambda failure: _log.failure("drain failed", failure))
        return DeferredList(drains).addCallback(lambda _results: MultiService.stopService(self))

    def startService(self) -> None:
        """Start, also again after a stop."""
        for entrance in self._entrances:
            entrance.connections.draining = False
        descriptors = descriptor_limit()
        enough_for = connections_for(descriptors) * self._settings.workers
        if self._settings.max_connections > enough_for:
            say(
                _log,
                "descriptors_short",
                level="warn",
                max_connections=self._settings.max_connections,
                open_files=descriptors,
                enough_for=enough_for,
            )
        super().startService()

    def setServiceParent(self, parent: Any) -> None:
        """See `IService`."""
        observe(parent, self._settings)
        super().setServiceParent(parent)


def make_service(
    settings: Settings,
    selectors: Mapping[str, ISelector],
    reactor: Any,
    *,
    monotonic: Seconds = time.monotonic,
    wall: Seconds = time.time,
    forced: Callable[[], None] = lambda: None,
    parsing: Parsing | None = None,
    share: Share | None = None,
) -> AutopilotService:
    """The whole router as a service that has done nothing yet, or one worker's `share` of it.

    `selectors` has at least the one that the settings name. `reactor` needs TCP and time, and threads
    unless `parsing` is given; `monotonic` dates fetches, `wall` is compared with the feed's own
    timestamps.
    """
    metrics = Metrics(CollectorRegistry(), Shared.from_environment(os.environ))
    state = RoutingState()
    publisher = Publisher(state, parsing=parsing or in_a_thread(reactor), monotonic=monotonic)
    metrics.watch(state, monotonic=monotonic, wall=wall, rules=rules_of(settings))
    metrics.watch_process(None if share is None else share.processes)
    upstream_pool = ClientPool(
        reactor,
        max_idle=max(settings.upstream_max_idle_connections // settings.workers, 1),
        connect_timeout=settings.upstream_connect_timeout,
    )
    upstream = Upstream(
        make_client(
            reactor,
            upstream_pool.pool,
            accept_encoding=b"identity",
            retried=metrics.stale_retries.inc,
        ),
        settings.backend_base_url,
        clock=reactor,
        only_fresh=upstream_pool.pool.only_fresh,
    )
    routing = make_routing(
        settings,
        selectors,
        state,
        upstream,
        metrics,
        share=share,
        reactor=reactor,
        monotonic=monotonic,
        wall=wall,
    )
    entrances = make_entrances(
        settings,
        routing,
        state,
        metrics,
        share=share,
        reactor=reactor,
        monotonic=monotonic,
        wall=wall,
    )
    service = AutopilotService(settings, reactor, entrances=entrances, forced=forced)
    # Stopped in the reverse order: the listeners first, the pools last.
    children = [
        upstream_pool,
        UpstreamService(upstream),
        *([routing.sticky] if isinstance(routing.sticky, RedisSticky) else []),
        *knowledge(settings, publisher, share, reactor=reactor, metrics=metrics),
        *(entrance.listener for entrance in entrances),
    ]
    for child in children:
        child.setServiceParent(service)
    return service


def knowledge(
    settings: Settings,
    publisher: Publisher,
    share: Share | None,
    *,
    reactor: Any,
    metrics: Metrics,
) -> list[Service]:
    """What keeps the picture fresh: the feeds, or what the parent tells of them."""
    if share is not None:
        share.member.publish_with(publisher)
        return [share.member]
    urls = (settings.backend_base_url, settings.models_url, settings.utilization_url)
    return [TrustStoreCheck(urls), *feeds(settings, publisher, reactor=reactor, metrics=metrics)]
