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
        self._plans: OrderedDict[tuple[str, tuple[str, ...]], IPlan | None] = OrderedDict()

    def moment(self, picture: Picture, needs: Needs) -> Moment:
        """Now, for a request that `needs` so much."""
        self._see(picture)
        utilization = picture.utilization
        timestamp = None if utilization is None else utilization.timestamp
        return Moment(
            feed_age=math.inf if timestamp is None else max(self._wall() - timestamp, 0.0),
            seed=self._seed(),
            needs=needs,
            in_flight=self._learned.in_flight.counts,
            timings=self._learned.observations.timings(now=self._monotonic()),
        )

    def order(
        self, picture: Picture, names: tuple[str, ...], moment: Moment, *, selector: str
    ) -> tuple[str, ...]:
        """`names` in the order of the strategy called `selector`; as they are if it fails."""
        plan = self._plan(picture, names, selector)
        if plan is None:
            return names
        try:
            order = plan.order(moment)
            # A name that was not given is one that the operator or the client may have excluded.
            if len(order) == len(names) and (order == names or set(order) == set(names)):
                return tuple(order)
            _log.error("the selector {name!r} did not order what it was given", name=selector)
        except Exception:  # noqa: BLE001 - whoever wrote it, no request may fail because of it
            _log.failure("the selector {name!r} failed", name=selector)
        self._plans[selector, names] = None
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
        plan = self._plan(picture, names, selector)
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
        plan = self._plan(picture, names, selector)
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

    def _see(self, picture: Picture) -> None:
        if picture is self._picture:
            return
        self._picture = picture
        self._plans.clear()
        self._chutes = {each.name: each.chute for each in picture.candidates}
        if picture.utilization is not None:
            self._learned.in_flight.sampled(picture.utilization.timestamp)

    def _plan(self, picture: Picture, names: tuple[str, ...], selector: str) -> IPlan | None:
        self._see(picture)
        key = selector, names
        if key in self._plans:
            self._plans.move_to_end(key)
            return self._plans[key]
        scene = Scene(names=names, chutes=self._chutes, catalog=picture.catalog)
        plan: IPlan | None = None
        try:
            plan = self.selectors[selector].plan(scene)
        except Exception:  # noqa: BLE001 - as above
            _log.failure("the selector {name!r} failed", name=selector)
        self._plans[key] = plan
        if len(self._plans) > MAX_PLANS:
            self._plans.popitem(last=False)
        return plan
