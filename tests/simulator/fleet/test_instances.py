"""Instances against what queueing theory says of them: formulas that are older than this code."""

import math
from collections.abc import Generator

import pytest
from simpy import Environment, Event

from autopilot.policy.traits import Price
from autopilot.simulator.fleet.chutes import FleetChute, Offer
from autopilot.simulator.fleet.crowd import chance
from autopilot.simulator.fleet.instances import Engine, Instance, Job
from autopilot.simulator.fleet.start import Origin

SECONDS = 60_000.0


def engine(*, slots: int, strain: float = 0.0, queue: int = 0) -> Engine:
    """One token a second: work is time."""
    return Engine(pace=1.0, reading=1.0, opening=0.0, slots=slots, strain=strain, queue=queue)


def chute_of(env: Environment, made_of: Engine) -> FleetChute:
    origin = Origin(
        name="one",
        chute_id="chute-one",
        instances=1,
        engine=made_of,
        others=0.0,
        allowance=0,
        price=Price(),
    )
    return FleetChute(env, origin, chance("lives"))


class Visitors:
    """Poisson arrivals with exponential work of mean `mean` at one chute, and how they fared."""

    def __init__(self, env: Environment, chute: FleetChute, *, rate: float, mean: float) -> None:
        self.asked = 0
        self.refused = 0
        self.waits: list[float] = []
        self._env = env
        self._chute = chute
        self._rate = rate
        self._mean = mean

    def process(self) -> Generator[Event, object, None]:
        random = chance("visitors")
        while True:
            yield self._env.timeout(random.expovariate(self._rate))
            self.asked += 1
            first = self._env.event()
            job = Job(reading=0.0, answering=random.expovariate(1 / self._mean), first=first)
            if self._chute.offer(job) is Offer.TAKEN:
                self._env.process(self._wait(first))
            else:
                self.refused += 1

    def _wait(self, first: Event) -> Generator[Event, object, None]:
        came = self._env.now
        yield first
        self.waits.append(self._env.now - came)


def erlang_b(offered: float, slots: int) -> float:
    """The share refused by `slots` without a queue."""
    terms = [offered**k / math.factorial(k) for k in range(slots + 1)]
    return terms[-1] / sum(terms)


def erlang_c(offered: float, slots: int) -> float:
    """The share that waits for one of `slots`, where the queue has no end."""
    blocked = erlang_b(offered, slots)
    return blocked / (1.0 - offered / slots * (1.0 - blocked))


def visited(made_of: Engine, *, rate: float, monkeypatch: pytest.MonkeyPatch) -> Visitors:
    # The formulas know an instance that does not go away.
    monkeypatch.setattr("autopilot.simulator.fleet.chutes.INSTANCE_HOURS", 1e9)
    env = Environment()
    visitors = Visitors(env, chute_of(env, made_of), rate=rate, mean=10.0)
    env.process(visitors.process())
    env.run(until=SECONDS)
    return visitors


def test_a_chute_without_a_queue_refuses_what_erlang_says(monkeypatch: pytest.MonkeyPatch) -> None:
    visitors = visited(engine(slots=6), rate=0.45, monkeypatch=monkeypatch)
    share = visitors.refused / visitors.asked
    assert share == pytest.approx(erlang_b(4.5, 6), rel=0.05)


def test_with_a_queue_as_many_wait_and_as_long_as_erlang_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    visitors = visited(engine(slots=4, queue=100_000), rate=0.3, monkeypatch=monkeypatch)
    waited = [wait for wait in visitors.waits if wait > 1e-9]
    assert visitors.refused == 0
    assert len(waited) / len(visitors.waits) == pytest.approx(erlang_c(3.0, 4), rel=0.05)
    # Those who wait do so for an exponential time, by the slots that are to spare.
    assert sum(waited) / len(waited) == pytest.approx(10.0 / (4 - 3.0), rel=0.1)


def test_jobs_share_the_pace_and_go_faster_when_one_has_left() -> None:
    env = Environment()
    ended: list[float] = []
    instance = Instance(env, engine(slots=2, strain=1.0), lambda _instance: None)
    for tokens in (10.0, 20.0):
        done = env.event()
        done.callbacks.append(lambda _event: ended.append(env.now))
        instance.take(Job(reading=0.0, answering=tokens, done=done))
    env.run()
    # Both at half the pace until the short one ends at 20; the other 10 tokens take 10 seconds.
    assert ended == pytest.approx([20.0, 30.0])


def test_the_first_token_comes_when_the_prompt_has_been_read() -> None:
    env = Environment()
    first, done = env.event(), env.event()
    at: list[float] = []
    for event in (first, done):
        event.callbacks.append(lambda _event: at.append(env.now))
    Instance(env, engine(slots=1), lambda _instance: None).take(
        Job(reading=3.0, answering=4.0, first=first, done=done)
    )
    env.run()
    assert at == pytest.approx([3.0, 7.0])


def test_a_full_instance_says_so() -> None:
    env = Environment()
    instance = Instance(env, engine(slots=1, queue=1), lambda _instance: None)
    for _job in range(2):
        assert not instance.full
        instance.take(Job(reading=0.0, answering=5.0))
    assert instance.full
    assert (instance.running, instance.here) == (1, 2)
    env.run()
    assert instance.here == 0
    assert env.now == pytest.approx(10.0)
