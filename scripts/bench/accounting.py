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
class Spent:
    """Processor time so far, in nanoseconds, of each thread of some processes."""

    by_thread: Mapping[str, int]

    @classmethod
    def by(cls, pids: Iterable[int]) -> "Spent":
        """As it stands now. A process that is gone has spent nothing."""
        return cls(
            {
                f"{pid}/{thread.name}": _first_number(thread / "schedstat")
                for pid in pids
                for thread in _threads(pid)
            }
        )

    def since(self, before: "Spent") -> int:
        """Nanoseconds spent after `before`. A thread that ended meanwhile is not counted."""
        return sum(ns - before.by_thread.get(name, 0) for name, ns in self.by_thread.items())


def rss_kib(pids: Iterable[int]) -> int:
    """Resident memory of these processes together, in KiB."""
    return sum(_rss_kib(pid) for pid in pids)


def _threads(pid: int) -> list[Path]:
    try:
        return list((_PROC / str(pid) / "task").iterdir())
    except OSError:
        return []


def _first_number(path: Path) -> int:
    try:
        return int(path.read_text().split()[0])
    except (OSError, IndexError):
        return 0  # the thread has just ended


def _rss_kib(pid: int) -> int:
    try:
        status = (_PROC / str(pid) / "status").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines() if line.startswith("VmRSS:"))
    return next((int(words[1]) for words in lines), 0)
