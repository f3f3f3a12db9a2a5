"""Orders models by a strategy: keeps its plans for one picture, and survives a strategy that fails.

A plan is made once for each strategy and set of models, and serves until the picture changes.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from twisted.logger import Logger

from autopilot.dataplane.learning import Learned
from autopilot.interfaces import IPlan, ISelector, Seconds
from autopilot.policy.catalog import Chute
from autopilot.policy.needs import Needs
from autopilot.policy.picture import Picture
from autopilot.policy.scene import Moment, Scene

_log = Logger(namespace="autopilot.choosing")

MAX_PLANS = 64
"""Plans kept for one picture: clients' constraints make sets of models without end."""


class _Made:
    """What one strategy made of one set of models: its `plan`, None if it failed at it.

    `whole` is the last order that was found to hold each name once: most plans give the same one again.
    """

    __slots__ = ("names", "plan", "selector", "whole")

    def __init__(self, selector: str, names: tuple[str, ...], plan: IPlan | None) -> None:
        self.selector = selector
        self.names = names
        self.plan = plan
        self.whole = names


class Planner:
    """Orders by the strategies in `selectors`, where nobody asks for another by `default`.

    `wall` is compared with the feed's own timestamps; `seed` gives 64 random bits.
    """

    def __init__(
        self,
        selectors: Mapping[str, ISelector],
        default: str,
        *,
        learned: Learned,
        monotonic: Seconds,
        wall: Seconds,
        seed: Callable[[], int],
    ) -> None:
        self.selectors = selectors
        self.default = default
        self._learned = learned
        self._monotonic = monotonic
        self._wall = wall
        self._seed = seed
        self._picture = Picture()
        self._chutes: Mapping[str, Chute] = {}
        self._plans: OrderedDict[tuple[str, tuple[str, ...]], _Made] = OrderedDict()
        self._latest: _Made | None = None

    def moment(self, picture: Picture, needs: Needs) -> Moment:
        """Now, for a request that `needs` so much."""
        now = self._monotonic()
        return Moment(
            feed_age=self._feed_age(picture, now),
            seed=self._seed(),
            needs=needs,
            in_flight=self._learned.in_flight.counts,
            timings=self._learned.observations.timings(now=now),
        )

    def order(
        self, picture: Picture, names: tuple[str, ...], moment: Moment, *, selector: str
    ) -> tuple[str, ...]:
        """`names` in the order of the strategy called `selector`; as they are if it fails."""
        made = self._plan(picture, names, selector)
        if made.plan is None:
            return names
        try:
            order = made.plan.order(moment)
            if order is made.whole:
                return order
            # Another name might be one that the operator does not allow.
            if len(order) == len(names) and set(order) == set(names):
                made.whole = tuple(order)
                return made.whole
            _log.error("the selector {name!r} did not order what it was given", name=selector)
        except Exception:  # noqa: BLE001 - whoever wrote it, no request may fail because of it
            _log.failure("the selector {name!r} failed", name=selector)
        made.plan = None
        return names

    def disadvantage(
        self,
        picture: Picture,
        names: tuple[str, ...],
        name: str,
        rival: str,
        moment: Moment,
        *,
        selector: str,
    ) -> float:
        """How much worse `name` is than `rival`, both of `names`; see `IPlan`. 0 if that fails."""
        plan = self._plan(picture, names, selector).plan
        if plan is None:
            return 0.0
        try:
            found = float(plan.disadvantage(name, rival, moment))
            return found if math.isfinite(found) else 0.0
        except Exception:  # noqa: BLE001 - as above
            _log.failure("the selector {name!r} failed", name=selector)
        return 0.0

    def terms(
        self,
        picture: Picture,
        names: tuple[str, ...],
        moment: Moment,
        *,
        selector: str,
        of: Iterable[str] | None = None,
    ) -> Mapping[str, Mapping[str, float]]:
        """What the place of each of `names` was made of, or of those in `of`, which are among them.

        Nothing if the strategy fails.
        """
        plan = self._plan(picture, names, selector).plan
        if plan is None:
            return {}
        try:
            return {
                name: {str(term): float(value) for term, value in plan.terms(name, moment).items()}
                for name in (names if of is None else of)
            }
        except Exception:  # noqa: BLE001 - as above
            _log.failure("the selector {name!r} failed", name=selector)
        return {}

    def _feed_age(self, picture: Picture, now: float) -> float:
        timestamp = None if picture.utilization is None else picture.utilization.timestamp
        if timestamp is None:
            return math.inf
        fetched_at = picture.utilization_fetched_at
        # Where the feed's clock is ahead of ours, it is at least as old as our fetch of it.
        return max(self._wall() - timestamp, 0.0 if fetched_at is None else now - fetched_at)

    def _plan(self, picture: Picture, names: tuple[str, ...], selector: str) -> _Made:
        if picture is not self._picture:
            self._picture = picture
            self._plans.clear()
            self._latest = None
            self._chutes = {each.name: each.chute for each in picture.candidates}
        latest = self._latest
        if latest is not None and latest.names is names and latest.selector == selector:
            # To look so many names up takes longer than most orders.
            return latest
        key = selector, names
        made = self._plans.get(key)
        if made is None:
            made = self._plans[key] = _Made(
                selector, names, self._planned(picture, names, selector)
            )
            if len(self._plans) > MAX_PLANS:
                self._plans.popitem(last=False)
        else:
            self._plans.move_to_end(key)
        self._latest = made
        return made

    def _planned(self, picture: Picture, names: tuple[str, ...], selector: str) -> IPlan | None:
        scene = Scene(names=names, chutes=self._chutes, catalog=picture.catalog)
        try:
            return self.selectors[selector].plan(scene)
        except Exception:  # noqa: BLE001 - as above
            _log.failure("the selector {name!r} failed", name=selector)
        return None
