"""What a peer is: another gateway that can be installed and run before the bench's upstream."""

import os
import re
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Protocol

from accounting import pinned
from processes import HOST, Process, surroundings, wait_until

PATH = "/v1/chat/completions"
MODEL = "bench/model"

_OK = 200
_STOP_SECONDS = 8.0
_ASK_SECONDS = 5.0
_QUESTION = f'{{"model":"{MODEL}","messages":[{{"role":"user","content":"Hello"}}]}}'
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A peer that cannot be had, and why, in words for the report."""

    reason: str


class NotStartedError(RuntimeError):
    """A peer is installed but does not answer; the text says why, in words for the report."""


class Peer(Protocol):
    """A gateway that is measured beside ours."""

    @property
    def name(self) -> str:
        """As the report spells it."""

    @property
    def fast(self) -> bool:
        """Whether one core of it carries 200 streams of 50 events a second each."""

    @property
    def speaks_tls(self) -> bool:
        """Whether it can be told to trust our authority, and then verifies an https upstream."""

    def headers(self, *, upstream: int, tls: bool) -> dict[str, str]:
        """What each request to it must carry beside the usual, for an upstream on that port."""

    def install(self, home: Path) -> str | Absent:
        """Make it usable, under `home` where the peer allows; its version, or why there is none.

        It does nothing when all is there. No part of it takes more than five minutes.
        """

    def running(
        self,
        *,
        port: int,
        upstream: int,
        ca: Path | None,
        home: Path,
        log: Path,
        cpu: int | None = None,
    ) -> AbstractContextManager[list[int]]:
        """Runs it on `port` with one worker, and gives the pids whose cost is the peer's.

        The upstream is https, signed by `ca`, if there is one. `home` is what it was installed with;
        its configuration and files stand in `home`/run. On `cpu` alone it starts if one is given, so
        that pools of threads are sized for one core. At the end of the `with` all of it is gone.

        Raises:
            NotStartedError: it does not answer a question in bounded time.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a peer is started: the command, and what its surroundings say beside the usual."""

    command: Sequence[str | Path]
    settings: Mapping[str, str] = field(default_factory=dict)


class Gateway(ABC):
    """A `Peer` that is one command. What it adds is how it is got and what the command is."""

    name: str
    fast = True
    speaks_tls = True
    start_seconds = 30.0
    """How long it may take until it answers."""

    @abstractmethod
    def install(self, home: Path) -> str | Absent:
        """See `Peer`."""

    @abstractmethod
    def launch(
        self, *, port: int, upstream: int, ca: Path | None, home: Path, directory: Path
    ) -> Launch:
        """The command, after what it reads has been written to `directory`."""

    def headers(self, *, upstream: int, tls: bool) -> dict[str, str]:  # noqa: ARG002 - the interface's
        """None, for most."""
        return {}

    @contextmanager
    def running(
        self,
        *,
        port: int,
        upstream: int,
        ca: Path | None,
        home: Path,
        log: Path,
        cpu: int | None = None,
    ) -> Iterator[list[int]]:
        """See `Peer`."""
        directory = home / "run" / self.name
        directory.mkdir(parents=True, exist_ok=True)
        launch = self.launch(port=port, upstream=upstream, ca=ca, home=home, directory=directory)
        process = Process(
            self.name,
            (*pinned(cpu), *launch.command),
            environment=surroundings(**launch.settings),
            log=log,
            directory=directory,
        )
        fields = self.headers(upstream=upstream, tls=ca is not None)
        with _all_gone_after(process) as family:
            _await_answer(process, lambda: answers(port, fields), self.start_seconds)
            family.extend(_descendants(process.pid))
            yield [process.pid, *family]


@contextmanager
def _all_gone_after(process: Process) -> Iterator[list[int]]:
    """Starts it and, at the end, stops it and whichever child is in the list or found then."""
    family: list[int] = []
    try:
        process.__enter__()
    except OSError as error:
        raise NotStartedError(f"{process.name} cannot be started: {error.strerror}") from error
    try:
        yield family
    finally:
        family.extend(_descendants(process.pid))
        process.stop()
        _end(family)


def _await_answer(process: Process, answering: Callable[[], bool], seconds: float) -> None:
    """Return once it answers.

    Raises:
        NotStartedError: it ended, or did not answer in time.
    """
    if wait_until(lambda: process.exit_code is not None or answering(), seconds):
        if process.exit_code is None:
            return
        raise NotStartedError(f"{process.name} ended: {_last_words(process)}")
    raise NotStartedError(
        f"{process.name} did not answer within {seconds:g} s: {_last_words(process)}"
    )


def answers(port: int, headers: Mapping[str, str] | None = None) -> bool:
    """Whether who listens there answers a question with a 200."""
    connection = HTTPConnection(HOST, port, timeout=_ASK_SECONDS)
    fields = {"Content-Type": "application/json", "Authorization": "Bearer bench"}
    try:
        connection.request("POST", PATH, _QUESTION, fields | dict(headers or {}))
        return connection.getresponse().status == _OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _last_words(process: Process) -> str:
    """The last line that it wrote and that says something."""
    lines = [_COLOUR.sub("", line).strip() for line in process.output().splitlines()]
    return next((line for line in reversed(lines) if line), "it wrote nothing")


def _descendants(pid: int) -> list[int]:
    """Children, and theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):
            for child in (task / "children").read_text(encoding="ascii").split():
                found += [int(child), *_descendants(int(child))]
    return found


def _end(pids: Sequence[int]) -> None:
    """Tell those that have outlived their parent to go, and insist if they do not."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for pid in filter(_lives, pids):
            with suppress(ProcessLookupError):
                os.kill(pid, sign)
        if wait_until(lambda: not any(map(_lives, pids)), _STOP_SECONDS):
            return


def _lives(pid: int) -> bool:
    """Whether it is there and more than an exit code that nobody has asked for."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    # The name before it, which stands in brackets, may hold anything.
    return stat.rpartition(")")[2].split()[0] != "Z"
