"""Where clients come in: the router's port and the operator's, each with its site and its limits."""

from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.resource import IResource

from autopilot.dataplane.decisions import Decisions
from autopilot.dataplane.journal import refusal_recorder
from autopilot.interfaces import IPictureSource, Seconds
from autopilot.ledger import Ledger
from autopilot.metrics import Metrics
from autopilot.policy.errors import ErrorBody
from autopilot.routing import Routing, max_ages_of, rules_of
from autopilot.settings import Settings
from autopilot.web.admin import AdminApi, AdminDoor
from autopilot.web.app import Api
from autopilot.web.connections import Connections
from autopilot.web.cors import Cors
from autopilot.web.drain import drain
from autopilot.web.limits import ClientLimits, connections_for, descriptor_limit
from autopilot.web.listener import Listener
from autopilot.web.server import AutopilotSite
from autopilot.workers.share import Share

ADMIN_CONNECTIONS = 32
"""Most connections of an operator, to each process: he must be able to look when clients are too many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """One port, and the connections that came in there."""

    listener: Listener
    connections: Connections

    def drain(self, reactor: Any, *, lag: float, grace: float) -> Deferred[None]:
        """See `autopilot.web.drain`."""
        return Deferred.fromCoroutine(
            drain(
                self.connections,
                reactor,
                stop_listening=self.listener.stop_listening,
                lag=lag,
                grace=grace,
            )
        )


def make_entrances(
    settings: Settings,
    routing: Routing,
    source: IPictureSource,
    metrics: Metrics,
    *,
    share: Share | None,
    reactor: Any,
    monotonic: Seconds,
    wall: Seconds,
) -> tuple[Entrance, ...]:
    """The router's entrance first, then the operator's if he has one of his own.

    `wall` dates decisions, for people.
    """
    limits = _limits(settings)
    ledger = Ledger() if share is None else share.ledger
    connections = Connections(limits, ledger)
    max_ages = max_ages_of(settings)
    metrics.limits(requests=settings.max_concurrent_requests, max_ages=max_ages)
    trusted_proxies = settings.trusted_proxy_cidrs if settings.trust_proxy_headers else ()
    opened = settings.admin_token or settings.admin_listen_addr is not None
    decisions = Decisions(wall) if opened else None
    api = Api(
        routing.router,
        source,
        metrics=metrics,
        clock=reactor,
        monotonic=monotonic,
        max_ages=max_ages,
        aliases=settings.model_aliases,
        rules=rules_of(settings),
        trusted_proxies=trusted_proxies,
        connections=connections,
        decisions=decisions,
    )
    metrics.watch_readiness(api.not_ready)
    root: IResource = api.app.resource()
    admin: IResource | None = None
    if decisions is not None:
        admin = AdminApi(
            routing.explainer,
            decisions,
            worker=ledger.slot,
            not_ready=api.not_ready,
            trusted_proxies=trusted_proxies,
            authorized=bool(settings.admin_token),
        ).app.resource()
    if admin is not None and settings.admin_listen_addr is None:
        root = AdminDoor(admin, token=settings.admin_token, others=root)
    site = AutopilotSite(
        root,
        limits=limits,
        connections=connections,
        cors=Cors(settings.cors_allow_origins),
        refused=refusal_recorder(metrics, monotonic),
        reactor=reactor,
        monotonic=monotonic,
    )
    main = Entrance(
        listener=Listener(
            reactor,
            settings.listen_addr,
            site,
            inherited=None if share is None else share.listening,
            ledger=ledger,
        ),
        connections=connections,
    )
    apart = settings.admin_listen_addr
    if admin is None or apart is None:
        return (main,)
    few = replace(
        limits,
        connections=ADMIN_CONNECTIONS,
        connections_here=ADMIN_CONNECTIONS,
        require_authorization=False,
    )
    # Not in the ledger: whom an operator keeps waiting is nobody's limit.
    theirs = Connections(few)
    site = AutopilotSite(
        AdminDoor(admin, token=settings.admin_token),
        limits=few,
        connections=theirs,
        cors=Cors(()),
        refused=_unheard,
        reactor=reactor,
        monotonic=monotonic,
    )
    listener = Listener(
        reactor,
        apart,
        site,
        inherited=None if share is None else share.admin,
        told="admin_listening",
    )
    return (main, Entrance(listener=listener, connections=theirs))


def _unheard(_request_id: bytes, _error: ErrorBody) -> None:
    """What an operator is refused is no request of a client."""


def _limits(settings: Settings) -> ClientLimits:
    here = connections_for(descriptor_limit())
    return ClientLimits(
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
