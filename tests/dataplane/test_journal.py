"""What is told of a request: its one line in the log, its histograms, its selection.

Over the whole web room on a `Clock`, because the line is about a request and not about a call; the
last tests over the whole service, because the client library is what they are about.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from twisted.logger import globalLogPublisher

from autopilot.dataplane.upstream import AttemptFailed
from autopilot.logs import observer
from autopilot.policy.ending import BodyEnd
from autopilot.policy.failover import Outcome
from autopilot.policy.picture import Picture
from autopilot.policy.rest import COLD_SECONDS
from autopilot.testing import FakeResponse, picture_of
from tests import test_service as service
from tests.web.harness import ALIAS, Bench

DONE = b"data: [DONE]\n\n"
ID = [("X-Request-Id", "the-id")]


def told(bench: Bench) -> Mapping[str, Any]:
    """The only line of the log, less what every line has."""
    (line,) = bench.lines()
    usual = ("timestamp", "time", "level", "namespace", "logger", "event", "message")
    return {key: value for key, value in line.items() if key not in usual}


def histogram(bench: Bench, name: str, mode: str) -> tuple[float | None, float | None]:
    """How many were observed, and their sum in seconds."""
    full = f"autopilot_{name}_seconds"
    return bench.count(f"{full}_count", mode=mode), bench.count(f"{full}_sum", mode=mode)


def test_the_line_of_an_alias_request_tells_each_attempt_and_how_it_ended() -> None:
    with Bench(None, None) as bench:
        client = bench.client().ask(ALIAS, ID)
        bench.clock.advance(1.5)
        bench.posted[0].answer.callback(FakeResponse(503).end())
        bench.clock.advance(0.25)
        answer = FakeResponse()
        bench.posted[1].answer.callback(answer)
        bench.clock.advance(0.5)
        answer.send(b"data: 1\n\n")
        bench.clock.advance(2)
        assert not bench.lines()
        answer.send(DONE).end()
        assert client.answer().status == 200
        assert told(bench) == {
            "request_id": "the-id",
            "mode": "alias",
            "candidates": 2,
            "place": "none",
            "selected": "org/two",
            "attempts": [
                {"model": "org/one", "outcome": "unavailable", "ms": 1500.0, "rest_s": 2.0},
                {"model": "org/two", "outcome": "success", "ms": 750.0},
            ],
            "status": 200,
            "code": None,
            "end": "complete",
            "bytes": len(b"data: 1\n\n" + DONE),
            "ms": 4250.0,
        }
        assert histogram(bench, "time_to_first_byte", "alias") == (1.0, 2.25)
        assert histogram(bench, "request_duration", "alias") == (1.0, 4.25)


@pytest.mark.parametrize(
    ("model", "mode", "candidates"),
    [
        (ALIAS, "alias", 2),
        ("org/one", "direct", 1),
        ("org/one,", "list", 1),
        ("org/one,org/two,org/three", "list", 3),
        (f"org/one,{ALIAS}", "list", 3),
    ],
)
def test_the_line_names_the_mode_and_counts_the_candidates(
    model: str, mode: str, candidates: int
) -> None:
    picture = picture_of("org/one", "org/two", "org/three")
    with Bench(
        FakeResponse().send(DONE).end(),
        picture=picture if mode == "list" else picture_of("org/one", "org/two"),
    ) as bench:
        bench.client().ask(model)
        line = told(bench)
        assert (line["mode"], line["candidates"]) == (mode, candidates)
        assert line["selected"] == "org/one"
        assert bench.count("autopilot_requests_total", mode=mode, status="200") == 1.0
        assert histogram(bench, "request_duration", mode) == (1.0, 0.0)


def test_the_line_of_a_refused_request_has_its_code_and_nobody_was_asked() -> None:
    with Bench() as bench:
        bench.client().ask("no/Such")
        line = told(bench)
        assert (line["status"], line["code"], line["end"]) == (400, "unknown_model", None)
        assert (line["mode"], line["candidates"], line["selected"]) == ("none", 0, None)
        assert (line["attempts"], line["bytes"]) == ([], 0)
        assert histogram(bench, "time_to_first_byte", "none") == (None, None)
        assert histogram(bench, "request_duration", "none") == (1.0, 0.0)


def test_the_line_of_a_request_that_nobody_answered_has_all_attempts() -> None:
    failures = [AttemptFailed(Outcome.CONNECTION_LOST), AttemptFailed(Outcome.CONNECT_FAILED)]
    with Bench(*failures) as bench:
        bench.client().ask(ALIAS)
        line = told(bench)
        assert [attempt["outcome"] for attempt in line["attempts"]] == [
            "connection_lost",
            "connect_failed",
        ]
        assert (line["status"], line["code"]) == (502, "upstream_connect_error")
        assert line["selected"] is None
        assert histogram(bench, "time_to_first_byte", "alias") == (None, None)


def test_a_refusal_that_is_passed_through_is_told_with_its_model_and_is_no_selection() -> None:
    with Bench(FakeResponse(400).send(b"no").end()) as bench:
        bench.client().ask(ALIAS)
        line = told(bench)
        assert (line["status"], line["selected"], line["bytes"]) == (400, "org/one", 2)
        assert line["attempts"] == [{"model": "org/one", "outcome": "refused", "ms": 0.0}]
        assert bench.count("autopilot_selections_total", mode="alias", model="org/one") is None


@pytest.mark.parametrize("begun", [False, True])
def test_the_line_of_a_client_that_left_has_what_it_had_got(*, begun: bool) -> None:
    with Bench(None) as bench:
        client = bench.client().ask(ALIAS)
        bench.clock.advance(1)
        if begun:
            bench.posted[0].answer.callback(FakeResponse().send(b"12345"))
        bench.clock.advance(2)
        client.hang_up()
        line = told(bench)
        assert (line["status"], line["end"]) == ((200, "client_gone") if begun else (None, None))
        assert (line["bytes"], line["ms"]) == (5 if begun else 0, 3000.0)
        attempt = {"outcome": "success", "ms": 1000.0} if begun else {"outcome": "client_gone"}
        assert line["attempts"] == [{"model": "org/one", "ms": 3000.0} | attempt]
        assert histogram(bench, "request_duration", "alias") == (1.0, 3.0)


def test_the_bytes_of_a_broken_answer_are_those_that_were_sent() -> None:
    with Bench(FakeResponse().send(b"123", b"4567").end(BodyEnd.BROKEN)) as bench:
        bench.client().ask(ALIAS)
        line = told(bench)
        assert (line["end"], line["bytes"], line["status"]) == ("upstream_broken", 7, 200)


def test_each_request_puts_its_own_times_into_the_histograms_of_its_mode() -> None:
    with Bench(None, None, None) as bench:
        for model, seconds in ((ALIAS, 0.25), ("org/one", 4), (ALIAS, 2)):
            bench.client().ask(model)
            bench.clock.advance(seconds)
            bench.posted[-1].answer.callback(FakeResponse().send(DONE).end())
        for name in ("time_to_first_byte", "request_duration"):
            assert histogram(bench, name, "alias") == (2.0, 2.25)
            assert histogram(bench, name, "direct") == (1.0, 4.0)
            bucket = f"autopilot_{name}_seconds_bucket"
            counted = [bench.count(bucket, mode="alias", le=le) for le in ("0.1", "0.25", "2.5")]
            assert counted == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        ("org/one", "direct"),
        ("chute-org/one", "direct"),
        ("org/one:latency", "direct"),
        ("org/one:throughput", "direct"),
        ("chute-org/one:latency", "direct"),
        ("chute-org/one:throughput", "direct"),
        ("org/one,org/two", "list"),
        ("chute-org/one,org/two", "list"),
    ],
)
def test_a_selection_is_counted_under_the_catalogue_id_however_it_was_asked_for(
    model: str, mode: str
) -> None:
    with Bench(FakeResponse().send(DONE).end()) as bench:
        bench.client().ask(model)
        assert bench.asked == [model.partition(",")[0]]
        assert bench.count("autopilot_selections_total", mode=mode, model="org/one") == 1.0
        line = told(bench)
        assert (line["selected"], line["attempts"][0]["model"]) == ("org/one", "org/one")
        text = bench.client().get("/metrics").body.decode()
        assert text.count("autopilot_selections_total{") == 1


@pytest.mark.parametrize(("model", "mode"), [("my/own", "direct"), ("my/own,x", "list")])
def test_a_selection_of_a_name_that_no_catalogue_has_is_counted_as_other(
    model: str, mode: str
) -> None:
    with Bench(FakeResponse().send(DONE).end(), picture=Picture()) as bench:
        bench.client().ask(model)
        assert bench.asked == ["my/own"]
        assert bench.count("autopilot_selections_total", mode=mode, model="other") == 1.0
        line = told(bench)
        assert (line["selected"], line["attempts"][0]["model"]) == (None, "other")
        assert "my/own" not in bench.log.getvalue()


@contextmanager
def logged() -> Iterator[StringIO]:
    """The log while it lasts."""
    lines = StringIO()
    watching = observer(stream=lines, level="debug", style="json")
    globalLogPublisher.addObserver(watching)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(watching)


def test_a_silent_retry_is_no_attempt() -> None:
    bench = service.Bench()
    bench.start()
    bench.feed()
    client = service.Client(bench.net)
    client.ask("org/a")
    used = bench.accept(service.UPSTREAM)
    used.answer(DONE)
    client.answer()
    used.clear()
    with logged() as lines:
        client.ask("org/a")
        assert used.received.startswith(b"POST ")
        used.hang_up()
        bench.accept(service.UPSTREAM).answer(DONE)
        assert client.answer().status == 200
    assert bench.dialled().count(service.UPSTREAM) == 2
    (line,) = (json.loads(text) for text in lines.getvalue().splitlines() if "attempts" in text)
    assert [attempt["outcome"] for attempt in line["attempts"]] == ["success"]
    text = bench.get("/metrics").read().decode()
    for sample in (
        "autopilot_stale_connection_retries_total 1.0",
        'autopilot_attempts_total{outcome="success"} 2.0',
        'autopilot_attempts_total{outcome="connection_lost"} 0.0',
    ):
        assert f"\n{sample}\n" in text
    assert set(re.findall(r"\nautopilot_failovers_total\{.*\} (.*)", text)) == {"0.0"}
    client.leave()
    bench.stop()
    assert bench.left() == []


def test_the_line_tells_what_is_left_of_a_longer_rest() -> None:
    cold = b'{"detail":"No instances available (yet) for chute_id=\'x\'"}'
    answers = [FakeResponse(503).send(cold).end(), FakeResponse().send(DONE).end()]
    with Bench(*answers, FakeResponse(503).end()) as bench:
        bench.client().ask(ALIAS)
        bench.clock.advance(10)
        bench.client().ask("org/one")
        (attempt,) = bench.lines()[-1]["attempts"]
    assert attempt["rest_s"] == COLD_SECONDS - 10
