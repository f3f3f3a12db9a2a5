"""What the kernel says a process has cost: processor time and memory, and which core it may use."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

GATEWAY_CORE = 0
OTHER_CORE = 1
"""Where upstream and client run: they share a core, so that the gateway has one for itself."""

_PROC = Path("/proc")


def pinned(core: int | None) -> tuple[str, ...]:
    """What to put before a command so that it runs on that core alone; None is any core."""
    return () if core is None else ("taskset", "--cpu-list", str(core))


@dataclass(frozen=True, slots=True)
class Cost:
    """Nanoseconds that threads ran, and nanoseconds that they were ready to but waited for a core."""

    ran: int = 0
    waited: int = 0


@dataclass(frozen=True, slots=True)
class Spent:
    """What each thread of some processes has cost so far."""

    by_thread: Mapping[str, Cost]

    @classmethod
    def by(cls, pids: Iterable[int]) -> "Spent":
        """As it stands now. A process that is gone has spent nothing."""
        return cls(
            {
                f"{pid}/{thread.name}": _cost(thread / "schedstat")
                for pid in pids
                for thread in _threads(pid)
            }
        )

    def since(self, before: "Spent") -> Cost:
        """What was spent after `before`. A thread that ended meanwhile is not counted."""
        pairs = [
            (cost, before.by_thread.get(name, Cost())) for name, cost in self.by_thread.items()
        ]
        return Cost(
            ran=sum(now.ran - then.ran for now, then in pairs),
            waited=sum(now.waited - then.waited for now, then in pairs),
        )


def children(pid: int) -> list[int]:
    """The processes that this one has started and that are there."""
    told = _PROC / str(pid) / "task" / str(pid) / "children"
    try:
        return [int(child) for child in told.read_text().split()]
    except OSError:
        return []


def sockets(pid: int) -> int:
    """How many sockets a process has open."""
    folder = _PROC / str(pid) / "fd"
    return sum(str(each.readlink()).startswith("socket:") for each in folder.iterdir())


def rss_kib(pids: Iterable[int]) -> int:
    """Resident memory of these processes together, in KiB."""
    return sum(_rss_kib(pid) for pid in pids)


def _threads(pid: int) -> list[Path]:
    try:
        return list((_PROC / str(pid) / "task").iterdir())
    except OSError:
        return []


def _cost(path: Path) -> Cost:
    try:
        ran, waited, _slices = path.read_text().split()
    except (OSError, ValueError):
        return Cost()  # the thread has just ended
    return Cost(int(ran), int(waited))


def _rss_kib(pid: int) -> int:
    try:
        status = (_PROC / str(pid) / "status").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines() if line.startswith("VmRSS:"))
    return next((int(words[1]) for words in lines), 0)
