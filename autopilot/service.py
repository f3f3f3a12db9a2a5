"""The one place where objects meet: `Settings` become a tree of services."""

import os
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from autopilot.connection_pool import ConnectionPool
from autopilot.controlplane.publisher import Parsing, Publisher, in_a_thread
from autopilot.controlplane.refresher import Refresher, Source
from autopilot.controlplane.state import RoutingState
from autopilot.dataplane.engine import Engine
from autopilot.dataplane.journal import refusal_recorder
from autopilot.dataplane.redis_link import RedisLink, redis_endpoint
from autopilot.dataplane.redis_sticky import RedisSticky
from autopilot.dataplane.router import Limits, Router
from autopilot.dataplane.sticky import MemorySticky
from autopilot.dataplane.upstream import Upstream
from autopilot.exposition import Shared
from autopilot.http_client import make_client
from autopilot.interfaces import ISelector, IStickyStore, Seconds
from autopilot.logs import observer, say
from autopilot.metrics import Feed, Metrics
from autopilot.policy.deadlines import Deadlines
from autopilot.policy.readiness import MaxAges
from autopilot.policy.rest import RestTable
from autopilot.policy.stickiness import StickyTable
from autopilot.settings import Settings
from autopilot.trust_store import TrustStoreCheck
from autopilot.web.app import Api
from autopilot.web.connections import Connections
from autopilot.web.cors import Cors
from autopilot.web.drain import drain
from autopilot.web.limits import ClientLimits, connections_for, descriptor_limit
from autopilot.web.listener import Listener
from autopilot.web.server import AutopilotSite

_log = Logger(namespace="autopilot.service")

MAX_IDLE_FEEDS = 2
"""One connection for each of the two feeds."""


class ClientPool(Service):
    """The pool of one treq client, empty again when stopped."""

    def __init__(self, reactor: Any, *, max_idle: int, connect_timeout: float) -> None:
        self.pool = ConnectionPool(reactor, max_idle=max_idle, connect_timeout=connect_timeout)

    def startService(self) -> None:
        """Keep what becomes idle."""
        super().startService()
        self.pool.open()

    def stopService(self) -> Deferred[None]:
        """Close what is idle. Fires when it is gone, which a reset connection is at once."""
        super().stopService()
        return self.pool.closeCachedConnections()


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

    `listener` and `connections` are what it drains before anything else is stopped; `forced` is called
    when that begins, to have a second signal end the process at once.
    """

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        *,
        listener: Listener,
        connections: Connections,
        forced: Callable[[], None],
    ) -> None:
        super().__init__()
        self._settings = settings
        self._reactor = reactor
        self._listener = listener
        self._connections = connections
        self._forced = forced

    def stopService(self) -> Deferred[None]:
        """Drain, then stop all else. Fires when nothing is left."""
        self._forced()
        say(_log, "draining", connections=len(self._connections))
        draining = Deferred.fromCoroutine(
            drain(
                self._connections,
                self._reactor,
                stop_listening=self._listener.stop_listening,
                lag=self._settings.drain_readiness_lag,
                grace=self._settings.drain_grace,
            )
        )
        # Whatever goes wrong in it, the rest must be stopped.
        draining.addErrback(lambda failure: _log.failure("drain failed", failure))
        return draining.addCallback(lambda _none: MultiService.stopService(self))

    def startService(self) -> None:
        """Start, also again after a stop."""
        self._connections.draining = False
        descriptors = descriptor_limit()
        if self._settings.max_connections > connections_for(descriptors):
            say(
                _log,
                "descriptors_short",
                level="warn",
                max_connections=self._settings.max_connections,
                open_files=descriptors,
                enough_for=connections_for(descriptors),
            )
        super().startService()

    def setServiceParent(self, parent: Any) -> None:
        """See `IService`."""
        if isinstance(parent, Componentized):
            settings = self._settings
            lines = observer(stream=sys.stdout, level=settings.log_level, style=settings.log_format)
            parent.setComponent(ILogObserver, lines)
        super().setServiceParent(parent)


def make_service(
    settings: Settings,
    selector: ISelector,
    reactor: Any,
    *,
    monotonic: Seconds = time.monotonic,
    wall: Seconds = time.time,
    forced: Callable[[], None] = lambda: None,
    parsing: Parsing | None = None,
) -> AutopilotService:
    """The whole router as a service that has done nothing yet.

    `reactor` needs TCP and time, and threads unless `parsing` is given; `monotonic` dates fetches,
    `wall` is compared with the feed's own timestamps.
    """
    metrics = Metrics(CollectorRegistry(), Shared.from_environment(os.environ))
    state = RoutingState(selector)
    publisher = Publisher(state, parsing=parsing or in_a_thread(reactor), monotonic=monotonic)
    metrics.watch(state, monotonic=monotonic, wall=wall)
    metrics.watch_process()
    upstream_pool = ClientPool(
        reactor,
        max_idle=settings.upstream_max_idle_connections,
        connect_timeout=settings.upstream_connect_timeout,
    )
    feeds_pool = ClientPool(
        reactor, max_idle=MAX_IDLE_FEEDS, connect_timeout=settings.control_plane_timeout
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
    limits = ClientLimits(
        headers=settings.client_header_timeout,
        body=settings.client_body_timeout,
        idle=settings.keepalive_timeout,
        stall=settings.client_stall_timeout,
        body_bytes=settings.max_request_bytes,
        requests=settings.max_concurrent_requests,
        connections=settings.max_connections or connections_for(descriptor_limit()),
        require_authorization=settings.require_authorization,
    )
    connections = Connections(limits)
    sticky = _sticky_store(settings, metrics, reactor=reactor, monotonic=monotonic)
    api = _api(
        settings,
        state,
        upstream,
        metrics,
        connections,
        sticky=sticky,
        reactor=reactor,
        monotonic=monotonic,
    )
    site = AutopilotSite(
        api.app.resource(),
        limits=limits,
        connections=connections,
        cors=Cors(settings.cors_allow_origins),
        refused=refusal_recorder(metrics, monotonic),
        reactor=reactor,
    )
    listener = Listener(reactor, settings.listen_addr, site)
    service = AutopilotService(
        settings, reactor, listener=listener, connections=connections, forced=forced
    )
    # Stopped in the reverse order: the listener first, the pools last.
    children = [
        TrustStoreCheck((settings.backend_base_url, settings.models_url, settings.utilization_url)),
        upstream_pool,
        feeds_pool,
        UpstreamService(upstream),
        *([sticky] if isinstance(sticky, RedisSticky) else []),
        *_refreshers(settings, publisher, feeds_pool.pool, reactor, metrics),
        listener,
    ]
    for child in children:
        child.setServiceParent(service)
    return service


def _refreshers(
    settings: Settings,
    publisher: Publisher,
    pool: ConnectionPool,
    reactor: Any,
    metrics: Metrics,
) -> list[Refresher]:
    client = make_client(
        reactor,
        pool,
        accept_encoding=b"gzip",
        retried=metrics.stale_retries.inc,
    )
    return [
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


def _sticky_store(
    settings: Settings, metrics: Metrics, *, reactor: Any, monotonic: Seconds
) -> RedisSticky | MemorySticky:
    ttl, most, address = settings.sticky_ttl, settings.sticky_max_entries, settings.sticky_url
    if address is None or not ttl or not most:
        return MemorySticky(StickyTable(ttl=ttl, max_entries=most), monotonic)
    link = RedisLink(redis_endpoint(reactor, address), address, clock=reactor)
    return RedisSticky(link, ttl=ttl, clock=reactor, now=monotonic, metrics=metrics)


def _sticky_secret(settings: Settings) -> bytes:
    """Shared by all who share a store; without one it dies with the process."""
    if settings.sticky_url is None:
        return secrets.token_bytes(32)
    return os.fsencode(settings.sticky_secret)


def _api(
    settings: Settings,
    state: RoutingState,
    upstream: Upstream,
    metrics: Metrics,
    connections: Connections,
    *,
    sticky: IStickyStore,
    reactor: Any,
    monotonic: Seconds,
) -> Api:
    rests = RestTable()
    metrics.watch_rests(lambda: rests.count(now=monotonic()))
    engine = Engine(
        upstream,
        clock=reactor,
        rests=rests,
        monotonic=monotonic,
        deadlines=Deadlines(
            headers=settings.upstream_header_timeout,
            completion=settings.upstream_completion_timeout,
            first_body_byte=settings.upstream_first_body_byte_timeout,
            idle=settings.stream_idle_timeout,
            total=settings.request_timeout or None,
        ),
    )
    router = Router(
        engine,
        state,
        sticky,
        rests,
        secret=_sticky_secret(settings),
        limits=Limits(
            aliases=settings.model_aliases,
            max_list_items=settings.max_model_list_items,
            max_attempts=settings.max_attempts,
        ),
        monotonic=monotonic,
    )
    max_ages = MaxAges(
        catalog=settings.readyz_max_allowlist_age,
        utilization=settings.readyz_max_snapshot_age,
    )
    metrics.limits(requests=settings.max_concurrent_requests, max_ages=max_ages)
    api = Api(
        router,
        state,
        metrics=metrics,
        clock=reactor,
        monotonic=monotonic,
        max_ages=max_ages,
        aliases=settings.model_aliases,
        trusted_proxies=settings.trusted_proxy_cidrs if settings.trust_proxy_headers else (),
        connections=connections,
    )
    metrics.watch_readiness(api.not_ready)
    return api
