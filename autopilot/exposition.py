"""How what is counted is exposed: by one process, or by several that are one service.

Several processes count into files of one directory, by prometheus-client's multiprocess mode, and any
of them exposes the sum. Each process has a slot in that directory. Whoever follows a process that
died takes its slot and goes on from its numbers: there are never more files than slots, no counter
goes back, and nothing is merged while another process reads it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from glob import escape
from pathlib import Path
from typing import Self

from prometheus_client import CollectorRegistry, ProcessCollector, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus-client finds the directory; its name is not ours."""

SLOT = "AUTOPILOT_SLOT"
"""The variable that tells a worker its place among the others, from 0."""

PARENT_SLOT = "parent"
"""The slot of the process that started the workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The directory in which the processes of one service count, and the slot of this process.

    No two living processes may have one slot. A slot is a plain word. The directory has to be new when
    the service starts: what is in it is counted.
    """

    directory: Path
    slot: str

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self | None:
        """What `DIRECTORY` and `SLOT` say. None without both: a process that counts by itself."""
        directory, slot = environ.get(DIRECTORY), environ.get(SLOT)
        return cls(directory=Path(directory), slot=slot) if directory and slot else None

    def join(self, registry: CollectorRegistry) -> CollectorRegistry:
        """Have `registry` expose what all processes counted; gives the one to make new metrics in.

        From here on each metric of this Python process is kept in files, also those of another registry:
        prometheus-client knows one kind of value at a time, and one directory, by the environment.
        """
        os.environ[DIRECTORY] = str(self.directory)
        values.ValueClass = values.MultiProcessValue(lambda: self.slot)
        registry.register(_Counted(self.directory))
        # Not exposed: the files hold what is in it.
        return CollectorRegistry()


def process_gone(directory: Path, slot: str) -> None:
    """Take what the dead process of `slot` was doing out of the gauges. What it counted stays.

    For the process that waits for it, before another is started in its slot: the gauges of a living
    process would be lost.
    """
    mark_process_dead(slot, escape(str(directory)))


class _Counted(Collector):
    """What all processes counted into the files of `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        counted: Iterable[Metric] = MultiProcessCollector.merge(list(self._files()))
        return counted

    def _files(self) -> Iterator[str]:
        for path in sorted(self._directory.glob("*.db")):
            # It may just have been removed with its process, or be so new that it is still empty,
            # which prometheus-client cannot read.
            with suppress(FileNotFoundError):
                if path.stat().st_size:
                    yield str(path)


class Processes(Collector):
    """`process_*` of several processes as of one: sums, and the start of the first. Linux only.

    `pids` are the living ones, the parent of the others among them. One that has gone is left out.
    Processor time includes that of children that have died, or the sum would fall with each of them,
    which looks like a restart of the whole and a rate takes for a burst.
    """

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids

    def collect(self) -> Iterable[Metric]:
        """All that could be read."""
        found: dict[str, list[Metric]] = {}
        dead = 0.0
        for pid in self._pids():
            for family in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                found.setdefault(family.name, []).append(family)
            dead += _seconds_of_dead_children(pid)
        for name, families in found.items():
            numbers = [sample.value for family in families for sample in family.samples]
            if name == "process_start_time_seconds":
                number = min(numbers)
            else:
                number = sum(numbers, dead if name == "process_cpu_seconds" else 0.0)
            whole = families[0]
            whole.samples = [whole.samples[0]._replace(value=number)]
            yield whole


def _seconds_of_dead_children(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    # proc_pid_stat(5): cutime and cstime, counted from what follows the name, which may hold blanks.
    ticks = stat.rpartition(")")[2].split()[13:15]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
