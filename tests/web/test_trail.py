"""Every routed answer tells who was asked and whose the time was, in two header fields."""

import pytest
from twisted.internet.defer import Deferred

from autopilot.dataplane.upstream import AttemptFailed
from autopilot.policy.failover import CAPACITY_DETAIL, Outcome
from autopilot.policy.picture import Picture
from autopilot.testing import FakeResponse, FakeSticky, picture_of
from tests.web.harness import ALIAS, CHAT, LIMIT, Bench, chat, head, post

ATTEMPTS = "x-chutes-autopilot-attempts"
TIMING = "server-timing"
FULL = b'{"detail": "%s"}' % CAPACITY_DETAIL.encode()


def whole(status: int = 200, *fields: tuple[bytes, bytes]) -> FakeResponse:
    return FakeResponse(status, fields=fields).send(b"answer").end()


def full() -> FakeResponse:
    return FakeResponse(429).send(FULL).end()


@pytest.mark.parametrize("model", [ALIAS, "org/one, org/two"])
def test_a_routed_answer_tells_of_every_attempt(model: str) -> None:
    with Bench(full(), whole()) as bench:
        answer = bench.call(post(chat(model)))
        assert (answer.status, answer.body) == (200, b"answer")
        assert answer.header(ATTEMPTS) == ["org/one;capacity, org/two;success"]
        assert len(answer.header(TIMING)) == 1


def test_a_refusal_that_is_passed_on_is_an_attempt_like_any_other() -> None:
    with Bench(whole(402)) as bench:
        answer = bench.call(post(chat(ALIAS)))
        assert (answer.status, answer.header(ATTEMPTS)) == (402, ["org/one;refused"])


def test_a_refusal_of_our_own_tells_what_came_before_it() -> None:
    failures = [AttemptFailed(Outcome.CONNECTION_LOST) for _each in range(2)]
    with Bench(*failures) as bench:
        answer = bench.call(post(chat(ALIAS)))
        assert (answer.status, answer.code) == (502, "upstream_connection_lost")
        assert answer.header(ATTEMPTS) == ["org/one;connection_lost, org/two;connection_lost"]
        assert len(answer.header(TIMING)) == 1


def test_who_is_told_that_the_router_stops_is_told_whom_it_had_asked() -> None:
    with Bench(None) as bench:
        client = bench.client().ask(ALIAS)
        bench.clock.advance(1.5)
        for connection in bench.connections:
            connection.break_off()
        answer = client.answer()
        assert (answer.status, answer.code) == (503, "draining")
        assert answer.header(ATTEMPTS) == ["org/one;shutdown"]
        assert answer.header(TIMING) == ["autopilot;dur=0.00, upstream;dur=1500.00"]


@pytest.mark.parametrize("body", [b"{", chat("nobody"), chat("org/one")])
def test_without_routing_or_an_attempt_nothing_is_told(body: bytes) -> None:
    with Bench(AttemptFailed(Outcome.CONNECTION_LOST)) as bench:
        answer = bench.call(post(body))
        assert answer.status in {400, 502}
        assert (answer.header(ATTEMPTS), answer.header(TIMING)) == ([], [])


def test_a_direct_answer_is_upstreams_alone() -> None:
    timing = (b"Server-Timing", b"edge;dur=3")
    with Bench(whole(200, timing)) as bench:
        answer = bench.call(post(chat("org/one")))
        assert (answer.header(ATTEMPTS), answer.header(TIMING)) == ([], ["edge;dur=3"])


def test_a_name_that_only_the_client_knows_is_other() -> None:
    with Bench(whole(), picture=Picture()) as bench:
        answer = bench.call(post(chat("my secret, org/one")))
        assert answer.header(ATTEMPTS) == ["other;success"]


def test_a_name_is_told_as_the_catalogue_has_it() -> None:
    with Bench(whole()) as bench:
        answer = bench.call(post(chat("chute-org/two, org/one")))
        assert answer.header(ATTEMPTS) == ["org/two;success"]


def test_what_upstream_says_of_attempts_is_not_ours_and_of_time_is_kept() -> None:
    theirs = (b"X-Chutes-Autopilot-Attempts", b"forged"), (b"Server-Timing", b"edge;dur=3")
    with Bench(whole(200, *theirs)) as bench:
        answer = bench.call(post(chat(ALIAS)))
        assert answer.header(ATTEMPTS) == ["org/one;success"]
        assert answer.header(TIMING)[0] == "edge;dur=3"
        assert answer.header(TIMING)[1].startswith("autopilot;dur=")
    with Bench(whole(200, *theirs)) as bench:
        assert bench.call(post(chat("org/one"))).header(ATTEMPTS) == []


def test_the_wait_for_all_attempts_is_upstreams_time() -> None:
    with Bench(None, None, picture=picture_of("org/one", "org/two")) as bench:
        client = bench.client().ask(ALIAS)
        bench.clock.advance(2.0)
        bench.posted[0].answer.errback(AttemptFailed(Outcome.CONNECTION_LOST))
        bench.clock.advance(0.5)
        slow = FakeResponse()
        bench.posted[1].answer.callback(slow)
        bench.clock.advance(0.25)
        slow.send(b"answer").end()
        assert client.answer().header(TIMING) == ["autopilot;dur=0.00, upstream;dur=2750.00"]


def test_the_wait_for_a_store_of_places_is_our_own() -> None:
    store = FakeSticky()
    with Bench(whole(), sticky=store) as bench:
        client = bench.client().ask(ALIAS)
        bench.clock.advance(0.0125)
        asked: Deferred[str | None] = store.asked[0]
        asked.callback(None)
        assert client.answer().header(TIMING) == ["autopilot;dur=12.50, upstream;dur=0.00"]


def test_time_counts_from_the_last_byte_of_the_request() -> None:
    body = chat(ALIAS)
    with Bench(whole()) as bench:
        client = bench.client()
        client.send(head("POST", CHAT, [("Content-Length", str(len(body)))]), body[:-1])
        bench.clock.advance(5.0)
        client.send(body[-1:])
        assert client.answer().header(TIMING) == ["autopilot;dur=0.00, upstream;dur=0.00"]


def test_the_client_cannot_have_said_it() -> None:
    with Bench(whole()) as bench:
        assert bench.call(post(chat(ALIAS), [(ATTEMPTS, "mine;success")])).status == 400
        answer = bench.call(post(chat(ALIAS), [(TIMING, "mine;dur=1")]))
        assert answer.header(ATTEMPTS) == ["org/one;success"]
        assert len(answer.header(TIMING)) == 1


def test_a_page_of_another_origin_may_read_both() -> None:
    with Bench(whole(), origins=("https://page.test",), limit=LIMIT) as bench:
        answer = bench.call(post(chat(ALIAS), [("Origin", "https://page.test")]))
        (exposed,) = answer.header("access-control-expose-headers")
        assert {ATTEMPTS, TIMING} <= set(exposed.split(", "))
