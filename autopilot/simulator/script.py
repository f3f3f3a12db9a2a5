"""Script: an answer written down before it is given, as timed pieces of bytes and a way to end."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from autopilot.simulator.journal import Outcome


class End(Enum):
    """What happens after the last piece."""

    CLEAN = auto()
    FIN = auto()
    RST = auto()
    STALL = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes to send some seconds after the piece before; no bytes means: flush the headers."""

    after: float
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One answer from status to end; headers go out with the first piece.

    `pieces` may be an iterator, so that a long answer costs no memory: a script is played once.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    pieces: Iterable[Piece]
    end: End = End.CLEAN
    end_after: float = 0.0
    outcome: Outcome = Outcome.COMPLETED
