"""The course of a live run: the first 429 ends it, wherever it comes, and silence is no success."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import live_run
import pytest
from live_plan import OPENING, Face, later_steps, subjects_in
from live_run import Course, Run
from live_sanitise import Sanitiser
from live_store import Store
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from autopilot.controlplane.fetch import Answer, FetchError, FetchFault, Question
from tests.live.test_sanitise import FIXTURES

KEY = "a-made-up-key-of-letters"
CATALOGUE, UTILIZATION = FIXTURES["catalogue"].body, FIXTURES["utilization"].body
PLATFORM = {"/v1/models": CATALOGUE, "/chutes/utilization": UTILIZATION}
PLANNED = len(OPENING) + len(later_steps(subjects_in(CATALOGUE, UTILIZATION, None)))


def course(
    monkeypatch: pytest.MonkeyPatch, folder: Path, statuses: Callable[[int], int | None]
) -> tuple[Course, int]:
    """How a run goes and how much it asks, if its nth question gets this status, or no answer."""
    asked: list[str] = []

    def ask(_client: object, question: Question, **_bounds: object) -> Deferred[Answer]:
        status = statuses(len(asked))
        asked.append(question.url)
        if status is None:
            raise FetchError(FetchFault.CONNECT)
        path = question.url.removeprefix("http://llm").removeprefix("http://api")
        body = PLATFORM.get(path, b"{}") if status in {200, 429} else b"{}"
        return succeed(Answer(status=status, fields=(), body=body))

    monkeypatch.setattr(live_run, "ask", ask)
    clock = Clock()
    run = Run(
        client=cast("Any", None),
        clock=clock,
        urls={Face.LLM: "http://llm", Face.API: "http://api"},
        key=KEY,
        model=None,
        pause=1.0,
        date="2026-01-01",
        store=Store(folder, KEY),
        sanitiser=Sanitiser(KEY),
        say=lambda _text: None,
    )
    ended: list[Course] = []
    Deferred.fromCoroutine(run.perform()).addCallback(ended.append)
    clock.pump([1.0] * PLANNED)
    assert clock.getDelayedCalls() == []
    return ended[0], len(asked)


@pytest.mark.parametrize("place", range(PLANNED))
def test_the_first_429_ends_it_wherever_it_comes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: int
) -> None:
    ended = course(monkeypatch, tmp_path, lambda asked: 429 if asked == place else 200)
    last = place == PLANNED - 1
    assert ended == (Course.WHOLE if last else Course.LIMITED, place + 1)


def test_what_is_not_answered_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended = course(monkeypatch, tmp_path, lambda asked: None if asked == PLANNED - 3 else 200)
    assert ended == (Course.UNANSWERED, PLANNED)


def test_without_a_catalogue_there_is_nobody_to_ask(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert course(monkeypatch, tmp_path, lambda _asked: 503) == (Course.UNANSWERED, 2)
