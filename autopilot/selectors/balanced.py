"""Free capacity is shared out: of two drawn by lot, the one of which more is left.

Use it where there are many requests, or many routers: `capacity` sends all of them to one model until
the next feed, and the feed may be half an hour old. Do not use it where the order has to be the same for
everybody, or where requests are so few that nothing fills up.

    free = instances * max(1 - busy - 2 * refusing, LEAST_ROOM)
    left = (free - in flight / SLOTS) * (1 - failing)

in instances; `busy` and `refusing` are the last figures of the feed as far as its age lets them be
trusted, and the means of an hour for the rest. `failing` is the share of this process's own attempts
that failed lately, measured * weight / (weight + 1). Two models are drawn, each with the chance of its
`left`, so that routers that know nothing of each other share out what is free in its proportions. The
first is the one of which the larger share is left (`left / free`), which is news that the feed has not;
where both are alike, it is the one drawn first. All others follow by `left`.

All that have anything left are drawn from, and not those near the best only: the largest model has by
far the most, and with the others left out it gets all. `research/SELECTION.md` has the numbers, for
`LEAST_ROOM` and `failing` too.

`SLOTS` by Little's law from the feed of 2026-02-18: requests under way are requests per second times
seconds per request. For the 14 chutes with four instances or more, requests per second and busy instance
(an hour's completed requests / 3600 / (instances * utilization)) were from 0.2 for the largest
reasoning models to 7 for the smallest, 1.0 in the middle. At some 20 seconds for an answer in the middle,
and about 100 and 3 at the ends, each comes to about 20 requests under way in a busy instance.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import accumulate

from twisted.plugin import IPlugin
from zope.interface import implementer

from autopilot.interfaces import IPlan, ISelector
from autopilot.policy.outlook import Outlook, trust_in
from autopilot.policy.ranking import strain_of
from autopilot.policy.scene import Moment, Scene
from autopilot.policy.timings import Timings

SLOTS = 20.0
"""Requests that an instance serves at once, see above."""

LEAST_ROOM = 0.2
"""What share of a full chute is counted as free: answers end, and of more instances more do. A mean of
five minutes that says "full" says little of this moment, and less of the next."""

_HALF = 32
_LOW = (1 << _HALF) - 1


class _View:
    """What is free of each model by the feed, for one trust; `names` has the most first."""

    __slots__ = ("free", "names", "trust")

    def __init__(self, outlooks: Mapping[str, Outlook], trust: float) -> None:
        self.trust = trust
        self.free = {
            name: outlook.instances * max(outlook.room_at(trust), LEAST_ROOM)
            for name, outlook in outlooks.items()
        }
        # A reversed sort keeps equal ones as they stand, in the order of the contract.
        self.names = tuple(sorted(outlooks, key=self.free.__getitem__, reverse=True))


@implementer(IPlan)
class _SharedOut:
    """Orders two by lot, and by what is left behind them."""

    def __init__(self, scene: Scene) -> None:
        self._outlooks = {name: Outlook.of(scene.chutes.get(name)) for name in scene.names}
        self._made: _View | None = None
        self._timings: Timings | None = None
        self._answering: dict[str, float] = {}

    def order(self, moment: Moment) -> tuple[str, ...]:
        """See `IPlan`."""
        view = self._view(moment)
        names, left, answering = view.names, view.free, self._answering_of(moment.timings)
        if moment.in_flight or answering:
            left = left.copy()
            for name, requests in moment.in_flight.items():
                if name in left:
                    left[name] -= requests / SLOTS
            for name, share in answering.items():
                if left[name] > 0:
                    left[name] *= share
            names = tuple(sorted(names, key=left.__getitem__, reverse=True))
        some = bisect_left(names, 0.0, key=lambda name: -left[name])
        if some < 2:  # noqa: PLR2004 - two are drawn
            return names
        first, second = _drawn([left[name] for name in names[:some]], moment.seed)
        one, other = names[first], names[second]
        if left[other] * view.free[one] > left[one] * view.free[other]:
            one, other = other, one
        lower, upper = (first, second) if first < second else (second, first)
        return (one, other, *names[:lower], *names[lower + 1 : upper], *names[upper + 1 :])

    def terms(self, name: str, moment: Moment) -> Mapping[str, float]:
        """See `IPlan`: those of the formulas at the top of this module, in instances and shares."""
        view, outlook = self._view(moment), self._outlooks[name]
        requests = moment.in_flight.get(name, 0)
        return {
            "feed_trust": view.trust,
            "instances": outlook.instances,
            "busy_share": outlook.busy_at(view.trust),
            "refusing_share": outlook.refusing_at(view.trust),
            "free_instances": view.free[name],
            "in_flight_requests": float(requests),
            "in_flight_instances": requests / SLOTS,
            "failing_share": 1.0 - self._answering_of(moment.timings).get(name, 1.0),
            "left_instances": self._left(name, view, moment),
        }

    def disadvantage(self, name: str, rival: str, moment: Moment) -> float:
        """See `IPlan`: how much more of the model is taken, refuses or fails, own requests included.

        But no more than how much nearer to refusing it is: nobody gains by moving from a model of which
        half is taken to an idle one.
        """
        view = self._view(moment)
        more = self._taken(name, view, moment) - self._taken(rival, view, moment)
        nearer = self._strain(name, moment) - self._strain(rival, moment)
        return max(min(more, nearer), 0.0)

    def _strain(self, name: str, moment: Moment) -> float:
        outlook = self._outlooks[name]
        if not outlook.instances:
            return 1.0
        room = outlook.room_at(trust_in(moment.feed_age))
        room -= moment.in_flight.get(name, 0) / SLOTS / outlook.instances
        failing = 1.0 - self._answering_of(moment.timings).get(name, 1.0)
        return max(strain_of(1.0 - room), failing)

    def _taken(self, name: str, view: _View, moment: Moment) -> float:
        instances = self._outlooks[name].instances
        if not instances:
            return 1.0
        return 1.0 - min(max(self._left(name, view, moment) / instances, 0.0), 1.0)

    def _left(self, name: str, view: _View, moment: Moment) -> float:
        left = view.free[name] - moment.in_flight.get(name, 0) / SLOTS
        return left * self._answering_of(moment.timings).get(name, 1.0) if left > 0 else left

    def _answering_of(self, timings: Timings) -> Mapping[str, float]:
        """The share of attempts that did not fail, of those models of which some did."""
        if timings is not self._timings:
            self._timings = timings
            self._answering = {
                name: 1.0 - mean.toward(0.0)
                for name, mean in timings.failures.items()
                if mean.value > 0 and name in self._outlooks
            }
        return self._answering

    def _view(self, moment: Moment) -> _View:
        trust = trust_in(moment.feed_age)
        if self._made is None or self._made.trust != trust:
            self._made = _View(self._outlooks, trust)
        return self._made


def _drawn(weights: list[float], seed: int) -> tuple[int, int]:
    """Two different indices, each with the chance of its weight, from the two halves of `seed`."""
    sums = list(accumulate(weights))
    last = len(sums) - 1
    first = min(bisect_right(sums, sums[last] * ((seed & _LOW) / (_LOW + 1))), last)
    # The second is drawn from the others: as if the first took no part of the line.
    taken = weights[first]
    point = (sums[last] - taken) * ((seed >> _HALF & _LOW) / (_LOW + 1))
    if point >= sums[first] - taken:
        point += taken
    second = min(bisect_right(sums, point), last)
    if second == first:
        # Rounding at an edge, or nothing left of the others.
        second = first - 1 if first else 1
    return first, second


@implementer(IPlugin, ISelector)
class Balanced:
    """Orders by lot, by the free capacity that is left."""

    name = "balanced"

    def plan(self, scene: Scene) -> IPlan:
        """See `ISelector`."""
        return IPlan(_SharedOut(scene))
