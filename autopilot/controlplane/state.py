"""The published picture: the one place where the control plane writes and the request path reads."""

from dataclasses import replace

from zope.interface import implementer

from autopilot.interfaces import IPictureSource
from autopilot.policy.catalog import Catalog, Utilization
from autopilot.policy.picture import Picture
from autopilot.policy.ranking import rank


@implementer(IPictureSource)
class RoutingState:
    """Holds the picture and has every change of it ranked anew, at once, by the contract.

    Changes are dated by the monotonic clock that the picture is compared with.
    """

    def __init__(self) -> None:
        self.picture = Picture()

    def catalog_fetched(self, catalog: Catalog, *, at: float) -> None:
        """Publish a catalogue. The last feed is ranked again by it, without waiting for the next."""
        self._publish(
            replace(
                self.picture,
                catalog=catalog,
                catalog_fetched_at=at,
            )
        )

    def catalog_answered_empty(self) -> None:
        """Note that the platform listed no model; what was known stays."""
        self.picture = replace(self.picture, catalog_answered_empty=True)

    def utilization_fetched(self, utilization: Utilization, *, at: float) -> None:
        """Publish a feed."""
        self._publish(
            replace(
                self.picture,
                utilization=utilization,
                utilization_fetched_at=at,
            )
        )

    def _publish(self, picture: Picture) -> None:
        if picture.utilization is not None:
            candidates = rank(picture.utilization, picture.catalog)
            picture = replace(picture, candidates=candidates)
        self.picture = picture
