"""The container's healthcheck: asks the port that the router was told to listen on."""

import subprocess
import sys
from pathlib import Path

import pytest

from autopilot.healthcheck import check, target
from tests.e2e.harness import HOST, eventually, router, simulator


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [
        ("", "127.0.0.1", 8080),
        ("0.0.0.0:81", "127.0.0.1", 81),
        ("[::]:82", "::1", 82),
        ("10.1.2.3:83", "10.1.2.3", 83),
        ("[fd00::1]:84", "fd00::1", 84),
    ],
)
def test_it_asks_where_the_router_listens(listen: str, host: str, port: int) -> None:
    asked = target({"LISTEN_ADDR": listen})
    assert (asked.host, asked.port) == (host, port)


@pytest.mark.parametrize("listen", ["nowhere", "0.0.0.0:0"])
def test_an_address_that_cannot_be_asked_is_unhealthy(listen: str) -> None:
    ready, line = check({"LISTEN_ADDR": listen})
    assert not ready
    assert "LISTEN_ADDR" in line


def asked(port: int) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "autopilot.healthcheck"],
        env={"LISTEN_ADDR": f"{HOST}:{port}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_router_is_healthy_while_it_is_ready_and_only_then(tmp_path: Path) -> None:
    with simulator(tmp_path) as platform:
        running = router(
            tmp_path, platform, UTILIZATION_REFRESH_MS="100", READYZ_MAX_SNAPSHOT_AGE_MS="1000"
        )
        with running as service:
            assert asked(service.port) == (0, "200 ready\n")
            platform.stop()
            eventually(lambda: service.ready() == 503, "/readyz notices")
            code, line = asked(service.port)
            assert (code, line[:4]) == (1, "503 ")
            assert "stale_snapshot" in line
        code, line = asked(service.port)
        assert (code, line) == (1, f"no answer from port {service.port}: ConnectionRefusedError\n")
