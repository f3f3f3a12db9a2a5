"""The load that does not come through Autopilot: each chute's own, which rises and falls by the hour.

Its level wanders, so that an old feed is wrong: a stationary load would be as good known half an hour
later.
"""

import math
from collections.abc import Generator
from random import Random

from simpy import Environment, Event

from autopilot.simulator.fleet.chutes import FleetChute, Offer
from autopilot.simulator.fleet.crowd import answer_tokens, fresh_tokens, typical
from autopilot.simulator.fleet.instances import Job

WANDERS = 0.35
"""Standard deviation of the logarithm of the level."""

WANDER_SECONDS = 1_200.0
"""After which the level has forgotten two thirds of what it was."""

TRIES = 4
"""How often one of the others asks before he gives up."""

AGAIN_SECONDS = 10.0
"""How long he waits in between."""

_STEP_SECONDS = 30.0


class Others:
    """Everybody else at one chute, present from the start. Who is refused comes again, `TRIES` in all."""

    def __init__(
        self, env: Environment, chute: FleetChute, random: Random, *, load: float, until: float
    ) -> None:
        self.came = 0
        self.refused = 0
        self._env = env
        self._chute = chute
        self._random = random
        self._until = until
        self._level = 0.0
        self._stepped_at = 0.0
        self._rate = chute.origin.others * chute.origin.slots / service_seconds(chute, load)
        for _slot in range(chute.origin.slots):
            if random.random() < chute.origin.others:
                chute.offer(self._job(left=random.random()))

    def process(self) -> Generator[Event, object, None]:
        """Ask until the time is over: a process of simpy."""
        random, env = self._random, self._env
        if not self._rate:
            return
        while True:
            # The next level is drawn after the next arrival is, not by the clock: gaps are short
            # against the time in which the level moves.
            yield env.timeout(random.expovariate(self._rate * self._wandered()))
            if env.now >= self._until:
                return
            self.came += 1
            self._try(self._job(), TRIES)

    def _try(self, job: Job, tries: int) -> None:
        if self._chute.offer(job) is Offer.TAKEN:
            return
        if tries == 1:
            self.refused += 1
            return
        again = self._env.timeout(AGAIN_SECONDS)
        again.callbacks.append(lambda _event: self._try(job, tries - 1))

    def _job(self, left: float = 1.0) -> Job:
        reading = self._chute.origin.engine.to_read(fresh_tokens(self._random))
        return Job(reading=reading * left, answering=answer_tokens(self._random) * left)

    def _wandered(self) -> float:
        steps = int((self._env.now - self._stepped_at) / _STEP_SECONDS)
        if steps:
            self._stepped_at += steps * _STEP_SECONDS
            kept = math.exp(-steps * _STEP_SECONDS / WANDER_SECONDS)
            moved = self._random.gauss(0.0, WANDERS * math.sqrt(1.0 - kept * kept))
            self._level = self._level * kept + moved
        return math.exp(self._level - WANDERS * WANDERS / 2)


def service_seconds(chute: FleetChute, load: float) -> float:
    """How long a typical request takes at a chute of which `load` is taken."""
    engine, request = chute.origin.engine, typical()
    running = max(load * engine.slots, 1.0)
    work = engine.to_read(request.fresh) + request.answer
    return work / engine.pace_of(running)
