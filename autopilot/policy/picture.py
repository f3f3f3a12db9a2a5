"""What is known of the platform at one moment: an immutable value that the control plane replaces.

Moments are seconds of one monotonic clock; `None` means "never".
"""

from dataclasses import dataclass, field

from autopilot.policy.catalog import Catalog, Utilization
from autopilot.policy.ranking import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The last good catalogue and feed, when they were fetched, and the candidates found in them.

    `candidates` are in the order of the ranking contract, best first, and `order` holds their names.
    `catalog_answered_empty` says that the platform has answered with a list of no model.
    """

    catalog: Catalog = field(default_factory=Catalog)
    catalog_fetched_at: float | None = None
    catalog_answered_empty: bool = False
    utilization: Utilization | None = None
    utilization_fetched_at: float | None = None
    candidates: tuple[Candidate, ...] = ()
    order: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", tuple(each.name for each in self.candidates))
