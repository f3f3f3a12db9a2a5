"""Where the objects of the request path meet: `Settings` become a router and what it stands on."""

import os
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from autopilot.dataplane.choosing import Chooser, Limits
from autopilot.dataplane.engine import Engine
from autopilot.dataplane.explaining import Explainer
from autopilot.dataplane.learning import Learned
from autopilot.dataplane.planning import Planner
from autopilot.dataplane.redis_link import RedisLink, redis_endpoint
from autopilot.dataplane.redis_sticky import RedisSticky
from autopilot.dataplane.router import Router
from autopilot.dataplane.shadowing import Shadowing
from autopilot.dataplane.sticky import MemorySticky
from autopilot.dataplane.upstream import Upstream
from autopilot.interfaces import IPictureSource, ISelector, IStickyStore, Seconds
from autopilot.metrics import Metrics
from autopilot.policy.deadlines import Deadlines
from autopilot.policy.readiness import MaxAges
from autopilot.policy.rest import RestTable
from autopilot.policy.rules import Rules
from autopilot.policy.stickiness import StickyTable
from autopilot.settings import Settings
from autopilot.workers.share import Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """The router, and those of its parts that others need too."""

    router: Router
    explainer: Explainer
    sticky: IStickyStore


def make_routing(
    settings: Settings,
    selectors: Mapping[str, ISelector],
    source: IPictureSource,
    upstream: Upstream,
    metrics: Metrics,
    *,
    share: Share | None,
    reactor: Any,
    monotonic: Seconds,
    wall: Seconds,
) -> Routing:
    """A router to `upstream` by the pictures of `source`; see `autopilot.service.make_service`."""
    sticky = _sticky_store(settings, metrics, share, reactor=reactor, monotonic=monotonic)
    rests = RestTable() if share is None else share.member.rests
    metrics.watch_rests(lambda: rests.count(now=monotonic()))
    learned = Learned(rests, now=monotonic)
    engine = Engine(
        upstream,
        clock=reactor,
        learned=learned,
        monotonic=monotonic,
        deadlines=Deadlines(
            headers=settings.upstream_header_timeout,
            completion=settings.upstream_completion_timeout,
            first_body_byte=settings.upstream_first_body_byte_timeout,
            idle=settings.stream_idle_timeout,
            total=settings.request_timeout or None,
        ),
    )
    planner, chooser = _choosing(settings, selectors, learned, monotonic=monotonic, wall=wall)
    secret = _sticky_secret(settings, share)
    shadow: Shadowing | None = None
    if settings.shadow_selector:
        name = settings.shadow_selector
        shadow = Shadowing(name, planner, learned, metrics, now=monotonic)
    router = Router(engine, source, chooser, sticky, learned, secret=secret, shadow=shadow)
    explainer = Explainer(source, planner, chooser, sticky, learned, secret=secret, now=monotonic)
    return Routing(router=router, explainer=explainer, sticky=sticky)


def make_explainer(
    settings: Settings,
    selectors: Mapping[str, ISelector],
    source: IPictureSource,
    *,
    monotonic: Seconds,
    wall: Seconds,
) -> Explainer:
    """What explains the pictures of `source` as a router would that has learned nothing yet."""
    learned = Learned(RestTable(), now=monotonic)
    planner, chooser = _choosing(settings, selectors, learned, monotonic=monotonic, wall=wall)
    nobody = MemorySticky(StickyTable(ttl=0.0, max_entries=0), monotonic)
    return Explainer(source, planner, chooser, nobody, learned, secret=b"", now=monotonic)


def max_ages_of(settings: Settings) -> MaxAges:
    """How old the picture of a router that is ready may be."""
    return MaxAges(
        catalog=settings.readyz_max_allowlist_age,
        utilization=settings.readyz_max_snapshot_age,
    )


def _choosing(
    settings: Settings,
    selectors: Mapping[str, ISelector],
    learned: Learned,
    *,
    monotonic: Seconds,
    wall: Seconds,
) -> tuple[Planner, Chooser]:
    planner = Planner(
        selectors,
        settings.selector,
        learned=learned,
        monotonic=monotonic,
        wall=wall,
        seed=partial(random.getrandbits, 64),
    )
    chooser = Chooser(
        planner,
        learned,
        limits=Limits(
            aliases=settings.model_aliases,
            max_list_items=settings.max_model_list_items,
            max_attempts=settings.max_attempts,
        ),
        now=monotonic,
        rules=rules_of(settings),
    )
    return planner, chooser


def rules_of(settings: Settings) -> Rules:
    """What the operator allows."""
    return Rules(
        allow=settings.allow_models,
        deny=settings.deny_models,
        tee=settings.require_tee,
        prompt_price=settings.max_price.prompt,
        completion_price=settings.max_price.completion,
    )


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
