"""The fastest stream first, by what was measured here.

Use it where answers are long and somebody waits for their end: code, reports, agents. Pace is in bytes of
the stream, so that models whose chunks carry more beside the text look faster than they read. Do not
use it for short answers, which are over before pace matters, or where answers do not stream: nothing
is then measured, and the feed alone decides.

In bytes of a streamed answer per second:

    prior    = scale * IDLE_PACE / (1 + FULL_SLOWDOWN * busy)
    pace     = (measured * weight + prior) / (weight + 1)
    expected = pace * (1 - failing)

`failing` is (measured * weight + refusing) / (weight + 1), at most 0.95: a failed attempt streams
nothing. What `IDLE_PACE` is divided by is rounded to halves; `scale` is how much faster than expected the
models turned out that were measured.
"""

from collections.abc import Mapping

from twisted.plugin import IPlugin
from zope.interface import implementer

from autopilot.interfaces import IPlan, ISelector
from autopilot.policy.outlook import Outlook
from autopilot.policy.scene import Moment, Scene
from autopilot.policy.timings import Timings
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

IDLE_PACE = 12_000.0
"""Bytes per second of an idle chute: 40 tokens, each an event of some 300 bytes."""

FULL_SLOWDOWN = 1.0
"""A full batch streams at half the pace of an empty one: its answers share one engine."""


def _pace(outlook: Outlook, trust: float) -> float:
    """What is expected of a chute that is as busy."""
    return IDLE_PACE / coarse(1.0 + FULL_SLOWDOWN * outlook.busy_at(trust))


class _View:
    """The pace expected of each model, for one view of timings and one trust in the feed."""

    __slots__ = ("expected", "order", "pace", "scale", "timings")

    def __init__(self, names: tuple[str, ...], expected: Expected, timings: Timings) -> None:
        self.timings = timings
        self.expected = expected
        seen = [timings.pace.get(name) for name in names]
        self.scale = scale = scale_of(seen, expected.values)
        failures = timings.failures
        self.pace = [
            believed(mean, scale * value) * (1.0 - failing_of(failures.get(name), refusing))
            for name, mean, value, refusing in zip(
                names, seen, expected.values, expected.refusing, strict=True
            )
        ]
        self.order = by_cost(names, [-pace for pace in self.pace])


@implementer(IPlan)
class _FastestFirst:
    """Orders by the pace expected; one view serves until there are new timings."""

    def __init__(self, scene: Scene) -> None:
        self._views = Viewing(scene, _pace, _View)

    def order(self, moment: Moment) -> tuple[str, ...]:
        """See `IPlan`."""
        return self._views.at(moment).order

    def terms(self, name: str, moment: Moment) -> Mapping[str, float]:
        """See `IPlan`: those of the formulas at the top of this module."""
        view, timings, index = self._views.at(moment), moment.timings, self._views.index[name]
        outlook, trust = self._views.outlooks[index], view.expected.trust
        mean, failures = timings.pace.get(name), timings.failures.get(name)
        prior = view.scale * view.expected.values[index]
        return {
            "feed_trust": trust,
            "busy_share": outlook.busy_at(trust),
            "refusing_share": outlook.refusing_at(trust),
            "scale": view.scale,
            "prior_bytes_per_second": prior,
            **terms_of("observed", mean, "_bytes_per_second"),
            "pace_bytes_per_second": believed(mean, prior),
            **terms_of("failures", failures, "_share"),
            "failing_share": failing_of(failures, outlook.refusing_at(trust)),
            "expected_bytes_per_second": view.pace[index],
        }

    def disadvantage(self, name: str, rival: str, moment: Moment) -> float:
        """See `IPlan`: the share of the time for a stream that the rival saves."""
        pace = self._views.at(moment).pace
        # Time is one over pace, so that the two change places.
        return share_worse(pace[self._views.index[rival]], pace[self._views.index[name]])


@implementer(IPlugin, ISelector)
class Throughput:
    """Orders by the expected pace of a streamed answer."""

    name = "throughput"

    def plan(self, scene: Scene) -> IPlan:
        """See `ISelector`."""
        return IPlan(_FastestFirst(scene))
