"""How another strategy's choices would have fared: told by what next happened to the models it chose.

Where two strategies choose differently only one choice is followed. The other's fate is that of the next
attempt at its model, whoever's that is; the followed one is judged alike, so that both are compared by
the same measure. What neither tells is how a model would have fared with the load that the other would
have sent there.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

PATIENCE = 60.0
"""Seconds in which somebody must have asked the model: later says little of the moment of the choice."""

MAX_WAITING = 10_000
"""Choices of each side that wait for their fate; the oldest is given up for more."""


class Side(StrEnum):
    """Whose choice. The values are metric labels."""

    FOLLOWED = "followed"
    SHADOW = "shadow"


class Fate(StrEnum):
    """What became of a choice. The values are metric labels."""

    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"
    """Nobody asked that model soon enough."""


@dataclass(frozen=True, slots=True)
class _Choice:
    model: str
    at: float


Told = Callable[[Side, Fate, int], None]
"""Told of a fate, and how many choices share it."""


class Fates:
    """Choices that wait for their fate. Moments are seconds of one monotonic clock."""

    def __init__(self, told: Told) -> None:
        self._told = told
        # In the order in which they were made, and how many wait at each model.
        self._made: dict[Side, deque[_Choice]] = {side: deque() for side in Side}
        self._waiting: dict[Side, dict[str, deque[float]]] = {side: {} for side in Side}

    def differed(self, followed: str, shadow: str, *, now: float) -> None:
        """The strategies chose two models, of which `followed` is asked."""
        for side, model in ((Side.FOLLOWED, followed), (Side.SHADOW, shadow)):
            self._give_up(side, now, room=1)
            self._made[side].append(_Choice(model, now))
            self._waiting[side].setdefault(model, deque()).append(now)

    def heard(self, model: str, fate: Fate, *, now: float) -> dict[Side, int]:
        """An attempt at `model` came to `fate`: for how many choices of each side that speaks."""
        spoken: dict[Side, int] = {}
        for side in Side:
            self._give_up(side, now)
            waiting = self._waiting[side].pop(model, None)
            if waiting:
                spoken[side] = len(waiting)
                self._told(side, fate, len(waiting))
        return spoken

    def _give_up(self, side: Side, now: float, *, room: int = 0) -> None:
        """Let go of those that have waited too long, and of the oldest where there is no `room`."""
        made, waiting = self._made[side], self._waiting[side]
        while made and (made[0].at <= now - PATIENCE or len(made) + room > MAX_WAITING):
            choice = made.popleft()
            at_model = waiting.get(choice.model)
            # Those whose fate is told are no longer there.
            if at_model and at_model[0] == choice.at:
                at_model.popleft()
                if not at_model:
                    del waiting[choice.model]
                self._told(side, Fate.UNKNOWN, 1)
