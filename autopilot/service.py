"""The one place where objects meet: `Settings` become a tree of services."""

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from prometheus_client import CollectorRegistry
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from autopilot.connection_pool import ClientPool
from autopilot.controlplane.feeds import feeds
from autopilot.controlplane.publisher import Parsing, Publisher, in_a_thread
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
from autopilot.ledger import Ledger
from autopilot.logs import say
from autopilot.metrics import Metrics
from autopilot.observing import observe
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
from autopilot.workers.member import Member

_log = Logger(namespace="autopilot.service")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one worker has of a service of several; see `autopilot.worker`.

    `listening` is the descriptor of the socket that all accept from, `parent` a process's id.
    """

    member: Member
    ledger: Ledger
    listening: int
    parent: int

    def processes(self) -> tuple[int, ...]:
        """The ids of the service's live processes."""
        return (self.parent, *self.ledger.processes)


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
    selector: ISelector,
    reactor: Any,
    *,
    monotonic: Seconds = time.monotonic,
    wall: Seconds = time.time,
    forced: Callable[[], None] = lambda: None,
    parsing: Parsing | None = None,
    share: Share | None = None,
) -> AutopilotService:
    """The whole router as a service that has done nothing yet, or one worker's `share` of it.

    `reactor` needs TCP and time, and threads unless `parsing` is given; `monotonic` dates fetches,
    `wall` is compared with the feed's own timestamps.
    """
    metrics = Metrics(CollectorRegistry(), Shared.from_environment(os.environ))
    state = RoutingState(selector)
    publisher = Publisher(state, parsing=parsing or in_a_thread(reactor), monotonic=monotonic)
    metrics.watch(state, monotonic=monotonic, wall=wall)
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
    here = connections_for(descriptor_limit())
    limits = ClientLimits(
        headers=settings.client_header_timeout,
        body=settings.client_body_timeout,
        idle=settings.keepalive_timeout,
        stall=settings.client_stall_timeout,
        body_bytes=settings.max_request_bytes,
        requests=settings.max_concurrent_requests,
        connections=settings.max_connections or here * settings.workers,
        connections_here=settings.max_connections or here,
        require_authorization=settings.require_authorization,
    )
    ledger = Ledger() if share is None else share.ledger
    connections = Connections(limits, ledger)
    sticky = _sticky_store(settings, metrics, share, reactor=reactor, monotonic=monotonic)
    api = _api(
        settings,
        state,
        upstream,
        metrics,
        connections,
        sticky=sticky,
        share=share,
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
    listener = Listener(
        reactor,
        settings.listen_addr,
        site,
        inherited=None if share is None else share.listening,
        ledger=ledger,
    )
    service = AutopilotService(
        settings, reactor, listener=listener, connections=connections, forced=forced
    )
    # Stopped in the reverse order: the listener first, the pools last.
    children = [
        upstream_pool,
        UpstreamService(upstream),
        *([sticky] if isinstance(sticky, RedisSticky) else []),
        *knowledge(settings, publisher, share, reactor=reactor, metrics=metrics),
        listener,
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


def _sticky_store(
    settings: Settings,
    metrics: Metrics,
    share: Share | None,
    *,
    reactor: Any,
    monotonic: Seconds,
) -> IStickyStore:
    ttl, most, address = settings.sticky_ttl, settings.sticky_max_entries, settings.sticky_url
    if address is None and share is not None:
        return cast("IStickyStore", share.member.sticky)
    if address is None or not ttl or not most:
        return MemorySticky(StickyTable(ttl=ttl, max_entries=most), monotonic)
    link = RedisLink(redis_endpoint(reactor, address), address, clock=reactor)
    return RedisSticky(link, ttl=ttl, clock=reactor, now=monotonic, metrics=metrics)


def _sticky_secret(settings: Settings, share: Share | None) -> bytes:
    """Shared by all who share a store; without one it dies with the process."""
    if settings.sticky_url is not None:
        return os.fsencode(settings.sticky_secret)
    return secrets.token_bytes(32) if share is None else share.member.secret


def _api(
    settings: Settings,
    state: RoutingState,
    upstream: Upstream,
    metrics: Metrics,
    connections: Connections,
    *,
    sticky: IStickyStore,
    share: Share | None,
    reactor: Any,
    monotonic: Seconds,
) -> Api:
    rests = RestTable() if share is None else share.member.rests
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
        secret=_sticky_secret(settings, share),
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
