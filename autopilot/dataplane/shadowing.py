"""Asks another strategy beside the one that is followed, and counts how often and how well it differs.

Nothing of what it says is done. It costs a request what an order costs.
"""

from autopilot.dataplane.choosing import Choice
from autopilot.dataplane.counting import never_raises
from autopilot.dataplane.learning import Learned
from autopilot.dataplane.planning import Planner
from autopilot.interfaces import Seconds
from autopilot.metrics import Metrics
from autopilot.policy.affinity import Place
from autopilot.policy.shadow import Fate, Fates, Side


class Shadowing:
    """Follows the strategy called `selector` in thought. `now` is a monotonic clock.

    Only choices of the operator's own strategy are compared: not those that a client's wish or its
    place has made.
    """

    def __init__(
        self, selector: str, planner: Planner, learned: Learned, metrics: Metrics, *, now: Seconds
    ) -> None:
        self._selector = selector
        self._planner = planner
        self._rests = learned.rests
        self._metrics = metrics
        self._now = now
        self._fates = Fates(self._told)
        learned.on_attempt = self._heard

    @never_raises
    def compare(self, choice: Choice) -> None:
        """Ask the other strategy whom it would have asked first."""
        options = choice.options
        ours = options.weighed and not options.places and options.selector == self._planner.default
        if not ours or options.moment is None or choice.place is Place.STAYED:
            return
        now = self._now()
        order = self._planner.order(
            options.picture, options.names, options.moment, selector=self._selector
        )
        awake = (
            name for name in options.sifted.last(order) if not self._rests.resting(name, now=now)
        )
        followed = choice.candidates[0]
        other = next(awake, followed)
        self._metrics.shadow_choices.labels(choice="same" if other == followed else "other").inc()
        if other != followed:
            self._fates.differed(followed, other, now=now)

    def _told(self, side: Side, fate: Fate, number: int) -> None:
        self._metrics.shadow_fates.labels(side=side.value, fate=fate.value).inc(number)

    @never_raises
    def _heard(self, model: str, seconds: float | None, *, failed: bool) -> None:
        fate = Fate.FAILURE if failed else Fate.SUCCESS
        for side, number in self._fates.heard(model, fate, now=self._now()).items():
            if seconds is not None:
                self._metrics.shadow_first_bytes.labels(side=side.value).inc(number)
                self._metrics.shadow_seconds.labels(side=side.value).inc(seconds * number)
