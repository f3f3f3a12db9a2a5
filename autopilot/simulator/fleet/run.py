"""One run: a fleet, its others, its routers and their clients, for some virtual hours, by one seed."""

from collections.abc import Generator
from dataclasses import dataclass
from random import Random

from simpy import Environment, Event

from autopilot.interfaces import ISelector
from autopilot.selectors.finding import find_selectors
from autopilot.simulator.fleet.bulletin import POLL_SECONDS, Reader, bulletin
from autopilot.simulator.fleet.chutes import SCALE_SECONDS, FleetChute
from autopilot.simulator.fleet.crowd import Arrivals, Session, chance, sessions, typical
from autopilot.simulator.fleet.figures import Tally
from autopilot.simulator.fleet.others import Others, service_seconds
from autopilot.simulator.fleet.planner import Planner
from autopilot.simulator.fleet.references import Chance, Oracle, Static
from autopilot.simulator.fleet.start import Start, start

WARM_SECONDS = 900.0
"""What is not counted at the beginning: until the fleet has forgotten how it was filled."""

LAST_SECONDS = 3_600.0
"""In which the last requests end: the longest answer of the slowest model takes a quarter of it."""

BLIND = ("random", "static", "oracle")
"""Strategies that do not look at the feed, so that its age is nothing to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What a run is given: equal ones give equal figures.

    `feed` is the time between batches in seconds, `load` the share of all slots that is asked for, of
    which `share` comes through the routers. `seconds` are counted after the first `WARM_SECONDS`.
    """

    strategy: str
    feed: float
    load: float
    seed: int
    routers: int = 8
    share: float = 0.5
    seconds: float = 3_600.0
    arrivals: Arrivals = Arrivals.POISSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to: its figures, and what became of all requests that came."""

    figures: dict[str, float]
    came: int
    answered: int
    refused: int
    others_came: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Totals:
    """What has been until some moment: slot seconds of each chute, and requests of others."""

    taken: tuple[float, ...]
    there: tuple[float, ...]
    came: int
    refused: int


class Fleet:
    """Everything of one run, ready to go."""

    def __init__(self, experiment: Experiment, begin: Start) -> None:
        self._experiment = experiment
        self._env = Environment()
        self._until = WARM_SECONDS + experiment.seconds
        self._tally = Tally(since=WARM_SECONDS, until=self._until)
        load, share = experiment.load, experiment.share
        begin = begin.under(load * (1.0 - share))
        self._catalog = begin.catalog
        self._chutes = {
            origin.name: FleetChute(self._env, origin, self._random("chute", origin.name))
            for origin in begin.origins
        }
        self._others = [
            Others(self._env, chute, self._random("others", name), load=load, until=self._until)
            for name, chute in self._chutes.items()
        ]
        self._planners = [
            Planner(
                self._env,
                # A strategy may remember, and each router is a process of its own.
                self._selector(),
                chutes=self._chutes,
                catalog=begin.catalog,
                tally=self._tally,
                random=self._random("router", number),
            )
            for number in range(experiment.routers)
        ]
        requests = sum(
            chute.origin.slots / service_seconds(chute, load) for chute in self._chutes.values()
        )
        self._rate = load * share * requests / typical().turns

    def run(self) -> Outcome:
        """Go on until the last request has ended."""
        env, tally = self._env, self._tally
        self._begin()
        env.run(until=WARM_SECONDS)
        warm = self._totals()
        env.run(until=self._until)
        end = self._totals()
        # Nobody else comes; those that are under way come to their end.
        env.run(until=self._until + LAST_SECONDS)
        taken = [late - early for late, early in zip(end.taken, warm.taken, strict=True)]
        there = [late - early for late, early in zip(end.there, warm.there, strict=True)]
        figures = tally.figures(
            loads=[some / whole for some, whole in zip(taken, there, strict=True) if whole],
            utilization=sum(taken) / sum(there),
            others_refused=(end.refused - warm.refused) / max(end.came - warm.came, 1),
        )
        return Outcome(
            figures=figures,
            came=tally.came,
            answered=tally.answered,
            refused=tally.refused,
            others_came=end.came,
        )

    def _begin(self) -> None:
        env, late = self._env, self._random("late")
        readers = [
            Reader(late=late.random() * POLL_SECONDS, read=planner.read)
            for planner in self._planners
        ]
        env.process(
            bulletin(
                env,
                tuple(self._chutes.values()),
                readers,
                self._random("feed"),
                catalog=self._catalog,
                every=self._experiment.feed,
                until=self._until,
            )
        )
        env.process(self._platform())
        env.process(self._clients())
        for others in self._others:
            env.process(others.process())

    def _platform(self) -> Generator[Event, object, None]:
        while self._env.now < self._until:
            yield self._env.timeout(SCALE_SECONDS)
            for chute in self._chutes.values():
                chute.scale()

    def _clients(self) -> Generator[Event, object, None]:
        coming = sessions(
            self._random("clients"),
            rate=self._rate,
            until=self._until,
            routers=self._experiment.routers,
            arrivals=self._experiment.arrivals,
        )
        for session in coming:
            yield self._env.timeout(max(session.at - self._env.now, 0.0))
            self._env.process(self._client(session))

    def _client(self, session: Session) -> Generator[Event, object, None]:
        """One conversation. A turn that was refused is lost, and the next comes all the same."""
        planner = self._planners[session.router]
        for turn in session.turns:
            if turn.think:
                yield self._env.timeout(turn.think)
            if self._env.now >= self._until:
                return
            yield from planner.serve(session, turn)

    def _selector(self) -> ISelector:
        name = self._experiment.strategy
        if name == Chance.name:
            return ISelector(Chance())
        if name == Static.name:
            return ISelector(Static())
        if name == Oracle.name:
            return ISelector(Oracle(lambda model: self._chutes[model].load))
        return find_selectors(name)[name]

    def _totals(self) -> _Totals:
        totals = [chute.totals() for chute in self._chutes.values()]
        return _Totals(
            taken=tuple(taken for taken, _ in totals),
            there=tuple(there for _, there in totals),
            came=sum(others.came for others in self._others),
            refused=sum(others.refused for others in self._others),
        )

    def _random(self, *of: object) -> Random:
        """Chance for one purpose: what another strategy draws elsewhere changes nothing here."""
        return chance(f"{self._experiment.seed} {' '.join(map(str, of))}")


def run(experiment: Experiment) -> Outcome:
    """Run it."""
    return Fleet(experiment, start()).run()
