"""Chutes and routers by themselves: who is refused, what grows, what is remembered, who is asked next."""

from collections.abc import Generator
from dataclasses import replace
from random import Random

import pytest
from simpy import Environment, Event

from autopilot.policy.catalog import Catalog, Model
from autopilot.policy.traits import Price
from autopilot.simulator.fleet.bulletin import batch, published
from autopilot.simulator.fleet.chutes import (
    CACHE_SECONDS,
    COLD_START,
    SAMPLE_SECONDS,
    FleetChute,
    Offer,
)
from autopilot.simulator.fleet.crowd import Session, Turn, chance
from autopilot.simulator.fleet.figures import Tally
from autopilot.simulator.fleet.instances import Engine, Job
from autopilot.simulator.fleet.planner import ATTEMPTS, Planner
from autopilot.simulator.fleet.references import Oracle, Static
from autopilot.simulator.fleet.start import Origin

ENGINE = Engine(pace=10.0, reading=100.0, opening=1.0, slots=2, strain=0.0)
ORIGIN = Origin(
    name="a",
    chute_id="chute-a",
    instances=1,
    engine=ENGINE,
    others=0.0,
    allowance=1,
    price=Price(prompt=1.0, completion=2.0, cached_prompt=0.5),
)
FOREVER = 1e9


class Undying(Random):
    """Chance that lets no instance go away."""

    def expovariate(self, lambd: float = 1.0) -> float:  # noqa: ARG002 - however likely it is
        return FOREVER


class Dying(Undying):
    """Chance that lets the first instance go after a minute."""

    lives = 0

    def expovariate(self, lambd: float = 1.0) -> float:
        self.lives += 1
        return 60.0 if self.lives == 1 else super().expovariate(lambd)


def chute_of(env: Environment, name: str = "a", random: Random | None = None) -> FleetChute:
    return FleetChute(env, replace(ORIGIN, name=name), random or Undying(1))


def noting(env: Environment, chute: FleetChute) -> Generator[Event, object, None]:
    while True:
        yield env.timeout(SAMPLE_SECONDS)
        chute.note()


def fill(chute: FleetChute, seconds: float = FOREVER) -> None:
    while chute.offer(Job(reading=0.0, answering=seconds * ENGINE.pace)) is Offer.TAKEN:
        pass


def test_a_busy_chute_grows_after_a_cold_start_within_its_allowance_and_shrinks_again() -> None:
    env = Environment()
    chute = chute_of(env)
    env.process(noting(env, chute))
    fill(chute, seconds=1_000.0)
    env.run(until=301.0)
    chute.scale()
    assert (chute.active, chute.allowance()) == (1, 0)
    env.run(until=301.0 + COLD_START[0] - 1.0)
    assert chute.active == 1
    env.run(until=301.0 + COLD_START[1] + 1.0)
    assert chute.active == 2
    chute.scale()
    env.run(until=1_500.0)
    assert chute.active == 2
    chute.scale()
    assert (chute.active, chute.allowance()) == (1, 1)


def test_a_chute_whose_only_instance_has_gone_is_cold_until_the_next_is_there() -> None:
    env = Environment()
    chute = chute_of(env, random=Dying(1))
    done = env.event()
    chute.offer(Job(reading=0.0, answering=900.0, done=done))
    env.run(until=61.0)
    assert chute.offer(Job(reading=0.0, answering=1.0)) is Offer.COLD
    assert chute.load == float("inf")
    env.run(until=done)
    # What ran there was carried to its end.
    assert env.now == pytest.approx(90.0)
    env.run(until=60.0 + COLD_START[1] + 1.0)
    assert chute.offer(Job(reading=0.0, answering=1.0)) is Offer.TAKEN


def test_a_prompt_is_remembered_for_its_client_for_a_while() -> None:
    env = Environment()
    chute = chute_of(env)
    chute.remember(b"me", 700)
    assert chute.cached(b"me", 500) == 500
    assert chute.cached(b"me", 900) == 700
    assert chute.cached(b"you", 500) == 0
    env.run(until=CACHE_SECONDS + 1.0)
    assert chute.cached(b"me", 500) == 0


class Bench:
    """A router before four chutes `a` to `d`, in that order for ever or by load, and one client."""

    def __init__(self, *, seeing: bool = False) -> None:
        self.env = Environment()
        self.chutes = {name: chute_of(self.env, name) for name in "abcd"}
        self.tally = Tally(since=0.0, until=FOREVER)
        catalog = Catalog(tuple(Model(id=name, chute_id=None, document=b"") for name in "abcd"))
        selector = Oracle(lambda name: self.chutes[name].load) if seeing else Static()
        self.router = Planner(
            self.env,
            selector,
            chutes=self.chutes,
            catalog=catalog,
            tally=self.tally,
            random=chance(1),
        )
        feed = batch(tuple(self.chutes.values()), chance(1), now=0.0)
        self.router.read(published(feed, catalog))

    def ask(self, turn: Turn) -> str | None:
        """Who has answered."""
        before = {name: chute.asked - chute.refused for name, chute in self.chutes.items()}
        session = Session(at=0.0, key=b"me", router=0, turns=(turn,))
        self.env.run(until=self.env.process(self.router.serve(session, turn)))
        after = {name: chute.asked - chute.refused for name, chute in self.chutes.items()}
        return next((name for name in "abcd" if after[name] > before[name]), None)


TURN = Turn(prompt=1_000, prefix=0, answer=100, think=0.0)


def test_a_router_asks_the_next_and_keeps_to_who_has_answered() -> None:
    bench = Bench()
    fill(bench.chutes["a"], seconds=1.0)
    assert bench.ask(TURN) == "b"
    assert (bench.tally.failovers, bench.tally.sticky) == (1, 0)
    assert bench.ask(replace(TURN, prompt=1_200, prefix=1_100)) == "b"
    assert (bench.tally.sticky, bench.tally.sticky_breaks) == (1, 0)
    assert (bench.tally.prefix_tokens, bench.tally.cached_tokens) == (1_100, 1_100)
    dollars = (1_000 * 1.0 + 100 * 2.0 + 100 * 1.0 + 1_100 * 0.5 + 100 * 2.0) / 1e6
    assert bench.tally.dollars == pytest.approx(dollars)


def test_a_router_gives_up_after_three_and_puts_those_that_rest_last() -> None:
    bench = Bench()
    for name in "abc":
        fill(bench.chutes[name])
    asked = bench.chutes["a"].asked
    assert bench.ask(TURN) is None
    assert (bench.tally.refused, bench.tally.failovers) == (1, ATTEMPTS - 1)
    assert bench.ask(TURN) == "d"
    assert bench.chutes["a"].asked == asked + 1


def test_a_client_leaves_a_full_model_for_an_empty_one_that_the_strategy_sees() -> None:
    bench = Bench(seeing=True)
    first = bench.ask(TURN)
    assert first is not None
    fill(bench.chutes[first], seconds=100.0)
    assert bench.ask(TURN) != first
    assert (bench.tally.sticky_breaks, bench.tally.sticky_left) == (1, 1)
