"""Journal: what was asked and how it ended, without a prompt or a token, for tests to look at."""

from collections import deque
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from autopilot.simulator.faults import Fault

KEPT = 1000
# Names from a client are cut here: the ring must stay small whatever is sent.
LONGEST_NAME = 256


class Outcome(StrEnum):
    """How a request ended, seen from the platform."""

    OPEN = "open"
    COMPLETED = "completed"
    CLIENT_GONE = "client_gone"
    REFUSED = "refused"
    BROKEN = "broken"


@dataclass(slots=True, kw_only=True)
class Entry:
    """One completion request; `outcome` is the only thing that changes."""

    path: str
    model: str | None
    stream: bool
    request_id: str | None
    invocation_id: str
    body_sha256: str
    fault: Fault | None = None
    outcome: Outcome = Outcome.OPEN


class Journal:
    """The last requests in their order, and how many are still open."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self.in_flight = 0

    def open(self, entry: Entry) -> None:
        """Note a request that has begun."""
        self._entries.append(entry)
        self.in_flight += 1

    def close(self, entry: Entry, outcome: Outcome) -> None:
        """Note how it ended; also right when the ring has dropped the entry meanwhile."""
        entry.outcome = outcome
        self.in_flight -= 1

    def clear(self) -> None:
        """Forget what was asked; what is open stays counted."""
        self._entries.clear()

    def listing(self) -> dict[str, Any]:
        """The journal as the control route shows it, oldest first."""
        return {
            "in_flight": self.in_flight,
            "requests": [asdict(entry) for entry in self._entries],
        }
