"""The ranking contract: most free instances first.

Use it when clients are many and independent, and the order must be the same everywhere and easy to
check by hand: it knows nothing but the last feed. Every client of every router is sent to the same
model until the next one.
"""

import sys
from collections.abc import Mapping

from twisted.plugin import IPlugin
from zope.interface import implementer

from autopilot.interfaces import IPlan, ISelector
from autopilot.policy.ranking import score, strain
from autopilot.policy.scene import Moment, Scene


@implementer(IPlan)
class _AsPublished:
    """The order of the scene, for everybody until the next one."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def order(self, moment: Moment) -> tuple[str, ...]:  # noqa: ARG002 - the same at every moment
        """See `IPlan`."""
        return self._scene.names

    def terms(self, name: str, moment: Moment) -> Mapping[str, float]:  # noqa: ARG002 - as above
        """See `IPlan`: those of `autopilot.policy.ranking`."""
        chute = self._scene.chutes.get(name)
        if chute is None:
            return {}
        terms = score(chute)
        # A count near the largest number that there is, doubled, is infinite.
        return {
            "free_capacity": terms.free_capacity,
            "scale_bonus": terms.scale_bonus,
            "penalty": min(terms.penalty, sys.float_info.max),
            "score": max(terms.total, -sys.float_info.max),
        }

    def disadvantage(self, name: str, rival: str, moment: Moment) -> float:  # noqa: ARG002 - as above
        """See `IPlan`: how much nearer to refusing the model is, not how much smaller or busier."""
        chutes = self._scene.chutes
        return max(strain(chutes.get(name)) - strain(chutes.get(rival)), 0.0)


@implementer(IPlugin, ISelector)
class Capacity:
    """Orders by the score of `autopilot.policy.ranking`."""

    name = "capacity"

    def plan(self, scene: Scene) -> IPlan:
        """See `ISelector`."""
        return IPlan(_AsPublished(scene))
