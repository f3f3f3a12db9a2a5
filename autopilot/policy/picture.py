"""What is known of the platform at one moment: an immutable value that the control plane replaces.

Moments are seconds of one monotonic clock; `None` means "never".
"""

from dataclasses import dataclass, field

from autopilot.policy.catalog import Catalog, Utilization


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The last good catalogue and feed, when they were fetched, and the order made of them.

    `order` holds the names of all candidates, best first; the request path reads nothing else to
    choose. `catalog_answered_empty` says that the platform has answered with a list of no model.
    """

    catalog: Catalog = field(default_factory=Catalog)
    catalog_fetched_at: float | None = None
    catalog_answered_empty: bool = False
    utilization: Utilization | None = None
    utilization_fetched_at: float | None = None
    order: tuple[str, ...] = ()
