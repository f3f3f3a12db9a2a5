"""What this process has seen of each model itself: time to first byte, pace, failures.

An exponentially weighted mean of each, in which an observation counts half after `HALF_LIFE`; what is
left of the weight tells how much the mean is worth. Seconds are of one monotonic clock.
"""

import math
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

HALF_LIFE = 60.0
"""Seconds after which an observation counts half: load on the platform moves within minutes."""

MOST_WEIGHT = 8.0
"""Weight at which a mean is full: of a busy model the last eight answers or so count."""

SIZES = (1_000, 4_000, 16_000, 64_000)
"""Upper bounds of the classes of prompt sizes, in tokens: a long prompt takes long to be read."""

MAX_MODELS = 1_000
"""Models remembered; the one that was asked longest ago is forgotten first."""

FRESH_SECONDS = 0.25
"""How long one view of the means serves: none of them moves much meanwhile, and making it costs."""

_LEAST_WEIGHT = 0.01


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean, and the weight behind it: one observation just made weighs 1."""

    value: float
    weight: float

    def toward(self, prior: float, weight: float = 1.0) -> float:
        """The mean where `prior` is believed beforehand as much as observations of `weight`."""
        return (self.value * self.weight + prior * weight) / (self.weight + weight)


Means = Mapping[str, Mean]
_NO_MEANS: tuple[Means, ...] = ({},) * (len(SIZES) + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """One view of all means, by model; a model of which nothing is known is missing.

    `first_byte` has one mapping for each class of prompt sizes, in seconds; `pace` is in bytes of a
    streamed answer per second; `failures` is the share of attempts that failed, 0 to 1.
    """

    first_byte: tuple[Means, ...] = _NO_MEANS
    pace: Means = field(default_factory=dict)
    failures: Means = field(default_factory=dict)


def size_class(prompt_tokens: int) -> int:
    """The class of a prompt: an index of `Timings.first_byte`."""
    return bisect_right(SIZES, prompt_tokens)


class _Running:
    """A mean that goes on."""

    __slots__ = ("_at", "_value", "_weight")

    def __init__(self) -> None:
        self._value = 0.0
        self._weight = 0.0
        self._at = 0.0

    def observe(self, value: float, now: float) -> None:
        weight = self._left(now)
        self._value = (self._value * weight + value) / (weight + 1.0)
        self._weight = min(weight + 1.0, MOST_WEIGHT)
        self._at = now

    def mean(self, now: float) -> Mean | None:
        if not self._weight:
            # Most sizes of prompts are never seen of most models.
            return None
        weight = self._left(now)
        return Mean(self._value, weight) if weight >= _LEAST_WEIGHT else None

    def _left(self, now: float) -> float:
        return self._weight * math.exp2(min(self._at - now, 0.0) / HALF_LIFE)


class _Of:
    """All that is observed of one model."""

    __slots__ = ("failures", "first_byte", "pace")

    def __init__(self) -> None:
        self.first_byte = tuple(_Running() for _size in range(len(SIZES) + 1))
        self.pace = _Running()
        self.failures = _Running()

    def means(self, now: float) -> tuple[Mean | None, ...]:
        """Those of each size, then pace and failures."""
        return tuple([each.mean(now) for each in (*self.first_byte, self.pace, self.failures)])


class Observations:
    """Takes what is observed, and gives views of it."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, _Of] = OrderedDict()
        self._view = Timings()
        self._viewed_at: float | None = None

    def answered(self, model: str, seconds: float, *, prompt_tokens: int, now: float) -> None:
        """`model` began to answer after `seconds`."""
        of = self._of(model)
        of.first_byte[size_class(prompt_tokens)].observe(seconds, now)
        of.failures.observe(0.0, now)

    def failed(self, model: str, *, now: float) -> None:
        """`model` failed."""
        self._of(model).failures.observe(1.0, now)

    def streamed(self, model: str, sent: int, seconds: float, *, now: float) -> None:
        """`model` took `seconds` to stream `sent` bytes."""
        if seconds > 0:
            self._of(model).pace.observe(sent / seconds, now)

    def timings(self, *, now: float) -> Timings:
        """All means at `now`, or as they were up to `FRESH_SECONDS` before."""
        if self._viewed_at is None or not 0.0 <= now - self._viewed_at < FRESH_SECONDS:
            self._viewed_at = now
            self._view = self._look(now)
        return self._view

    def _look(self, now: float) -> Timings:
        views: tuple[dict[str, Mean], ...] = tuple({} for _mean in range(len(SIZES) + 3))
        spent: list[str] = []
        for model, of in self._models.items():
            means = of.means(now)
            for view, mean in zip(views, means, strict=True):
                if mean is not None:
                    view[model] = mean
            if not any(means):
                spent.append(model)
        # Names come and go for months, and each view looks at all of them.
        for model in spent:
            del self._models[model]
        *first_byte, pace, failures = views
        return Timings(first_byte=tuple(first_byte), pace=pace, failures=failures)

    def _of(self, model: str) -> _Of:
        found = self._models.get(model)
        if found is None:
            found = self._models[model] = _Of()
            if len(self._models) > MAX_MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(model)
        return found
