"""A real process as a value: started in a `with`, its output in a file, gone when the `with` ends.

Demo, smoke and the packaging check all look at the router from outside, as its user does. This module
imports nothing of the router, because the packaging check runs where it is not installed.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"

STOP_SECONDS = 8.0
"""How long a process may take to end by itself. The router gives idle connections five seconds."""

STOPPED = frozenset({0, -signal.SIGTERM})
"""Exit codes of a clean end: twistd shuts down in order and then ends itself with the signal."""

_POLL_SECONDS = 0.02
_PROBE_SECONDS = 2.0
_OK = 200

# What a process needs of its surroundings; a setting that happens to be exported must not reach it.
_INHERITED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")

_COMPLAINT = re.compile(
    r"Traceback \(most recent call last\)|Unhandled"
    r'|"level": "(?:error|critical)"'  # the router's own JSON
    r"|#(?:error|critical)\]"  # Twisted's text, which the simulator writes
)


def surroundings(**settings: str) -> dict[str, str]:
    """An environment with these settings and no others."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return inherited | settings


class Process:
    """One child, in a session of its own, so that Ctrl-C reaches the parent alone, who ends it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        log: Path,
        directory: Path = ROOT,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._environment = environment
        self._directory = directory
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self._child = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its number in the system.

        Raises:
            RuntimeError: it was not started.
        """
        if self._child is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, minus the signal's number if by one; None while it lives."""
        return None if self._child is None else self._child.poll()

    def stop(self) -> int | None:
        """Ask it to end, insist if it does not, and say how it ended."""
        if self._child is None:
            return None
        self._child.terminate()
        try:
            return self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()

    def output(self) -> str:
        """All that it has written."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def tail(self, lines: int = 15) -> str:
        """The last that it has written."""
        return "\n".join(self.output().splitlines()[-lines:]) or "(it wrote nothing)"

    def complaints(self) -> list[str]:
        """Lines of its output that no healthy run has."""
        return [line for line in self.output().splitlines() if _COMPLAINT.search(line)]


def free_ports(number: int) -> list[int]:
    """So many different ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def is_free(port: int) -> bool:
    """Whether one could listen on `port`."""
    with socket.socket() as probe:
        # As Twisted binds: connections of an earlier run that linger are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether `condition` came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def status_of(port: int, path: str) -> int | None:
    """The status that a GET of `path` is answered with; None if nobody answers."""
    connection = HTTPConnection(HOST, port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def is_ready(port: int) -> bool:
    """Whether the router there wants traffic."""
    return status_of(port, "/readyz") == _OK


def twistd() -> Path:
    """The `twistd` of the environment that runs this script."""
    return Path(sys.executable).with_name("twistd")


def simulator(port: int, *options: str, log: Path) -> Process:
    """The embedded platform on `port`."""
    command = (twistd(), "-n", "--pidfile=", "autopilot-simulator", "--listen", f"{HOST}:{port}")
    return Process(
        "simulator", (*command, *options), environment=surroundings(), log=log / "simulator.log"
    )


def router(port: int, upstream: int, log: Path, **settings: str) -> Process:
    """The router on `port` in front of the simulator on `upstream`."""
    platform = f"http://{HOST}:{upstream}"
    return Process(
        "router",
        (twistd(), "-n", "--pidfile=", "autopilot"),
        environment=surroundings(
            LISTEN_ADDR=f"{HOST}:{port}",
            BACKEND_BASE_URL=platform,
            MODELS_URL=f"{platform}/v1/models",
            UTILIZATION_URL=f"{platform}/chutes/utilization",
            **settings,
        ),
        log=log / "router.log",
    )
