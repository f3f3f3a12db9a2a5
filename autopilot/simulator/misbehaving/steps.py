"""Steps: what one answer does on the wire, as data; nothing here knows of sockets or time."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Send:
    """These bytes, whatever they are."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Repeat:
    """The same bytes again and again, at the pace at which the peer takes them."""

    data: bytes
    times: int


@dataclass(frozen=True, slots=True)
class Drip:
    """A byte at a time; the moment of each is kept."""

    data: bytes
    every: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Fin:
    """Close, once all that was sent has left."""


@dataclass(frozen=True, slots=True)
class Rst:
    """Reset, once all that was sent has left."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing more, for ever."""


@dataclass(frozen=True, slots=True)
class CloseWhenIdle:
    """Close after so many seconds, unless a request comes before."""

    seconds: float


Step = Send | Repeat | Drip | Pause | Fin | Rst | Stall | CloseWhenIdle

Script = tuple[Step, ...]
"""After its last step the connection is ready for a next request, unless the step says otherwise."""


@dataclass(frozen=True, slots=True)
class Stamped:
    """A byte of a drip."""

    data: bytes


Played = Send | Stamped | Pause | Fin | Rst | Stall | CloseWhenIdle
"""What a script comes to when it is played."""


def played(script: Script) -> Iterator[Played]:
    """The script step by step, with repeats and drips spelled out as they are reached."""
    for step in script:
        match step:
            case Repeat(data, times):
                send = Send(data)
                for _ in range(times):
                    yield send
            case Drip(data, every):
                for at in range(len(data)):
                    if at:
                        yield Pause(every)
                    yield Stamped(data[at : at + 1])
            case _:
                yield step
