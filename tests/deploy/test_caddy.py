"""Caddy in front of the router, as the Caddyfile has it: valid, and a stream passes as it comes.

It is served over plain HTTP here, which is a matter of CADDY_SITE_ADDRESS.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from socket import socket
from subprocess import DEVNULL, STDOUT, Popen, run

import pytest

from tests.deploy.files import CADDYFILE, DEFAULTS
from tests.e2e.harness import (
    BEST,
    CHAT,
    HOST,
    Router,
    chat,
    eventually,
    fields,
    read,
    router,
    simulator,
)

CADDY = shutil.which("caddy")
BOUND_SECONDS = 15.0
pytestmark = pytest.mark.skipif(CADDY is None, reason="caddy is not installed")


def command(verb: str) -> list[str]:
    return [str(CADDY), verb, "--config", str(CADDYFILE), "--adapter", "caddyfile"]


def environment(home: Path, **settings: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), **settings}


class Caddy:
    def __init__(self, port: int, service: Router) -> None:
        self.port = port
        self.service = service

    @contextmanager
    def connection(self) -> Iterator[HTTPConnection]:
        with closing(HTTPConnection(HOST, self.port, timeout=BOUND_SECONDS)) as connection:
            yield connection

    def answers(self) -> bool:
        with socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0


def free_port() -> int:
    with socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(folder: Path, service: Router, port: int) -> Iterator[Popen[bytes]]:
    with (folder / "caddy.log").open("wb") as output:
        process = Popen(
            command("run"),
            env=environment(
                folder,
                CADDY_SITE_ADDRESS=f"http://{HOST}:{port}",
                CADDY_UPSTREAM=f"{HOST}:{service.port}",
            ),
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(BOUND_SECONDS)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def caddy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caddy]:
    folder = tmp_path_factory.mktemp("caddy")
    with ExitStack() as stack:
        upstream = stack.enter_context(simulator(folder))
        service = stack.enter_context(
            router(
                folder,
                upstream,
                TRUST_PROXY_HEADERS="true",
                TRUSTED_PROXY_CIDRS=f"{HOST}/32",
                ADMIN_TOKEN="a-token-that-is-marked",
            )
        )
        # Caddy cannot be told to take any free port, and one that was free may be gone.
        for _ in range(3):
            found = Caddy(free_port(), service)
            process = stack.enter_context(started(folder, service, found.port))
            eventually(partial(is_over, process, found), "Caddy listens, or gives up")
            if process.poll() is None:
                break
        assert process.poll() is None, (folder / "caddy.log").read_text()
        yield found


def is_over(process: Popen[bytes], found: Caddy) -> bool:
    """Whether the start is, with or without success."""
    return process.poll() is not None or found.answers()


@pytest.mark.parametrize("site", ["localhost", "example.org", ":80"])
@pytest.mark.parametrize("email", ["", "someone@example.org"])
def test_the_file_is_valid(tmp_path: Path, site: str, email: str) -> None:
    done = run(
        command("validate"),
        env=environment(
            tmp_path,
            CADDY_SITE_ADDRESS=site,
            CADDY_EMAIL=email,
            CADDY_UPSTREAM="autopilot:8080",
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_an_event_is_delivered_while_the_upstream_is_still_sending(caddy: Caddy) -> None:
    with caddy.connection() as connection:
        # After its first content this upstream says nothing more, and does not end either.
        body = chat("faults/stall-mid", stream=True)
        connection.request("POST", CHAT, body, fields(None, None))
        with closing(connection.getresponse()) as response:
            assert response.readline().startswith(b"data: {")
            assert caddy.service.metric("autopilot_requests_in_progress") == 1
    caddy.service.wait_idle()


def test_a_whole_stream_passes(caddy: Caddy) -> None:
    with caddy.connection() as connection:
        connection.request("POST", CHAT, chat(BEST, stream=True), fields(None, None))
        reply = read(connection.getresponse())
    assert reply.status == 200
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert "content-encoding" not in reply.headers


def test_a_client_that_leaves_before_the_headers_ends_its_request(caddy: Caddy) -> None:
    def gone() -> float:
        return caddy.service.metric("autopilot_clients_gone_total", phase="headers")

    before = gone()
    with caddy.connection() as connection:
        connection.request("POST", CHAT, chat("faults/header-stall"), fields(None, None))
        eventually(
            lambda: caddy.service.metric("autopilot_requests_in_progress") == 1, "it is under way"
        )
    # Long before UPSTREAM_COMPLETION_TIMEOUT_MS, which would otherwise end it.
    eventually(lambda: gone() == before + 1, "the router is told")
    caddy.service.wait_idle()


def test_metrics_and_explanations_stay_inside(caddy: Caddy) -> None:
    assert caddy.service.call("GET", "/autopilot/candidates").status == 401
    for path, status in (
        ("/metrics", 404),
        ("/metrics/", 404),
        ("/autopilot/candidates", 404),
        ("/healthz", 200),
    ):
        with caddy.connection() as connection:
            connection.request("GET", path)
            assert read(connection.getresponse()).status == status, path


def test_pooled_connections_are_given_up_before_the_router_closes_them() -> None:
    (seconds,) = [
        line.split()[1] for line in CADDYFILE.read_text().splitlines() if "keepalive " in line
    ]
    assert int(seconds.removesuffix("s")) * 1000 < int(DEFAULTS["KEEPALIVE_TIMEOUT_MS"])
