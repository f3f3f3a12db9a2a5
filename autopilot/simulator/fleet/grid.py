"""Many runs: which there are, in which processes, and how far they are from each other by chance.

Runs share nothing, so that their figures do not depend on how many processes there are. What does not
look at the feed is run once for all its ages.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from autopilot.simulator.fleet.crowd import Arrivals
from autopilot.simulator.fleet.run import BLIND, Experiment, Outcome, run

PROCESSES = 2
"""At most: the machine is used for other things as well."""

UNSEEN = 60.0
"""Seconds between batches where nobody looks at them."""

Told = Callable[[int, int], None]
"""Told how many runs are done, of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """All combinations of these; `seconds` are counted in each run."""

    strategies: Sequence[str]
    feeds: Sequence[float]
    loads: Sequence[float]
    seeds: Sequence[int]
    routers: Sequence[int] = (8,)
    share: float = 0.5
    seconds: float = 3_600.0
    arrivals: Arrivals = Arrivals.POISSON

    def experiments(self) -> tuple[Experiment, ...]:
        """The runs, each once."""
        return tuple(
            Experiment(
                strategy=strategy,
                feed=feed,
                load=load,
                seed=seed,
                routers=routers,
                share=self.share,
                seconds=self.seconds,
                arrivals=self.arrivals,
            )
            for seed in self.seeds
            for load in self.loads
            for routers in self.routers
            for strategy in self.strategies
            for feed in ((UNSEEN,) if strategy in BLIND else self.feeds)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What runs have in common that differ only in their seed."""

    strategy: str
    feed: float
    load: float
    routers: int
    arrivals: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One figure over several seeds, in the seeds' order."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean of all."""
        return fmean(self.values)

    @property
    def least(self) -> float:
        """The least of them."""
        return min(self.values)

    @property
    def most(self) -> float:
        """The most of them."""
        return max(self.values)

    def less(self, other: "Spread") -> "Spread":
        """The differences, seed by seed: both have met the same requests."""
        pairs = zip(self.values, other.values, strict=True)
        return Spread(values=tuple(mine - its for mine, its in pairs))

    @property
    def noise(self) -> bool:
        """Of differences: whether the seeds do not agree on the sign."""
        return self.least <= 0.0 <= self.most


class Results:
    """The figures of many runs, as they are written to a file."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.meta: Mapping[str, Any] = raw["meta"]
        self._figures: dict[Case, dict[int, Mapping[str, float]]] = {}
        for each in raw["runs"]:
            given = each["experiment"]
            case = _case(given, given["feed"])
            self._figures.setdefault(case, {})[given["seed"]] = each["figures"]

    def values(self, of: str) -> tuple[Any, ...]:
        """What one member of `Case` has been, in order."""
        return tuple(sorted({getattr(case, of) for case in self._figures}))

    def spread(self, case: Case, figure: str) -> Spread | None:
        """A figure of all runs of that case; None where there was none."""
        if case.strategy in BLIND:
            case = _case(asdict(case), UNSEEN)
        runs = self._figures.get(case)
        if runs is None:
            return None
        return Spread(values=tuple(runs[seed][figure] for seed in sorted(runs)))


def carry_out(
    experiments: Sequence[Experiment], *, processes: int = PROCESSES, told: Told
) -> list[dict[str, Any]]:
    """Run all, and give them as `Results` takes them, in their order."""
    with ProcessPoolExecutor(max_workers=processes) as pool:
        return _gather(experiments, pool.map(run, experiments), told)


def _gather(
    experiments: Sequence[Experiment], outcomes: Iterable[Outcome], told: Told
) -> list[dict[str, Any]]:
    done = []
    for experiment, outcome in zip(experiments, outcomes, strict=True):
        done.append({"experiment": asdict(experiment), **asdict(outcome)})
        told(len(done), len(experiments))
    return done


def _case(given: Mapping[str, Any], feed: float) -> Case:
    return Case(
        strategy=given["strategy"],
        feed=feed,
        load=given["load"],
        routers=given["routers"],
        arrivals=str(given["arrivals"]),
    )
