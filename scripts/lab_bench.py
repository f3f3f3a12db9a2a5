"""The bench: a real router process before a misbehaving upstream, and all that can be seen of it."""

import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, cast

from lab_account import RouterProcess, descriptors, processor_seconds, resident
from lab_client import LONG_SECONDS, PRODUCTION, Client, connect, soon
from processes import HOST, ROOT, free_ports, surroundings, twistd
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.threads import deferToThread

from autopilot.simulator.misbehaving.answers import whole
from autopilot.simulator.misbehaving.listing import catalogue, feed, names
from autopilot.simulator.misbehaving.steps import Send
from autopilot.simulator.misbehaving.upstream import MisbehavingUpstream

LOGS = ROOT / "logs" / "lab"
RUN = LOGS / str(os.getpid())
"""The logs of this run's routers: two runs at once must not write into each other's."""

TOKEN = "cpk_lab0canary0token"  # noqa: S105 - must never be seen anywhere
PROMPT = "lab-canary-prompt"
FORWARDED = "203.0.113.77"
CANARIES = (TOKEN, PROMPT, "127.9.8.7", FORWARDED, "5LabCanaryPaymentAddress")
"""What may stand in no log line, no metric and no error of the router's own."""

READY_SECONDS = 20.0
RANKED = tuple(f"lab/ranked-{n}" for n in range(6))
"""Models in the feed, best first: an alias means them."""

ALL = "/v1/models"
"""The catalogue of all names."""

SOON = "/lab/soon"
"""A catalogue of the names that are used next, for the routers that do not live for long."""

_FEW = 8_000
_POLL_SECONDS = 0.01
_COMPLAINTS = ("Traceback (most recent call last)", "Unhandled", '"level": "critical"')
_REQUEST_ID = "lab-"
_ids = count()


class Router:
    """One router process: its port, its settings, and what it says."""

    def __init__(self, process: RouterProcess, port: int) -> None:
        self.process = process
        self.port = port
        self._read = 0
        self._log: BinaryIO | None = None
        self._requests: dict[str, dict[str, Any]] = {}

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def resident(self) -> int:
        """Resident memory in bytes, of all its processes."""
        return sum(map(resident, self.process.pids))

    @property
    def cpu(self) -> float:
        """Seconds of processor time that its processes have used so far."""
        return sum(map(processor_seconds, self.process.pids))

    @property
    def descriptors(self) -> int:
        """Open files and sockets of all its processes."""
        return sum(map(descriptors, self.process.pids))

    def listens(self) -> bool:
        """Whether a listening socket is bound to its port."""
        wanted = f"{int.from_bytes(bytes(map(int, HOST.split('.'))), 'little'):08X}:{self.port:04X}"
        lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        return any(line.split()[1] == wanted and line.split()[3] == "0A" for line in lines)

    def logged(self, request_id: str) -> dict[str, Any] | None:
        """The log line of a request, once it is there."""
        if self._log is None:
            self._log = self.process.log.open("rb")
        self._log.seek(self._read)
        fresh = self._log.read()
        lines, newline, _rest = fresh.rpartition(b"\n")
        self._read += len(lines) + len(newline)
        for line in lines.split(b"\n"):
            if b'"event": "request"' in line:
                record = json.loads(line)
                # Nobody asks for one that the router has named: a long run has very many of them.
                if record["request_id"].startswith(_REQUEST_ID):
                    self._requests[record["request_id"]] = record
        return self._requests.get(request_id)

    async def log_of(self, request_id: str, within: float = 3.0) -> dict[str, Any] | None:
        """The log line of a request, waited for; to be asked for once, it is forgotten then."""
        await until(lambda: self.logged(request_id) is not None, within)
        return self._requests.pop(request_id, None)

    def complaints(self) -> list[str]:
        """Log lines that no healthy run has."""
        return [
            line[:300]
            for line in self.process.output().splitlines()
            if any(word in line for word in _COMPLAINTS)
        ]

    async def get(self, path: str, within: float = LONG_SECONDS) -> bytes | None:
        """The body of a GET, whatever its status; None without a whole answer in time."""
        try:
            client = await connect(self.port)
        except Exception:  # noqa: BLE001 - refused, timed out, ...: there is no answer
            return None
        client.send(f"GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n".encode())
        await client.until_answered(within)
        answer = client.answer
        client.leave()
        return answer.body if answer is not None and answer.complete else None

    async def status(self, path: str, within: float = LONG_SECONDS) -> int | None:
        """The status that a GET is answered with."""
        try:
            client = await connect(self.port)
        except Exception:  # noqa: BLE001 - as above
            return None
        client.send(f"GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n".encode())
        await client.until_answered(within)
        answer = client.answer
        client.leave()
        return None if answer is None else answer.status

    async def metric(self, name: str, **labels: str) -> float:
        """The value of one of the router's metrics, over all labels that are not named."""
        text = (await self.get("/metrics") or b"").decode()
        return sum(
            float(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def idle(self, within: float = LONG_SECONDS) -> bool:
        """Whether the router comes to carry nothing."""
        deadline = time.monotonic() + within
        while await self.metric("autopilot_requests_in_progress") != 0:
            if time.monotonic() > deadline:
                return False
            await soon(0.02)
        return True


async def until(condition: Callable[[], bool], within: float) -> bool:
    """Whether `condition` came true in time."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        await soon(_POLL_SECONDS)
    return True


@dataclass(kw_only=True)
class Lab:
    """The upstream, the routers that run, and how much is to be done."""

    upstream: MisbehavingUpstream
    upstream_port: int
    level: int
    workers: int = 1
    main: Router = cast("Router", None)  # noqa: RUF009 - set as soon as it is ready
    routers: list[Router] = field(default_factory=list)
    notes: dict[str, object] = field(default_factory=dict)
    logs: Path = RUN

    @asynccontextmanager
    async def router(
        self,
        name: str,
        settings: Mapping[str, str] | None = None,
        *,
        wait: bool = True,
        limit: int | None = None,
        lasting: bool = False,
    ) -> AsyncIterator[Router]:
        """A router with these settings beside the lab's own.

        `limit` is its RLIMIT_NOFILE; `lasting`: it will be asked for more names than `SOON` has.
        """
        (port,) = free_ports(1)
        platform = f"http://{HOST}:{self.upstream_port}"
        catalogue_path = ALL if self.main is None or lasting else SOON
        command: tuple[str | Path, ...] = (twistd(), "-n", "--pidfile=", "autopilot")
        if limit is not None:
            command = ("/bin/sh", "-c", f'ulimit -n {limit} && exec "$@"', "sh", *command)
        environment = {
            "LISTEN_ADDR": f"{HOST}:{port}",
            "BACKEND_BASE_URL": platform,
            "MODELS_URL": platform + catalogue_path,
            "UTILIZATION_URL": f"{platform}/chutes/utilization",
            "WORKERS": str(self.workers),
            **SETTINGS,
            **(settings or {}),
        }
        process = RouterProcess(
            name, command, environment=surroundings(**environment), log=self.logs / f"{name}.log"
        )
        with process:
            try:
                router = Router(process, port)
                self.routers.append(router)
                if wait:
                    await self._ready(router)
                yield router
            finally:
                # In a thread: the upstream, which lives in this one, has to go on meanwhile.
                await deferToThread(process.stop)

    async def word_goes_round(self) -> None:
        """Until every worker has heard what one has learned of a client or a model.

        That takes a millisecond, or as long as a busy machine lets a process wait; a client that asks
        another worker before then meets one that does not know.
        """
        if self.workers > 1:
            await soon(0.1)

    async def _ready(self, router: Router) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not await self._all_ready(router):
            if router.process.exit_code is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"{router.process.name} does not start:\n{router.process.tail()}"
                )
            await soon(0.05)

    async def _all_ready(self, router: Router) -> bool:
        # Each worker takes its share of connections that are open together.
        processes = self.workers + (self.workers > 1)
        if router.process.output().count('"event": "listening"') < processes:
            return False
        asking = [ensureDeferred(router.status("/readyz")) for _ in range(4 * self.workers - 3)]
        return set(await gatherResults(asking)) == {200}


SHORT: Mapping[str, str] = {
    "UPSTREAM_CONNECT_TIMEOUT_MS": "500",
    "UPSTREAM_HEADER_TIMEOUT_MS": "700",
    "UPSTREAM_COMPLETION_TIMEOUT_MS": "1200",
    "UPSTREAM_FIRST_BODY_BYTE_TIMEOUT_MS": "800",
    "STREAM_IDLE_TIMEOUT_MS": "600",
    "CLIENT_HEADER_TIMEOUT_MS": "1000",
    "CLIENT_BODY_TIMEOUT_MS": "1500",
    "KEEPALIVE_TIMEOUT_MS": "2000",
    "CLIENT_STALL_TIMEOUT_MS": "2000",
}
"""The deadlines of the lab: short enough to wait for, and far above what a good answer takes here."""

_LONG: Mapping[str, str] = {
    "UPSTREAM_CONNECT_TIMEOUT_MS": "2000",
    "UPSTREAM_HEADER_TIMEOUT_MS": "10000",
    "UPSTREAM_COMPLETION_TIMEOUT_MS": "600000",
    "UPSTREAM_FIRST_BODY_BYTE_TIMEOUT_MS": "120000",
    "STREAM_IDLE_TIMEOUT_MS": "120000",
    "CLIENT_HEADER_TIMEOUT_MS": "10000",
    "CLIENT_BODY_TIMEOUT_MS": "60000",
    "KEEPALIVE_TIMEOUT_MS": "75000",
    "CLIENT_STALL_TIMEOUT_MS": "60000",
}

SETTINGS: Mapping[str, str] = {
    **(_LONG if PRODUCTION else SHORT),
    "UTILIZATION_REFRESH_MS": "1000",
    "READYZ_MAX_SNAPSHOT_AGE_MS": "60000",
    # The catalogue of all names takes 80 ms to read, which would be seen amid a long run.
    "MODELS_REFRESH_MS": "86400000",
    "READYZ_MAX_ALLOWLIST_AGE_MS": "86400000",
    "MAX_REQUEST_BYTES": "1048576",
}
"""What every router of the lab is started with, unless a scenario says otherwise."""


def deadline(name: str) -> float:
    """One of these deadlines in seconds."""
    return int(SETTINGS[f"{name}_MS"]) / 1000


def new_upstream(*, free: int) -> MisbehavingUpstream:
    """A misbehaving upstream with a catalogue of so many names and those that rank."""
    listed = names(free)
    upstream = MisbehavingUpstream(listed, clock=cast("Any", reactor), now=time.monotonic)
    upstream.serve(ALL, catalogue([*RANKED, *listed]))
    upstream.serve("/chutes/utilization", feed(RANKED))

    def soon_used(_asked: object) -> tuple[Send, ...]:
        return (Send(whole(catalogue([*RANKED, *upstream.next_names(_FEW)]))),)

    upstream.plays[SOON] = soon_used
    return upstream


def start_upstream(port: int, *, free: int) -> MisbehavingUpstream:
    """The same, listening on `port` for as long as this process lives."""
    upstream = new_upstream(free=free)
    cast("Any", reactor).listenTCP(port, upstream, backlog=1024, interface=HOST)
    return upstream


def request_id() -> str:
    """One that nobody has used."""
    return f"{_REQUEST_ID}{next(_ids)}"


def chat_body(model: str, *, stream: bool = True) -> bytes:
    """A chat request with the canary for its prompt."""
    return json.dumps(
        {"model": model, "messages": [{"role": "user", "content": PROMPT}], "stream": stream}
    ).encode()


def request(
    body: bytes, *fields: str, rid: str = "", version: str = "1.1", token: str | None = None
) -> bytes:
    """A whole POST with a token and an address that nobody may write down."""
    lines = [
        f"POST /v1/chat/completions HTTP/{version}",
        "Host: lab",
        f"Authorization: Bearer {token or TOKEN + request_id()}",
        f"X-Forwarded-For: {FORWARDED}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *([f"X-Request-ID: {rid}"] if rid else []),
        *fields,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def opened(router: Router) -> Client:
    """A new client of that router."""
    return await connect(router.port)
