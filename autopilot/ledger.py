"""How much is being carried, by this process and by the whole service, which may be several.

Each process writes its own cells and reads those of all. Where there are several the cells are shared
memory, so that a limit is the service's without a message: between the look at the sum and the step up
another process may step too, so that a limit can be passed by as many as there are processes, less one.
"""

import mmap
import os
from collections.abc import MutableSequence
from typing import Self, cast

_BYTES = 8
_REQUESTS, _CONNECTIONS, _ACCEPTING, _PROCESS, _FIELDS = range(5)


class Ledger:
    """One process's place, `slot`, among the `cells` of all. Without arguments it is alone."""

    def __init__(self, cells: MutableSequence[int] | None = None, *, slot: int = 0) -> None:
        self._cells: MutableSequence[int] = [0] * _FIELDS if cells is None else cells
        self.slot = slot
        self._at = slot * _FIELDS

    @property
    def requests(self) -> int:
        """Requests that the service is carrying."""
        return sum(self._cells[_REQUESTS::_FIELDS])

    def add_request(self, change: int) -> None:
        """One more here, or one less."""
        self._cells[self._at + _REQUESTS] += change

    @property
    def connections(self) -> int:
        """Connections that the service has."""
        return sum(self._cells[_CONNECTIONS::_FIELDS])

    def has_connections(self, number: int) -> None:
        """So many are here now."""
        self._cells[self._at + _CONNECTIONS] = number

    def accepts(self, now: bool) -> None:  # noqa: FBT001 - its only argument
        """This process accepts connections from `now` on, or no more."""
        self._cells[self._at + _ACCEPTING] = now

    @property
    def surplus(self) -> int:
        """How many more connections are here than with whoever accepts and has the fewest."""
        places = range(0, len(self._cells), _FIELDS)
        accept = [self._cells[at + _CONNECTIONS] for at in places if self._cells[at + _ACCEPTING]]
        here = self._cells[self._at + _CONNECTIONS]
        return here - min(accept, default=here)

    @property
    def processes(self) -> tuple[int, ...]:
        """The ids of the live processes that have a place."""
        return tuple(pid for pid in self._cells[_PROCESS::_FIELDS] if pid)

    def enter(self, process: int) -> None:
        """`process` takes this place, with nothing to carry yet."""
        for field in range(_FIELDS):
            self._cells[self._at + field] = 0
        self._cells[self._at + _PROCESS] = process

    def leave(self) -> None:
        """The process of this place is gone, and what it carried with it."""
        self.enter(0)


class SharedCells:
    """The cells of `slots` processes in anonymous memory that children inherit as `descriptor`."""

    def __init__(self, descriptor: int, slots: int) -> None:
        self.descriptor = descriptor
        self._slots = slots
        self._memory = mmap.mmap(descriptor, slots * _FIELDS * _BYTES)
        self._view = memoryview(self._memory).cast("q")
        self._cells = cast("MutableSequence[int]", self._view)

    @classmethod
    def make(cls, slots: int) -> Self:
        """New ones, all zero."""
        descriptor = os.memfd_create("autopilot-ledger")
        os.ftruncate(descriptor, slots * _FIELDS * _BYTES)
        return cls(descriptor, slots)

    def ledger(self, slot: int) -> Ledger:
        """The place of one process."""
        return Ledger(self._cells, slot=slot)

    def close(self) -> None:
        """Let go of the memory."""
        self._view.release()
        self._memory.close()
        os.close(self.descriptor)
