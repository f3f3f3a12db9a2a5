"""One connection, many requests: in order, each answered once."""

import pytest

from autopilot.testing import FakeResponse
from tests.web.harness import ALIAS, Bench, chat, head, post, read_answers


@pytest.mark.parametrize("together", [True, False])
def test_pipelined_requests_are_answered_in_order(*, together: bool) -> None:
    requests = [
        post(chat(ALIAS)),
        head("GET", "/healthz"),
        post(b"{"),
        post(chat("org/one")),
        head("HEAD", "/v1/models"),
    ]
    first, second = FakeResponse(), FakeResponse(length=6)
    with Bench(first, second) as bench:
        client = bench.client().send(*([b"".join(requests)] if together else requests))
        assert client.received == b""
        assert len(bench.posted) == 1
        first.send(b"first").end()
        client.turns()
        second.send(b"second").end()
        client.turns()
        answers = read_answers(client.received, ["POST", "GET", "POST", "POST", "HEAD"])
        assert [answer.status for answer in answers] == [200, 200, 400, 200, 200]
        assert [answers[at].body for at in (0, 1, 3, 4)] == [b"first", b"ok", b"second", b""]
        assert len({tuple(answer.header("x-request-id")) for answer in answers}) == 5
        assert bench.ends == ["whole"] * 5


def test_of_requests_in_one_segment_one_is_answered_in_a_turn_so_that_others_have_theirs() -> None:
    with Bench() as bench:
        client = bench.client()
        client.channel.dataReceived(head("GET", "/metrics") * 5)
        assert len(read_answers(client.received, ["GET"])) == 1
        # To a `Clock` a turn that asks for another is one; to a reactor it is not.
        bench.clock.advance(0)
        assert len(read_answers(client.received, ["GET"] * 5)) == 5
        # Nothing is awaited but the next request.
        assert len(bench.clock.getDelayedCalls()) == 1


def test_who_has_sent_nothing_more_waits_for_no_turn() -> None:
    with Bench(FakeResponse().send(b"answer").end()) as bench:
        client = bench.client()
        client.channel.dataReceived(post(chat(ALIAS)))
        assert client.answer().whole
        client.channel.dataReceived(head("GET", "/healthz"))
        assert client.received.endswith(b"ok")


def test_a_client_that_leaves_amid_its_pipelined_requests_leaves_no_timer() -> None:
    with Bench() as bench:
        client = bench.client()
        client.channel.dataReceived(head("GET", "/metrics") * 5)
        client.hang_up()
        assert bench.clock.getDelayedCalls() == []


def test_a_connection_serves_one_request_after_another() -> None:
    with Bench(*[FakeResponse().send(b"answer").end() for _ in range(3)]) as bench:
        client = bench.client()
        for _ in range(3):
            client.ask(ALIAS)
        answers = read_answers(client.received, ["POST"] * 3)
        assert [answer.body for answer in answers] == [b"answer"] * 3
        assert not client.wire.closing


def test_a_client_that_asks_for_a_close_gets_it_after_its_answer() -> None:
    with Bench(FakeResponse().send(b"answer").end()) as bench:
        client = bench.client().ask(ALIAS, [("Connection", "close")])
        assert client.answer().header("connection") == ["close"]
        assert client.answer().whole
        assert client.wire.closing


def test_one_requests_body_does_not_leak_into_the_next() -> None:
    with Bench(*[FakeResponse().send(b"answer").end() for _ in range(2)]) as bench:
        client = bench.client()
        client.send(post(chat("org/one", padding="x" * 500)))
        client.send(post(chat("org/two")))
        assert bench.posted[1].body == chat("org/two")


def test_two_clients_do_not_wait_for_each_other() -> None:
    slow, quick = FakeResponse(), FakeResponse().send(b"quick").end()
    with Bench(slow, quick) as bench:
        waiting = bench.client().ask(ALIAS)
        assert bench.client().ask(ALIAS).answer().body == b"quick"
        assert waiting.received == b""
        assert bench.in_progress == 1
        slow.send(b"slow").end()
        assert waiting.answer().body == b"slow"
