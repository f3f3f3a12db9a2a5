"""The first byte soonest, by what was measured here.

Use it for people who wait for the answer to begin: chat, completion in an editor. It learns within a
few answers, by size of prompt, and turns away from a model that has become slow or fails. Do not use it
where a process makes only a request now and then: what it measured is then too old to count, and the
feed alone decides. With many routers that begin at once it sends all of them to the same model
until they have measured it.

For a prompt of one size class, in seconds:

    times      = (sum of measured / idle * weight + prior times) / (sum of weights + 1), all classes
    first byte = (measured * weight + times * idle) / (weight + 1), this class
    lost       = failing / (1 - failing) * FAILED_SECONDS
    expected   = first byte + lost

`idle` are the seconds of an idle chute for a class, so that what was measured with prompts of other sizes
tells of this one too. Prior times are scale * (1 + FULL_SLOWDOWN * busy ** BEND), where what `scale` is
multiplied by is rounded to halves; `scale` is how much slower than expected the models turned out that
were measured. `failing` is (measured * weight + refusing) / (weight + 1), at most 0.95; lost is what
failed attempts cost until one succeeds.
"""

import math
from collections.abc import Mapping
from itertools import pairwise

from twisted.plugin import IPlugin
from zope.interface import implementer

from autopilot.interfaces import IPlan, ISelector
from autopilot.policy.outlook import Outlook
from autopilot.policy.scene import Moment, Scene
from autopilot.policy.timings import SIZES, Mean, Timings, size_class
from autopilot.selectors.measuring import (
    Expected,
    Viewing,
    believed,
    by_cost,
    coarse,
    failing_of,
    scale_of,
    share_worse,
    terms_of,
)

START_SECONDS = 0.5
"""The first byte of an idle chute without the prompt: connection, queue, one step of the engine."""

READ_TOKENS = 8_000.0
"""Tokens of a prompt that an idle chute reads in a second."""

FULL_SLOWDOWN = 5.0
"""A full chute needs so many times longer, on top: a request waits for others' slots."""

BEND = 3.0
"""How late in filling the wait begins: with many slots hardly anybody waits at half load."""

FAILED_SECONDS = 1.0
"""What an attempt that fails costs: a refusal comes quickly, a deadline does not."""

_IDLE = tuple(
    START_SECONDS + (low + high) / 2 / READ_TOKENS
    for low, high in pairwise((0, *SIZES, 2 * SIZES[-1]))
)


def _slowdown(outlook: Outlook, trust: float) -> float:
    """How many times the seconds of an idle chute are expected of one that is as busy."""
    return coarse(1.0 + FULL_SLOWDOWN * math.pow(outlook.busy_at(trust), BEND))


def _lost(failing: float) -> float:
    """The seconds that failed attempts cost until one succeeds."""
    return failing / (1.0 - failing) * FAILED_SECONDS


def _times(timings: Timings) -> dict[str, Mean]:
    """How many times the seconds of an idle chute were measured, prompts of all sizes together."""
    sums: dict[str, float] = {}
    weights: dict[str, float] = {}
    for idle, means in zip(_IDLE, timings.first_byte, strict=True):
        for name, mean in means.items():
            sums[name] = sums.get(name, 0.0) + mean.value / idle * mean.weight
            weights[name] = weights.get(name, 0.0) + mean.weight
    return {name: Mean(sums[name] / weight, weight) for name, weight in weights.items() if weight}


class _View:
    """What is expected of each model, for one view of timings and one trust in the feed."""

    __slots__ = ("_names", "_orders", "expected", "lost", "measured", "scale", "times", "timings")

    def __init__(self, names: tuple[str, ...], expected: Expected, timings: Timings) -> None:
        self.timings = timings
        self.expected = expected
        self._names = names
        self._orders: list[tuple[str, ...] | None] = [None] * len(_IDLE)
        self.measured = _times(timings)
        seen = [self.measured.get(name) for name in names]
        self.scale = scale = scale_of(seen, expected.values)
        self.times = [
            believed(mean, scale * value) for mean, value in zip(seen, expected.values, strict=True)
        ]
        failures = timings.failures
        self.lost = [
            _lost(failing_of(failures.get(name), refusing))
            for name, refusing in zip(names, expected.refusing, strict=True)
        ]

    def order(self, size: int) -> tuple[str, ...]:
        """The names, soonest first, for a class of sizes."""
        order = self._orders[size]
        if order is None:
            idle, means = _IDLE[size], self.timings.first_byte[size]
            seconds = [
                believed(means.get(name), times * idle) + lost
                for name, times, lost in zip(self._names, self.times, self.lost, strict=True)
            ]
            order = self._orders[size] = by_cost(self._names, seconds)
        return order


@implementer(IPlan)
class _SoonestFirst:
    """Orders by the seconds expected; one view serves until there are new timings."""

    def __init__(self, scene: Scene) -> None:
        self._views = Viewing(scene, _slowdown, _View)

    def order(self, moment: Moment) -> tuple[str, ...]:
        """See `IPlan`."""
        return self._views.at(moment).order(size_class(moment.needs.prompt_tokens))

    def terms(self, name: str, moment: Moment) -> Mapping[str, float]:
        """See `IPlan`: those of the formulas at the top of this module."""
        view, timings, index = self._views.at(moment), moment.timings, self._views.index[name]
        outlook, trust = self._views.outlooks[index], view.expected.trust
        size = size_class(moment.needs.prompt_tokens)
        own, failures = timings.first_byte[size].get(name), timings.failures.get(name)
        prior = view.times[index] * _IDLE[size]
        return {
            "feed_trust": trust,
            "busy_share": outlook.busy_at(trust),
            "refusing_share": outlook.refusing_at(trust),
            "scale": view.scale,
            "prior_times": view.scale * view.expected.values[index],
            **terms_of("observed_all_sizes", view.measured.get(name), "_times"),
            "times": view.times[index],
            "idle_seconds": _IDLE[size],
            "prior_seconds": prior,
            **terms_of("observed", own, "_seconds"),
            "first_byte_seconds": believed(own, prior),
            **terms_of("failures", failures, "_share"),
            "failing_share": failing_of(failures, outlook.refusing_at(trust)),
            "lost_seconds": view.lost[index],
            "expected_seconds": believed(own, prior) + view.lost[index],
        }

    def disadvantage(self, name: str, rival: str, moment: Moment) -> float:
        """See `IPlan`: the share of the seconds that the rival saves."""
        view, size = self._views.at(moment), size_class(moment.needs.prompt_tokens)
        means = moment.timings.first_byte[size]

        def seconds(name: str) -> float:
            index = self._views.index[name]
            return believed(means.get(name), view.times[index] * _IDLE[size]) + view.lost[index]

        return share_worse(seconds(name), seconds(rival))


@implementer(IPlugin, ISelector)
class Latency:
    """Orders by the expected time to the first byte."""

    name = "latency"

    def plan(self, scene: Scene) -> IPlan:
        """See `ISelector`."""
        return IPlan(_SoonestFirst(scene))
