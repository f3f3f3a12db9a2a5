"""A router of several processes, looked at from outside: which runs, which holds what, which has ended.

The kernel says who has a connection: its list of sockets has the inode, and a process's descriptors
name theirs.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

from tests.e2e.harness import (
    CHAT,
    HOST,
    Reply,
    Router,
    Simulator,
    eventually,
    fields,
    fresh,
    read,
    router,
)

WORKERS = 2
_ESTABLISHED = "01"


@contextmanager
def several(folder: Path, upstream: Simulator, **settings: str) -> Iterator[Router]:
    """A router with two workers, both ready; whatever happens none of its processes is left."""
    started: set[int] = set()
    try:
        with router(folder, upstream, **{"WORKERS": str(WORKERS), **settings}) as service:
            started |= {service.process.pid, *workers(service)}
            eventually(lambda: all_ready(service), "all are ready")
            yield service
            started |= set(workers(service))
    finally:
        for pid in started:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def workers(service: Router) -> list[int]:
    """The ids of the workers that run now, in no order."""
    pid = service.process.pid
    with suppress(FileNotFoundError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def runs(pid: int) -> bool:
    """Whether there is such a process, that has not merely not been buried yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def all_end(pids: list[int]) -> None:
    """Fails the test unless all of these end."""
    eventually(lambda: not any(map(runs, pids)), "every process ends")


def holder(service: Router, connection: HTTPConnection) -> int:
    """The worker that has accepted `connection`, waited for."""

    def found() -> int | None:
        inode = _inodes(service.port).get(port)
        return next((pid for pid in workers(service) if inode in _sockets(pid)), None)

    port = connection.sock.getsockname()[1]
    return eventually(found, "a worker has accepted the connection")


@contextmanager
def one_to_each(service: Router) -> Iterator[dict[int, HTTPConnection]]:
    """A connection to each worker, to ask that one; waits until all accept."""
    with ExitStack() as stack:
        held: dict[int, HTTPConnection] = {}

        def found() -> bool:
            connection = stack.enter_context(service.connection())
            connection.connect()
            held.setdefault(holder(service, connection), connection)
            return len(held) == WORKERS

        eventually(found, "every worker accepts")
        yield held


def ask(connection: HTTPConnection, body: bytes, *, token: str, request_id: str = "") -> Reply:
    """A completion request on a connection that stays open."""
    connection.request("POST", CHAT, body, fields(token, request_id or None))
    return read(connection.getresponse())


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An answer that has begun, and the worker that carries it."""

    response: HTTPResponse
    worker: int

    def ends_whole(self) -> bool:
        """Whether the rest of it is there, to the last event."""
        return self.response.read().rstrip().endswith(b"data: [DONE]")


@contextmanager
def streams(service: Router, body: bytes, number: int) -> Iterator[list[Stream]]:
    """So many answers that have begun, all asked for before the first is read."""
    with ExitStack() as stack:
        connections = [stack.enter_context(service.connection()) for _ in range(number)]
        for connection in connections:
            connection.request("POST", CHAT, body, fields(fresh("token"), None))
        begun = []
        for connection in connections:
            worker = holder(service, connection)
            response = stack.enter_context(closing(connection.getresponse()))
            assert response.status == 200, response.read()
            assert response.readline().startswith(b"data: {")
            begun.append(Stream(response=response, worker=worker))
        yield begun


def counts_at(worker: int) -> Path:
    """Where the worker and all others of its service count."""
    variables = Path(f"/proc/{worker}/environ").read_bytes().split(b"\0")
    named = b"PROMETHEUS_MULTIPROC_DIR="
    (path,) = [each.removeprefix(named) for each in variables if each.startswith(named)]
    return Path(os.fsdecode(path))


def refuses(service: Router) -> Callable[[], bool]:
    """A probe: whether nobody listens on the router's port any more."""

    def probe() -> bool:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        local = {line.split()[1] for line in lines if line.split()[3] == "0A"}
        return _end(service.port) not in local

    return probe


def all_ready(service: Router) -> bool:
    with one_to_each(service) as held:
        for connection in held.values():
            connection.request("GET", "/readyz")
            if read(connection.getresponse()).status != 200:
                return False
    return True


def _inodes(port: int) -> dict[int, str]:
    """The router's ends of its connections, by the client's port."""
    ends = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _number, local, remote, state, *rest = line.split()
        if local == _end(port) and state == _ESTABLISHED:
            ends[int(remote.rpartition(":")[2], 16)] = rest[5]
    return ends


def _end(port: int) -> str:
    address = bytes(map(int, HOST.split(".")))
    return f"{int.from_bytes(address, 'little'):08X}:{port:04X}"


def _sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    inodes = set()
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                name = str(descriptor.readlink())
                inodes.add(name.removeprefix("socket:[").removesuffix("]"))
    return inodes
