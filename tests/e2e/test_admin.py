"""The operator's port of real processes: each worker answers for itself, and nobody else is let in."""

import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import ALIAS, HOST, Router, Simulator, chat, eventually, read, simulator
from tests.e2e.several import several

CANDIDATES = "/autopilot/candidates"


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with simulator(tmp_path_factory.mktemp("simulator")) as started:
        yield started


def admin_port(service: Router) -> int:
    lines = [json.loads(line) for line in service.log.splitlines() if line.startswith("{")]
    ports = {line["port"] for line in lines if line["event"] == "admin_listening"}
    (port,) = ports
    return int(port)


def asked(port: int, method: str, path: str, body: bytes | None = None) -> Any:
    with closing(HTTPConnection(HOST, port, timeout=20.0)) as connection:
        connection.request(method, path, body)
        reply = read(connection.getresponse())
    assert reply.status == 200
    return reply.json


def test_each_worker_answers_for_itself_at_one_port(tmp_path: Path, upstream: Simulator) -> None:
    with several(tmp_path, upstream, ADMIN_LISTEN_ADDR=f"{HOST}:0") as service:
        port = admin_port(service)
        answered: set[int] = set()

        def both() -> bool:
            account = asked(port, "GET", CANDIDATES)
            assert account["ready"]
            assert account["candidates"]
            answered.add(account["worker"])
            return answered == {0, 1}

        eventually(both, "both workers have answered")
        assert service.call("GET", CANDIDATES).status == 404
        account = asked(port, "POST", "/autopilot/explain", chat(ALIAS))
        served = service.post(chat(ALIAS))
        assert served.headers["x-chutes-autopilot-selected"] == account["candidates"][0]
        assert served.headers["x-chutes-autopilot-attempts"].endswith(";success")
