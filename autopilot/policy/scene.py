"""What a strategy may know when it orders models: what is published, and what is known besides.

A `Scene` changes with a feed or a catalogue, so that a strategy may do its thinking once for many
requests; a `Moment` is one request's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from autopilot.policy.catalog import Catalog, Chute
from autopilot.policy.needs import Needs
from autopilot.policy.timings import Timings


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The models to be ordered, and what the platform says of them.

    `names` are in the order of the ranking contract, each once; one that a client named may have no
    row in `chutes`, and no entry in `catalog`.
    """

    names: tuple[str, ...]
    chutes: Mapping[str, Chute]
    catalog: Catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a request is to be routed, and which.

    `feed_age` is in seconds from the feed's own timestamp, but not less than from its fetch; it is
    infinite if there is no timestamp. `in_flight` counts this process's requests that began since this
    feed was first seen and have not ended, by model; a model without any may be missing. `seed` are 64
    random bits: whatever is left to chance is taken from them, so that equal moments give equal orders.
    """

    feed_age: float
    seed: int = 0
    needs: Needs = field(default_factory=Needs)
    in_flight: Mapping[str, int] = field(default_factory=dict)
    timings: Timings = field(default_factory=Timings)
