"""The parent of several workers: what it owns is gone at the end, and it serves nobody itself."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import values
from twisted.application.service import Application, IProcess
from twisted.internet.testing import MemoryReactorClock

from autopilot.exposition import DIRECTORY
from autopilot.parent import ListeningSocket, ParentService, make_parent
from autopilot.settings import load


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ParentService:
    # Both are of the process, which is not to count in files once this test is over.
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setenv(DIRECTORY, "")
    directory = tmp_path / "counts"
    directory.mkdir()
    return make_parent(
        load({"WORKERS": "2", "LISTEN_ADDR": "127.0.0.1:0"}),
        MemoryReactorClock(),
        directory=directory,
        forced=lambda _children: None,
    )


@pytest.mark.parametrize("uid", [None, os.getuid()])
def test_the_counts_belong_to_whom_the_workers_will_be(
    parent: ParentService, monkeypatch: pytest.MonkeyPatch, uid: int | None
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(os, "chown", lambda *what: given.append(what[1]))
    application = Application("autopilot", uid=uid)
    parent.setServiceParent(cast("Any", application))
    assert IProcess(application).uid == uid
    parent.privilegedStartService()
    assert given == ([] if uid is None else [uid])
    (listening,) = (child for child in parent if isinstance(child, ListeningSocket))
    listening.stopService()


def test_neither_the_web_room_nor_the_data_plane_is_imported() -> None:
    program = "import sys, autopilot.parent; print([m for m in sys.modules if 'autopilot.' in m])"
    told = subprocess.run(  # noqa: S603 - this Python, and a program of ours
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "autopilot.workers.supervisor" in told.stdout
    for room in ("autopilot.web", "autopilot.dataplane"):
        assert room not in told.stdout


def test_the_operators_port_is_bound_beside_the_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setenv(DIRECTORY, "")
    made = make_parent(
        load({"WORKERS": "2", "LISTEN_ADDR": "127.0.0.1:0", "ADMIN_LISTEN_ADDR": "127.0.0.1:0"}),
        MemoryReactorClock(),
        directory=tmp_path,
        forced=lambda _children: None,
    )
    made.privilegedStartService()
    sockets = [child for child in made if isinstance(child, ListeningSocket)]
    assert len({each.fileno() for each in sockets}) == len(sockets) == 2
    for each in sockets:
        each.stopService()
