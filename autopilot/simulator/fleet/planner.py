"""One simulated router: the product's selector, rests, places and observations, over virtual time.

It does what `autopilot.dataplane` does with a request for an alias, as far as it matters to who is
asked: orders the eligible, prefers the client's last model unless leaving it is worth its cache, puts
those that rest at the end, and asks up to `ATTEMPTS` of them until one answers.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from random import Random

from simpy import Environment, Event

from autopilot.interfaces import IPlan, ISelector
from autopilot.policy.affinity import Stay, cache_worth
from autopilot.policy.catalog import Catalog
from autopilot.policy.inflight import InFlight
from autopilot.policy.needs import Needs
from autopilot.policy.rest import Cause, RestTable
from autopilot.policy.scene import Moment
from autopilot.policy.stickiness import StickyTable, prefer
from autopilot.policy.timings import Observations, Timings
from autopilot.simulator.fleet.bulletin import Published
from autopilot.simulator.fleet.chutes import FleetChute, Offer
from autopilot.simulator.fleet.crowd import Session, Turn
from autopilot.simulator.fleet.figures import Tally
from autopilot.simulator.fleet.instances import Job

ATTEMPTS = 3
"""Most models asked for one request: the default of `MAX_ATTEMPTS`."""

TRAVEL_SECONDS = 0.06
"""From the router to the platform and back, with what the gateway there takes."""

REFUSAL_SECONDS = 0.15
"""Until a refusal is here: the platform tries up to three instances."""

STICKY_SECONDS, STICKY_ENTRIES = 1_800.0, 10_000
"""The defaults of `STICKY_TTL_SECS` and `STICKY_MAX_ENTRIES`."""

TOKEN_BYTES = 4
"""Bytes of an answer for each of its tokens."""

UNTIMED_STRATEGIES = ("capacity", "random", "static", "oracle")
"""Those that do not look at timings: half the time of a run would go into views that nobody reads."""

UNTIMED = Timings()

_SEED_BITS = 64
_MILLION = 1_000_000
_CAUSES = {Offer.FULL: Cause.BRIEF, Offer.COLD: Cause.COLD}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A request on its way: since when, whether it makes figures, how often it was refused."""

    turn: Turn
    key: bytes
    arrived: float
    counts: bool


class Planner:
    """Routes among `chutes` with `selector`. `random` makes the seeds of its requests."""

    def __init__(
        self,
        env: Environment,
        selector: ISelector,
        *,
        chutes: Mapping[str, FleetChute],
        catalog: Catalog,
        tally: Tally,
        random: Random,
    ) -> None:
        self._env = env
        self._selector = selector
        self._timed = selector.name not in UNTIMED_STRATEGIES
        self._chutes = chutes
        self._catalog = catalog
        self._tally = tally
        self._random = random
        self._in_flight = InFlight()
        self._observations = Observations()
        self._rests = RestTable()
        self._places = StickyTable(ttl=STICKY_SECONDS, max_entries=STICKY_ENTRIES)
        self._sampled = 0.0
        self._plan: IPlan | None = None

    def read(self, batch: Published) -> None:
        """A batch of the feed is here."""
        self._sampled = batch.timestamp
        self._in_flight.sampled(batch.timestamp)
        self._plan = self._selector.plan(batch.scene)

    def serve(self, session: Session, turn: Turn) -> Generator[Event, object, None]:
        """Carry one request to its end: part of a process of simpy."""
        now = self._env.now
        asked = _Asked(turn=turn, key=session.key, arrived=now, counts=self._tally.arrived(now))
        for name in self._candidates(asked):
            taken = yield from self._attempt(name, asked)
            if taken:
                return
            self._tally.failovers += asked.counts
        # The last refusal is no failover: nobody was left to turn to.
        self._tally.failovers -= asked.counts
        self._tally.refused += 1
        self._tally.seen_refused += asked.counts

    def _candidates(self, asked: _Asked) -> tuple[str, ...]:
        now, turn, plan = self._env.now, asked.turn, self._plan
        if plan is None:
            return ()
        moment = Moment(
            feed_age=now - self._sampled,
            seed=self._random.getrandbits(_SEED_BITS),
            # How long the answer will be a client does not say.
            needs=Needs(prompt_tokens=turn.prompt, prefix_tokens=turn.prefix),
            in_flight=self._in_flight.counts,
            timings=self._observations.timings(now=now) if self._timed else UNTIMED,
        )
        order = plan.order(moment)
        place = self._places.get(asked.key, now=now)
        if place not in order:
            place = None
        rival = None if place is None else self._better(place, order, plan, moment)
        candidates = self._rests.arrange(prefer(rival, prefer(place, order)), now=now)
        if place is not None and asked.counts:
            self._tally.sticky += 1
            self._tally.sticky_left += rival is not None
            self._tally.sticky_breaks += candidates[0] != place
        return candidates[:ATTEMPTS]

    def _better(
        self, place: str, order: tuple[str, ...], plan: IPlan, moment: Moment
    ) -> str | None:
        """The model for which the place is left, if its disadvantage is worth more than its cache."""
        before, now = order[: order.index(place)], self._env.now
        rival = next((name for name in before if not self._rests.resting(name, now=now)), None)
        if rival is None:
            return None
        price = self._catalog.by_id[place].traits.price
        stay = Stay(
            model=place,
            rival=rival,
            disadvantage=plan.disadvantage(place, rival, moment),
            cache=cache_worth(moment.needs, price),
        )
        return None if stay.stays else rival

    def _attempt(self, name: str, asked: _Asked) -> Generator[Event, object, bool]:
        env, turn, chute = self._env, asked.turn, self._chutes[name]
        began = env.now
        self._rests.asked(name, now=began)
        epoch = self._in_flight.began(name)
        cached = chute.cached(asked.key, turn.prefix)
        first, done = env.event(), env.event()
        reading = chute.origin.engine.to_read(turn.prompt - cached)
        offer = chute.offer(Job(reading=reading, answering=turn.answer, first=first, done=done))
        if offer is not Offer.TAKEN:
            yield env.timeout(REFUSAL_SECONDS)
            self._in_flight.ended(name, epoch)
            self._observations.failed(name, now=env.now)
            self._rests.failed(name, _CAUSES[offer], now=env.now)
            self._places.forget(asked.key, name)
            return False
        yield first
        self._answered(name, asked, env.now + TRAVEL_SECONDS, began)
        started = env.now
        yield done
        seconds = env.now - started
        self._observations.streamed(name, turn.answer * TOKEN_BYTES, seconds, now=env.now)
        self._in_flight.ended(name, epoch)
        chute.remember(asked.key, turn.prompt + turn.answer)
        self._tally.answered += 1
        if asked.counts:
            self._bill(chute, turn, cached)
            self._tally.paces.append(turn.answer / max(seconds, 1e-9))
        return True

    def _answered(self, name: str, asked: _Asked, at: float, began: float) -> None:
        self._observations.answered(
            name, at - began, prompt_tokens=asked.turn.prompt, now=self._env.now
        )
        self._rests.succeeded(name)
        self._places.put(asked.key, name, now=self._env.now)
        if asked.counts:
            self._tally.first.append(at - asked.arrived)

    def _bill(self, chute: FleetChute, turn: Turn, cached: int) -> None:
        price = chute.origin.price
        prompt = price.prompt or 0.0
        again = prompt if price.cached_prompt is None else price.cached_prompt
        dollars = (turn.prompt - cached) * prompt + cached * again
        dollars += turn.answer * (price.completion or 0.0)
        self._tally.dollars += dollars / _MILLION
        self._tally.prefix_tokens += turn.prefix
        self._tally.cached_tokens += cached
