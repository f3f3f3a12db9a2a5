"""World: everything the platform knows while it runs, in one value that its doors share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from twisted.internet.interfaces import IReactorTime

from autopilot.simulator.answers import Pace
from autopilot.simulator.catalogue import Catalogue
from autopilot.simulator.evidence import Attestation
from autopilot.simulator.faults import FaultBoard
from autopilot.simulator.feed import Feed
from autopilot.simulator.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The parts of one simulated platform; `clock` drives every delay, `now` every shown time."""

    catalogue: Catalogue
    feed: Feed
    pace: Pace
    clock: IReactorTime
    now: Callable[[], datetime]
    attestation: Attestation
    faults: FaultBoard
    journal: Journal = field(default_factory=Journal)
