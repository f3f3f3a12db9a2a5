"""Stopping, outliving the platform, and not growing: what an operator sees."""

import signal
from pathlib import Path
from socket import SHUT_WR, create_connection, socket

import pytest

from tests.e2e.harness import (
    ALIAS,
    BEST,
    CHAT,
    HOST,
    SECOND,
    Router,
    Simulator,
    chat,
    ends_broken,
    eventually,
    router,
    simulator,
)

STOPPED = {0, -signal.SIGTERM}
STOP_SECONDS = 5.0


def test_a_router_at_rest_stops_when_told_to(tmp_path: Path, upstream: Simulator) -> None:
    with router(tmp_path, upstream) as service:
        assert service.post(chat(ALIAS)).status == 200
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(STOP_SECONDS) in STOPPED


def test_a_router_with_an_open_stream_stops_and_the_stream_is_visibly_broken(
    tmp_path: Path, upstream: Simulator
) -> None:
    with router(tmp_path, upstream) as service:
        with service.stream(chat("faults/stall-mid", stream=True)) as response:
            assert response.readline().startswith(b"data: {")
            service.process.send_signal(signal.SIGTERM)
            assert ends_broken(response)
        assert service.process.wait(STOP_SECONDS) in STOPPED


def test_an_open_stream_over_http_1_0_is_reset_when_the_router_stops(
    tmp_path: Path, upstream: Simulator
) -> None:
    body = chat("faults/stall-mid", stream=True)
    head = f"POST {CHAT} HTTP/1.0\r\nAuthorization: Bearer t\r\nContent-Length: {len(body)}\r\n\r\n"
    with (
        router(tmp_path, upstream) as service,
        create_connection((HOST, service.port), timeout=10) as connection,
    ):
        connection.sendall(head.encode() + body)
        assert connection.recv(1)
        service.process.send_signal(signal.SIGTERM)
        # Without a length, only a reset tells HTTP/1.0 that this is not the end of the answer.
        with pytest.raises(ConnectionResetError):
            drain(connection)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_router_that_drains_at_once(
    tmp_path: Path, upstream: Simulator, number: signal.Signals
) -> None:
    with (
        router(tmp_path, upstream, DRAIN_GRACE_MS="600000") as service,
        service.stream(chat("faults/stall-mid", stream=True)) as response,
    ):
        assert response.readline().startswith(b"data: {")
        service.process.send_signal(signal.SIGTERM)
        eventually(lambda: not listens(service), "the port is closed")
        assert service.process.poll() is None
        service.process.send_signal(number)
        assert service.process.wait(STOP_SECONDS) == 128 + number
        assert ends_broken(response)


@pytest.mark.parametrize("model", ["faults/header-stall", "faults/stall-mid"])
def test_a_client_that_closes_its_half_counts_as_gone(
    tmp_path: Path, upstream: Simulator, model: str
) -> None:
    body = chat(model, stream=True)
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: r\r\nAuthorization: Bearer t\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with (
        router(tmp_path, upstream) as service,
        create_connection((HOST, service.port), timeout=10) as connection,
    ):
        connection.sendall(head.encode() + body)
        phase = "headers"
        if model == "faults/stall-mid":
            assert connection.recv(1)
            phase = "stream"
        eventually(
            lambda: service.metric("autopilot_requests_in_progress") == 1, "the request is carried"
        )
        connection.shutdown(SHUT_WR)
        service.wait_idle()
        assert service.metric("autopilot_clients_gone_total", phase=phase) == 1
        drain(connection)


def test_the_last_good_picture_outlives_the_platform(tmp_path: Path) -> None:
    with simulator(tmp_path) as first:
        pass
    with simulator(tmp_path, port=first.port) as platform:
        running = router(
            tmp_path,
            platform,
            UTILIZATION_REFRESH_MS="100",
            READYZ_MAX_SNAPSHOT_AGE_MS="1000",
        )
        with running as service:
            models = service.call("GET", "/v1/models").body
            platform.stop()
            eventually(lambda: service.ready() == 503, "/readyz notices")
            assert service.call("GET", "/readyz").code == "stale_snapshot"
            assert service.call("GET", "/healthz").status == 200
            assert service.call("GET", "/v1/models").body == models

            reply = service.post(chat(ALIAS))
            assert (reply.status, reply.code) == (502, "upstream_connect_error")

            with simulator(tmp_path, port=platform.port):
                service.wait_ready()
                assert service.post(chat(ALIAS)).status == 200


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")
def test_two_hundred_requests_leave_neither_descriptors_nor_bodies_behind(
    tmp_path: Path, upstream: Simulator
) -> None:
    prompt = "x" * 256 * 1024
    bodies = [
        chat(BEST, prompt=prompt, max_tokens=1),
        chat(f"faults/cold-503,faults/drop,{SECOND}", prompt=prompt, max_tokens=1),
        chat(f"faults/html-502,{BEST}", prompt=prompt, stream=True, max_tokens=1),
        chat("faults/capacity-429", prompt=prompt),
    ]
    with router(tmp_path, upstream) as service:
        for body in bodies * 2:
            service.post(body)
        descriptors, resident = usage(service)
        for body in bodies * 50:
            assert service.post(body).status in {200, 429}
        service.wait_idle()
        eventually(lambda: usage(service)[0] <= descriptors + 4, "descriptors are given back")
        assert usage(service)[1] - resident < 24 * 1024 * 1024, "200 bodies are 50 MiB"


def listens(service: Router) -> bool:
    """Whether a connection to the router's port is accepted."""
    try:
        create_connection((HOST, service.port), timeout=10).close()
    except ConnectionRefusedError:
        return False
    return True


def drain(connection: socket) -> None:
    """Read to the end, of whichever kind it is."""
    while connection.recv(65_536):
        pass


def usage(service: Router) -> tuple[int, int]:
    """The number of open descriptors, and the bytes in memory."""
    process = Path("/proc") / str(service.process.pid)
    status = dict(
        line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line
    )
    return len(list((process / "fd").iterdir())), int(status["VmRSS"].split()[0]) * 1024
