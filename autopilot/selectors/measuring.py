"""Measured here, expected by the feed: how the two are put together, for every strategy that measures.

Of most models a process has seen little, and what the feed lets one expect of them is a guess whose
scale may be wrong for all of them alike. So the guess is scaled by what was measured of others: else
each model that was never asked would look better than all that were, or worse, for ever.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from autopilot.policy.outlook import Outlook, trust_in
from autopilot.policy.scene import Moment, Scene
from autopilot.policy.timings import Mean, Timings

PRIOR_WEIGHT = 1.0
"""Observations that an expectation is worth: the second answer of a model counts more than the feed."""

MOST_FAILING = 0.95
"""A model that fails always is as one that fails so often: odds are finite."""

SLOWDOWN_STEPS = 2
"""Steps in which a busy chute is expected to be slower by once an idle one's time."""

_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Expected:
    """What the feed alone lets one expect of each model, for one trust: it serves for many timings."""

    trust: float
    values: tuple[float, ...]
    refusing: tuple[float, ...]

    @classmethod
    def of(
        cls, outlooks: Iterable[Outlook], trust: float, value: Callable[[Outlook, float], float]
    ) -> Self:
        """That of all `outlooks`, where `value` tells how slow or fast one is expected to be."""
        pairs = [(value(each, trust), each.refusing_at(trust)) for each in outlooks]
        return cls(trust, tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))


class View(Protocol):
    """What a strategy makes of one view of timings and one trust in the feed."""

    expected: Expected
    timings: Timings


V = TypeVar("V", bound=View)


class Viewing(Generic[V]):
    """The models of a scene, and the last view of them: it serves until there are new timings.

    `value` is that of `Expected.of`; `look` makes a view.
    """

    def __init__(
        self,
        scene: Scene,
        value: Callable[[Outlook, float], float],
        look: Callable[[tuple[str, ...], Expected, Timings], V],
    ) -> None:
        self.index = {name: index for index, name in enumerate(scene.names)}
        self.outlooks = tuple(Outlook.of(scene.chutes.get(name)) for name in scene.names)
        self._names = scene.names
        self._value = value
        self._look = look
        self._expected = Expected.of(self.outlooks, 1.0, value)
        self._made: V | None = None

    def at(self, moment: Moment) -> V:
        """The view at `moment`."""
        trust, view = trust_in(moment.feed_age), self._made
        if trust != self._expected.trust:
            self._expected = Expected.of(self.outlooks, trust, self._value)
        if (
            view is None
            or view.timings is not moment.timings
            or view.expected is not self._expected
        ):
            view = self._made = self._look(self._names, self._expected, moment.timings)
        return view


def coarse(slowdown: float) -> float:
    """How much slower than an idle one a chute is expected to be, rounded.

    The feed tells no more; and chutes that are about as busy then stay in the order of the contract,
    which knows how much room they have, instead of all requests going to the smallest of the idle ones.
    """
    return round(slowdown * SLOWDOWN_STEPS) / SLOWDOWN_STEPS


def scale_of(seen: Sequence[Mean | None], expected: Sequence[float]) -> float:
    """What expectations are to be multiplied by: the geometric mean of measured / expected.

    One that is not measured adds nothing, and 1 itself counts as one observation. Geometric, since a
    model that is 50 times slower than expected says little of others.
    """
    logs, weights = 0.0, 1.0
    for mean, guess in zip(seen, expected, strict=True):
        if mean is not None:
            logs += mean.weight * math.log(max(mean.value, _LEAST) / guess)
            weights += mean.weight
    return math.exp(logs / weights)


def believed(mean: Mean | None, expected: float) -> float:
    """What is measured, as far as it is, and what is expected for the rest."""
    return expected if mean is None else mean.toward(expected, PRIOR_WEIGHT)


def failing_of(failures: Mean | None, refusing: float) -> float:
    """The share of attempts that are believed to fail; the feed's refusals are what is expected."""
    return min(believed(failures, refusing), MOST_FAILING)


def terms_of(what: str, mean: Mean | None, unit: str) -> dict[str, float]:
    """What was measured, as terms; nothing where nothing was."""
    return {} if mean is None else {f"{what}{unit}": mean.value, f"{what}_weight": mean.weight}


def share_worse(cost: float, rival: float) -> float:
    """The share of `cost` that is saved by turning to what costs `rival`, 0 to 1."""
    return max(1.0 - rival / cost, 0.0) if cost > 0 else 0.0


def by_cost(names: Sequence[str], costs: Sequence[float]) -> tuple[str, ...]:
    """The cheapest first; equal ones as they stand in `names`."""
    return tuple([names[index] for index in sorted(range(len(names)), key=costs.__getitem__)])
