"""Builds a router over fakes: the parts that every test of one needs, and none of it is what it tests."""

from collections.abc import Mapping
from typing import Any

from twisted.internet.task import Clock

from autopilot.dataplane.choosing import Chooser, Limits
from autopilot.dataplane.engine import Engine
from autopilot.dataplane.explaining import Explainer
from autopilot.dataplane.learning import Learned
from autopilot.dataplane.planning import Planner
from autopilot.dataplane.router import Router
from autopilot.dataplane.shadowing import Shadowing
from autopilot.dataplane.sticky import MemorySticky
from autopilot.interfaces import IPictureSource, ISelector, IStickyStore, IUpstream
from autopilot.metrics import Metrics
from autopilot.policy.deadlines import Deadlines
from autopilot.policy.rest import RestTable
from autopilot.policy.rules import FREE, Rules
from autopilot.policy.stickiness import StickyTable
from autopilot.routing import Routing
from autopilot.selectors.capacity import Capacity

DEADLINES = Deadlines(headers=10.0, completion=600.0, first_body_byte=120.0)


def router_over(*arguments: Any, **named: Any) -> Router:
    """The router of `routing_over`."""
    return routing_over(*arguments, **named).router


def routing_over(
    upstream: IUpstream,
    source: IPictureSource,
    *,
    clock: Clock,
    limits: Limits,
    sticky: IStickyStore | None = None,
    deadlines: Deadlines = DEADLINES,
    rests: RestTable | None = None,
    selectors: Mapping[str, ISelector] | None = None,
    default: str = "capacity",
    rules: Rules = FREE,
    shadow: tuple[str, Metrics] | None = None,
) -> Routing:
    """A router by `default`, which is `capacity` where no `selectors` are given; its seed is always 0.

    `shadow` is the name of another that is asked beside, and where that is counted.
    """
    learned = Learned(RestTable() if rests is None else rests, now=clock.seconds)
    planner = Planner(
        selectors or {"capacity": ISelector(Capacity())},
        default,
        learned=learned,
        monotonic=clock.seconds,
        wall=clock.seconds,
        seed=lambda: 0,
    )
    engine = Engine(upstream, clock=clock, deadlines=deadlines, learned=learned)
    chooser = Chooser(planner, learned, limits=limits, now=clock.seconds, rules=rules)
    sticky = sticky or MemorySticky(StickyTable(ttl=1e9, max_entries=100), clock.seconds)
    secret = b"0" * 32
    return Routing(
        router=Router(
            engine,
            source,
            chooser,
            sticky,
            learned,
            secret=secret,
            shadow=shadow and Shadowing(shadow[0], planner, learned, shadow[1], now=clock.seconds),
        ),
        explainer=Explainer(
            source, planner, chooser, sticky, learned, secret=secret, now=clock.seconds
        ),
        sticky=sticky,
    )
