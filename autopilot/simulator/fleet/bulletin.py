"""The feed in virtual time: true means of what the chutes did, in batches, some time after the fact."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from simpy import Environment, Event

from autopilot.policy.catalog import Catalog, Chute, Utilization
from autopilot.policy.ranking import rank
from autopilot.policy.scene import Scene
from autopilot.simulator.fleet.chutes import SAMPLE_SECONDS, FleetChute

PUBLISHED_AFTER = 2.0
"""Seconds from the timestamp of a batch until it can be fetched."""

POLL_SECONDS = 5.0
"""How often a router fetches: each does so at a moment of its own."""

_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A batch as each router makes a scene of it: made once, as all would make the same."""

    timestamp: float
    scene: Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Somebody who fetches the feed, `late` seconds after it could have been."""

    late: float
    read: Callable[[Published], None]


def published(feed: Utilization, catalog: Catalog) -> Published:
    """The eligible of `feed` in the order of the contract."""
    ranked = rank(feed, catalog)
    scene = Scene(
        names=tuple(candidate.name for candidate in ranked),
        chutes={candidate.name: candidate.chute for candidate in ranked},
        catalog=catalog,
    )
    return Published(timestamp=feed.timestamp or 0.0, scene=scene)


def batch(chutes: Sequence[FleetChute], random: Random, *, now: float) -> Utilization:
    """The feed as it is at `now`, a moment at which the chutes have noted their figures."""
    return Utilization(chutes=tuple(_row(chute, random) for chute in chutes), timestamp=now)


def bulletin(
    env: Environment,
    chutes: Sequence[FleetChute],
    readers: Sequence[Reader],
    random: Random,
    *,
    catalog: Catalog,
    every: float,
    until: float,
) -> Generator[Event, object, None]:
    """Note the chutes' figures, and publish a batch `every` so many seconds: a process of simpy.

    `every` is a whole number of `SAMPLE_SECONDS`. The first batch is there for everybody at once.
    """
    first = published(batch(chutes, random, now=env.now), catalog)
    for reader in readers:
        reader.read(first)
    due = env.now + every
    while env.now < until:
        yield env.timeout(SAMPLE_SECONDS)
        for chute in chutes:
            chute.note()
        if env.now >= due:
            due += every
            _deliver(env, published(batch(chutes, random, now=env.now), catalog), readers)


def _deliver(env: Environment, batch_of_now: Published, readers: Sequence[Reader]) -> None:
    for reader in readers:
        fetched = env.timeout(PUBLISHED_AFTER + reader.late)
        fetched.callbacks.append(partial(_fetched, reader, batch_of_now))


def _fetched(reader: Reader, batch_of_then: Published, _event: Event) -> None:
    reader.read(batch_of_then)


def _row(chute: FleetChute, random: Random) -> Chute:
    allowance = chute.allowance()
    return Chute(
        name=chute.origin.name,
        chute_id=chute.origin.chute_id,
        active_instance_count=float(chute.active),
        utilization_current=round(chute.gauge(random), _DIGITS),
        utilization_5m=round(chute.utilization(300.0), _DIGITS),
        utilization_15m=round(chute.utilization(900.0), _DIGITS),
        utilization_1h=round(chute.utilization(3600.0), _DIGITS),
        rate_limit_ratio_5m=round(chute.refusals(300.0), _DIGITS),
        rate_limit_ratio_15m=round(chute.refusals(900.0), _DIGITS),
        rate_limit_ratio_1h=round(chute.refusals(3600.0), _DIGITS),
        scalable=allowance > 0,
        scale_allowance=float(allowance),
    )
