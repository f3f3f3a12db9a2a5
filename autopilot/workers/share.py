"""What one worker has of a service of several."""

from dataclasses import dataclass

from autopilot.ledger import Ledger
from autopilot.workers.member import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What is handed to `autopilot.service.make_service` by `autopilot.worker`.

    `listening` is the descriptor of the socket that all accept from, `admin` that of the operator's if
    he has one, `parent` a process's id.
    """

    member: Member
    ledger: Ledger
    listening: int
    admin: int | None = None
    parent: int

    def processes(self) -> tuple[int, ...]:
        """The ids of the service's live processes."""
        return (self.parent, *self.ledger.processes)
