"""Real processes on loopback: `simulator` and `router` start one each and stop it whatever happens.

Both are twistd processes with an environment of their own, on ports that the kernel chose, and with
their output in a file. Leaving the context of one stops it and insists on a clean log: a failure
that was logged fails the test during which it happened. What takes its time is polled by
`eventually`, whose bound is generous: no test here measures speed.

Tests that share processes keep apart by the `x-request-id` of their requests, which the simulator's
journal shows, and by a token of their own, so that no model sticks from one test to another.
"""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

from prometheus_client.parser import text_string_to_metric_families

HOST = "127.0.0.1"
ALIAS = "chutesai/AutoPilot"
CHAT = "/v1/chat/completions"
BEST, SECOND, THIRD = "sim/Alpha-70B-TEE", "sim/Beta-120B-TEE", "sim/Gamma-32B"
"""The simulator's own models, in the order in which a router ranks them that has seen no load."""

ROOMY = "sim/Theta-400B-TEE"
"""The model whose context takes a body of 2 MB."""

MAX_REQUEST_BYTES = 4 * 1024 * 1024
SELECTED = "x-chutes-autopilot-selected"

_BOUND_SECONDS = 15.0
_POLL_SECONDS = 0.02
TWISTD = Path(sys.executable).with_name("twistd")
_STARTING = re.compile(r"starting on (\d+)")
_QUICK = ("--chunks", "12", "--chunk-delay-ms", "5", "--first-chunk-delay-ms", "5")

T = TypeVar("T")


def eventually(probe: Callable[[], T | None], what: str, seconds: float = _BOUND_SECONDS) -> T:
    """The first result of `probe` that is neither None nor False; fails the test if none comes."""
    deadline = time.monotonic() + seconds
    while True:
        result = probe()
        if result is not None and result is not False:
            return result
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(_POLL_SECONDS)


def fresh(what: str) -> str:
    """A name that nothing else has: a token, a request id."""
    return f"{what}-{uuid4().hex}"


def chat(model: str, *, stream: bool = False, prompt: str = "hello", **more: object) -> bytes:
    """A request body."""
    messages = [{"role": "user", "content": prompt}]
    return json.dumps({"model": model, "stream": stream, "messages": messages, **more}).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One whole answer. `headers` has lower-case names; of repeated ones it has the last."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


class Daemon:
    """One twistd process that listens on `port`."""

    def __init__(
        self, folder: Path, plugin: str, *options: str, settings: Mapping[str, str] | None = None
    ) -> None:
        self.path = folder / f"{fresh(plugin)}.log"
        self.expected: frozenset[str] = frozenset()
        self._read_so_far = 0
        environment = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **(settings or {})}
        with self.path.open("wb") as output:
            self.process = Popen(  # noqa: S603 - our own plug-in, with words from this module
                [TWISTD, "-n", "--pidfile=", plugin, *options],
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
                cwd=folder,
                env=environment,
            )
        try:
            self.port = eventually(self._bound, f"{plugin} listens")
        except BaseException:
            self.stop()
            raise

    @property
    def log(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request on a connection of its own."""
        with self.connection() as connection:
            connection.request(method, path, body, dict(headers or {}))
            return read(connection.getresponse())

    @contextmanager
    def connection(self) -> Iterator[HTTPConnection]:
        with closing(HTTPConnection(HOST, self.port, timeout=_BOUND_SECONDS)) as connection:
            yield connection

    def stop(self) -> int:
        """SIGTERM, and SIGKILL for one that does not listen; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(_BOUND_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()

    def assert_clean_log(self) -> None:
        """Nothing has gone wrong, as far as the log tells, since this was asked last.

        Events that are `expected` may be errors.
        """
        whole = self.log
        log, self._read_so_far = whole[self._read_so_far :], len(whole)
        assert "Traceback" not in log, log
        assert "Unhandled" not in log, log
        for line in log.splitlines():
            # The router writes a failure as its class and places only.
            if line.startswith("{"):
                entry = json.loads(line)
                assert entry["event"] != "failure", line
                if entry["event"] not in self.expected:
                    assert entry["level"] not in {"error", "critical"}, line

    def _bound(self) -> int | None:
        assert self.process.poll() is None, self.log
        found = _STARTING.search(self.log)
        return None if found is None else int(found[1])


def read(response: HTTPResponse) -> Reply:
    """The whole of a response."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Reply(status=response.status, headers=headers, body=response.read())


class Simulator(Daemon):
    """A little Chutes, and its control routes."""

    def set_fault(self, model: str, fault: str, times: int | None = None) -> None:
        body = json.dumps({"fault": fault, "times": times}).encode()
        path = f"/_simulator/faults/{quote(model)}"
        assert self.call("PUT", path, body).status == 200

    def clear_faults(self) -> None:
        assert self.call("DELETE", "/_simulator/faults").status == 200

    def asked(self, request_id: str) -> list[dict[str, Any]]:
        """The journal's entries for one request, each with `model`, `outcome`, `body_sha256`."""
        entries = self.call("GET", "/_simulator/requests").json["requests"]
        return [entry for entry in entries if entry["request_id"] == request_id]

    def models_asked(self, request_id: str) -> list[str]:
        return [entry["model"] for entry in self.asked(request_id)]


class Router(Daemon):
    """The router under test."""

    def post(
        self,
        body: bytes,
        *,
        token: str | None = None,
        request_id: str | None = None,
        path: str = CHAT,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """A completion request, with a token of its own if none is given."""
        return self.call("POST", path, body, fields(token, request_id, headers))

    @contextmanager
    def stream(self, body: bytes, *, request_id: str | None = None) -> Iterator[HTTPResponse]:
        """An answer that is being read; leaving the context closes the connection."""
        with self.connection() as connection:
            connection.request("POST", CHAT, body, fields(None, request_id))
            response = connection.getresponse()
            with closing(response):
                yield response

    def metric(self, name: str, **labels: str) -> float:
        """One sample of `/metrics`."""
        text = self.call("GET", "/metrics").body.decode()
        samples = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        assert len(samples) == 1, f"{name}{labels}: {samples}"
        return samples[0]

    def wait_ready(self) -> None:
        eventually(lambda: self.ready() == 200, "/readyz says 200")

    def wait_idle(self) -> None:
        def idle() -> bool:
            return self.metric("autopilot_requests_in_progress") == 0

        eventually(idle, "no request is in progress")

    def ready(self) -> int:
        return self.call("GET", "/readyz").status


def fields(
    token: str | None, request_id: str | None, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The header fields of a completion request."""
    return {
        "Authorization": f"Bearer {token or fresh('token')}",
        "Content-Type": "application/json",
        "X-Request-ID": request_id or fresh("request"),
        **(more or {}),
    }


@contextmanager
def simulator(folder: Path, *options: str, port: int = 0) -> Iterator[Simulator]:
    """A simulator with a quick pace."""
    daemon = Simulator(
        folder, "autopilot-simulator", "--listen", f"{HOST}:{port}", *_QUICK, *options
    )
    try:
        yield daemon
    finally:
        daemon.stop()
    daemon.assert_clean_log()


@contextmanager
def router(folder: Path, upstream: Simulator, **settings: str) -> Iterator[Router]:
    """A router in front of `upstream`, ready.

    It keeps its first picture of the load for as long as a test lasts, so that the order of models
    does not change under way; `settings` may say otherwise.
    """
    daemon = Router(
        folder,
        "autopilot",
        settings={
            "LISTEN_ADDR": f"{HOST}:0",
            "BACKEND_BASE_URL": upstream.url,
            "MODELS_URL": f"{upstream.url}/v1/models",
            "UTILIZATION_URL": f"{upstream.url}/chutes/utilization",
            "UTILIZATION_REFRESH_MS": "600000",
            "READYZ_MAX_SNAPSHOT_AGE_MS": "600000",
            "MAX_REQUEST_BYTES": str(MAX_REQUEST_BYTES),
            "DRAIN_GRACE_MS": "500",
            **settings,
        },
    )
    try:
        daemon.wait_ready()
        yield daemon
    finally:
        daemon.stop()
    daemon.assert_clean_log()


def ends_broken(response: HTTPResponse) -> bool:
    """Whether the rest of the answer ends in a way that no client can take for a whole one."""
    try:
        response.read()
    except (HTTPException, ConnectionError):
        return True
    return False
