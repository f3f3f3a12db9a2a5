"""A client that leaves takes its upstream request along in the same turn, and is nobody's fault."""

from collections.abc import Callable

import pytest

from autopilot.dataplane.upstream import AttemptFailed
from autopilot.policy.ending import BodyEnd
from autopilot.policy.failover import Outcome
from autopilot.testing import FakeResponse
from tests.web.harness import ALIAS, Bench, Client, chat, post


def gone(bench: Bench, client: Client) -> None:
    """The client leaves; in the turn in which this is noticed everything is over."""
    client.hang_up()
    assert not bench.clock.getDelayedCalls()
    assert bench.in_progress == 0
    assert bench.ends == ["cut"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", [ALIAS, "org/one,org/two", "org/one"])
def test_before_the_headers_the_request_is_cancelled(name: str, *, stream: bool) -> None:
    with Bench() as bench:
        client = bench.client().ask(name, stream=stream)
        assert bench.in_progress == 1
        gone(bench, client)
        assert bench.fake.cancelled == 1
        assert len(bench.posted) == 1
        mode = {ALIAS: "alias", "org/one": "direct"}.get(name, "list")
        assert bench.count("autopilot_requests_total", mode=mode, status="client_gone") == 1.0
        assert bench.count("autopilot_attempts_total", outcome="client_gone") == 1.0
        assert client.received == b""


def waiting_for_first_byte() -> FakeResponse:
    return FakeResponse()


def waiting_for_a_refusal_to_judge() -> FakeResponse:
    return FakeResponse(429).send(b'{"detail":')


@pytest.mark.parametrize("make", [waiting_for_first_byte, waiting_for_a_refusal_to_judge])
def test_before_the_first_byte_the_answer_is_aborted(make: Callable[[], FakeResponse]) -> None:
    upstream = make()
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        gone(bench, client)
        assert upstream.aborted
        assert len(bench.posted) == 1
        assert bench.count("autopilot_requests_total", mode="alias", status="client_gone") == 1.0
        assert bench.count("autopilot_attempts_total", outcome="client_gone") == 1.0
        assert client.received == b""


def test_after_a_failover_only_the_running_attempt_is_cancelled() -> None:
    with Bench(AttemptFailed(Outcome.CONNECTION_LOST), None) as bench:
        client = bench.client().ask(ALIAS)
        assert bench.asked == ["org/one", "org/two"]
        gone(bench, client)
        assert bench.fake.cancelled == 1
        assert len(bench.posted) == 2


def test_leaving_says_nothing_about_the_model() -> None:
    """The client was kept on `org/two`; it leaves, and comes back to it."""
    answering = FakeResponse().send(b"answer").end()
    with Bench(FakeResponse(503).end(), answering, None, FakeResponse().send(b"x").end()) as bench:
        bench.call(post(chat(ALIAS), [("Authorization", "Bearer key")]))
        leaving = bench.client().ask(ALIAS, [("Authorization", "Bearer key")])
        leaving.hang_up()
        bench.call(post(chat(ALIAS), [("Authorization", "Bearer key")]))
        assert bench.asked == ["org/one", "org/two", "org/two", "org/two"]


def test_leaving_after_the_whole_answer_is_no_event() -> None:
    with Bench(FakeResponse().send(b"answer").end()) as bench:
        client = bench.client().ask(ALIAS)
        client.hang_up()
        assert bench.ends == ["whole"]
        assert bench.count("autopilot_stream_ends_total", end="client_gone") == 0.0


@pytest.mark.parametrize("sent", [0, 10, 60])
def test_leaving_before_the_request_is_whole_is_no_request(sent: int) -> None:
    with Bench() as bench:
        client = bench.client().send(post(chat(ALIAS))[:sent])
        client.hang_up()
        assert bench.posted == []
        assert bench.lines() == []
        assert not bench.clock.getDelayedCalls()


def test_a_client_that_reads_slowly_pauses_upstream() -> None:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        client.fill()
        assert upstream.pauses == 1
        client.drain()
        assert not upstream.paused
        upstream.send(b" second").end()
        assert client.answer().body == b"first second"


def test_a_broken_answer_to_a_client_that_does_not_read_is_still_cut() -> None:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        client.fill()
        upstream.end(BodyEnd.BROKEN)
        assert client.wire.closing
        assert not client.answer().whole
        client.settle()
        assert bench.ends == ["cut"]
