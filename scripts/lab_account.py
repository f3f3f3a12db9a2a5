"""What a router costs, as the kernel accounts for it: with workers, all of its processes together."""

import os
from contextlib import suppress
from pathlib import Path

from processes import Process

_COUNTS = ".db"


class RouterProcess(Process):
    """A process whose memory and descriptors are looked at, and those of its children."""

    @property
    def pid(self) -> int:
        """The process id; 0 before it is started."""
        return 0 if self._child is None else self._child.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of all of it: with workers the parent's, and theirs."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return (self.pid, *map(int, children.read_text(encoding="ascii").split()))

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self._child is not None:
            self._child.send_signal(number)


def resident(pid: int) -> int:
    """Resident memory of a process in bytes."""
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid: int) -> float:
    """Seconds of processor time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2]
    ticks = fields.split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def descriptors(pid: int) -> int:
    """Open files and sockets of a process.

    The files in which workers count are left out: each of a few kinds is opened when it is first
    needed, and for good.
    """
    number = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        # One that is closed meanwhile, such as the one that the list was read with.
        with suppress(FileNotFoundError):
            number += descriptor.readlink().suffix != _COUNTS
    return number
