"""The default selector: the ranking contract, most free instances first.

Use it when clients are many and independent, and the order must be the same everywhere and easy to
check by hand: it knows nothing but the last feed.
"""

from twisted.plugin import IPlugin
from zope.interface import implementer

from autopilot.interfaces import ISelector
from autopilot.policy.catalog import Catalog, Utilization
from autopilot.policy.ranking import rank


@implementer(IPlugin, ISelector)
class Capacity:
    """Orders by the score of `autopilot.policy.ranking`."""

    name = "capacity"

    def order(self, utilization: Utilization, catalog: Catalog) -> tuple[str, ...]:
        """See `ISelector`."""
        return tuple(candidate.name for candidate in rank(utilization, catalog))
