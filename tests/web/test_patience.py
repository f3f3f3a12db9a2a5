"""How long a client may take, how many may be there, and how the router leaves."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred, succeed

from autopilot.testing import FakeResponse
from autopilot.web.app import DRAINING_RETRY_SECONDS
from autopilot.web.drain import drain
from autopilot.web.limits import RESERVED_CONNECTIONS, connections_for
from autopilot.web.patience import LEAST_BYTES
from tests.web.harness import ALIAS, LIMITS, Bench, Client, chat, head, post

BODY = chat(ALIAS)
BEARER = [("Authorization", "Bearer x")]


@pytest.mark.parametrize("step", [0.5, 3.0])
def test_header_fields_that_trickle_in_are_refused_at_their_deadline(step: float) -> None:
    with Bench() as bench:
        client = bench.client()
        line = head("POST", "/v1/chat/completions")
        sent = 0.0
        while sent + step < LIMITS.headers:
            client.send(line[:1])
            line = line[1:]
            bench.clock.advance(step)
            sent += step
        assert client.received == b""
        bench.clock.advance(LIMITS.headers - sent)
        assert (client.answer().status, client.answer().code) == (408, "request_timeout")
        assert client.wire.half_closed


def test_a_body_that_trickles_in_is_refused_at_its_deadline() -> None:
    with Bench() as bench:
        client = bench.client()
        client.send(post(BODY)[: -len(BODY)])
        for byte in BODY[:20]:
            client.send(bytes([byte]))
            bench.clock.advance(2.9)
        assert client.received == b""
        bench.clock.advance(2.1)
        assert (client.answer().status, client.answer().code) == (408, "request_timeout")
        assert len(bench.posted) == 0


def test_an_idle_connection_is_closed_at_its_limit_and_a_request_renews_it() -> None:
    with Bench() as bench:
        client = bench.client()
        client.get("/healthz")
        bench.clock.advance(LIMITS.idle - 1)
        client.send(head("GET", "/healthz"))
        bench.clock.advance(LIMITS.idle - 1)
        assert not client.wire.closing
        bench.clock.advance(1)
        client.settle()


def test_a_later_request_has_the_header_deadline_too() -> None:
    with Bench() as bench:
        client = bench.client()
        client.get("/healthz")
        client.send(b"GET /heal")
        bench.clock.advance(LIMITS.headers)
        assert b" 408 " in client.received


def test_a_reader_that_stops_is_cut_and_upstream_closed() -> None:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        client.fill()
        bench.clock.advance(LIMITS.stall - 1)
        client.drain()
        client.fill()
        bench.clock.advance(LIMITS.stall - 1)
        assert not client.wire.aborted
        bench.clock.advance(1)
        assert client.wire.aborted
        client.hang_up()
        assert upstream.aborted
        assert bench.count("autopilot_stream_ends_total", end="client_stalled") == 1


def test_a_reader_that_is_slow_is_not_cut_and_one_that_then_stops_is() -> None:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        client.fill()
        for _time in range(4):
            bench.clock.pump([1.0] * round(LIMITS.stall - 1))
            client.wire.taken += LEAST_BYTES
            bench.clock.advance(0.5)
        bench.clock.pump([1.0] * round(LIMITS.stall - 1))
        assert not client.wire.aborted
        bench.clock.pump([1.0] * 3)
        assert client.wire.aborted
        client.hang_up()
        assert bench.count("autopilot_stream_ends_total", end="client_stalled") == 1


def test_a_reader_of_a_byte_now_and_then_is_cut() -> None:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        client.fill()
        for _second in range(round(LIMITS.stall)):
            client.wire.taken += 100
            bench.clock.advance(1.0)
        assert client.wire.aborted


def test_closing_a_connection_does_not_restart_its_stall_limit() -> None:
    with Bench() as bench:
        client = bench.client()
        client.fill()
        client.send(head("GET", "/metrics", [("Connection", "close")]))
        bench.clock.pump([1.0] * round(LIMITS.stall - 1))
        assert not client.wire.aborted
        bench.clock.advance(1.0)
        assert client.wire.aborted


def test_a_stall_limit_below_a_second_is_met_too() -> None:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream, client_limits=replace(LIMITS, stall=0.4)) as bench:
        client = bench.client().ask(ALIAS)
        client.fill()
        bench.clock.pump([0.1] * 5)
        assert client.wire.aborted


def test_a_request_without_a_token_is_refused_before_its_body_where_one_is_required() -> None:
    with Bench(client_limits=replace(LIMITS, require_authorization=True)) as bench:
        client = bench.client().send(head("POST", "/v1/completions", [("Content-Length", "10")]))
        answer = client.answer()
        assert (answer.status, answer.code) == (401, "missing_authorization")
        assert answer.header("www-authenticate") == ["Bearer"]
        assert bench.client().get("/healthz").status == 200


def test_with_a_token_it_is_let_in() -> None:
    answer = FakeResponse().send(b"x").end()
    with Bench(answer, client_limits=replace(LIMITS, require_authorization=True)) as bench:
        assert bench.client().send(post(BODY, BEARER)).answer().status == 200


def test_requests_beyond_the_limit_are_told_to_come_back_and_probes_are_answered() -> None:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream, client_limits=replace(LIMITS, requests=1)) as bench:
        first = bench.client().ask(ALIAS)
        answer = bench.client().ask(ALIAS).answer()
        assert (answer.status, answer.code) == (503, "overloaded")
        assert answer.header("retry-after") == ["1"]
        for path in ("/healthz", "/readyz", "/metrics"):
            assert bench.client().get(path).status in {200, 503}
        assert bench.client().get("/healthz").body == b"ok"
        first.hang_up()
        assert bench.client().ask("no such model").answer().status == 400


@pytest.mark.parametrize("refused", [post(b"x" * 5000), post(b"not json")])
def test_a_refused_request_gives_its_place_back(refused: bytes) -> None:
    with Bench(client_limits=replace(LIMITS, requests=1)) as bench:
        for _request in range(3):
            assert bench.client().send(refused).answer().status in {400, 413}


def test_connections_beyond_the_limit_get_probes_only_and_beyond_the_reserve_nothing() -> None:
    with Bench(client_limits=replace(LIMITS, connections=2)) as bench:
        for _connection in range(2):
            bench.client()
        assert bench.client().ask(ALIAS).answer().code == "overloaded"
        assert bench.client().get("/healthz").status == 200
        clients = [bench.client() for _connection in range(RESERVED_CONNECTIONS)]
        assert clients[-1].wire.aborted
        assert not clients[0].wire.aborted


def test_who_was_there_before_the_limit_was_passed_is_served_on() -> None:
    answers = [FakeResponse().send(b"x").end() for _answer in range(2)]
    with Bench(*answers, client_limits=replace(LIMITS, connections=1)) as bench:
        old = bench.client()
        extra = bench.client()
        assert old.ask(ALIAS).answer().status == 200
        assert extra.ask(ALIAS).answer().code == "overloaded"
        extra.hang_up()
        old.hang_up()
        assert bench.client().ask(ALIAS).answer().status == 200


def test_the_oldest_of_the_reserve_takes_the_place_of_one_that_leaves_and_keeps_it() -> None:
    answers = [FakeResponse().send(b"x").end() for _answer in range(2)]
    with Bench(*answers, client_limits=replace(LIMITS, connections=2)) as bench:
        first, _second, third, fourth = (bench.client() for _connection in range(4))
        first.hang_up()
        assert third.ask(ALIAS).answer().status == 200
        strangers = [bench.client() for _connection in range(3)]
        third.drain()
        assert third.ask(ALIAS).received.count(b"HTTP/1.1 200") == 2
        strangers[0].hang_up()
        assert fourth.ask(ALIAS).answer().code == "overloaded"


def test_the_number_of_connections_follows_from_the_descriptors() -> None:
    assert connections_for(256) == 96
    assert connections_for(10) == 16
    assert connections_for(1_048_576) == 524_256


class Leaving:
    """A drain of the bench, with a grace of 30 s."""

    def __init__(self, bench: Bench, *, lag: float = 0.0) -> None:
        self.port_closed = False
        self.done = Deferred.fromCoroutine(
            drain(
                bench.connections,
                bench.clock,
                stop_listening=self._stop_listening,
                lag=lag,
                grace=30.0,
            )
        )

    def _stop_listening(self) -> Deferred[None]:
        self.port_closed = True
        return succeed(None)


def tick(bench: Bench, seconds: float) -> None:
    bench.clock.pump([0.05] * round(seconds / 0.05))


@pytest.fixture
def whole() -> Iterator[tuple[Bench, FakeResponse, Client]]:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        yield bench, upstream, bench.client().ask(ALIAS)


def test_a_drain_lets_an_answer_end_and_closes_its_connection(
    whole: tuple[Bench, FakeResponse, Client],
) -> None:
    bench, upstream, client = whole
    idle = bench.client()
    idle.get("/healthz")
    leaving = Leaving(bench)
    assert leaving.port_closed
    idle.settle()
    tick(bench, 10)
    assert not leaving.done.called
    upstream.send(b"last").end()
    assert client.answer().body == b"firstlast"
    client.settle()
    tick(bench, 0.1)
    assert leaving.done.called


def test_what_has_not_ended_in_the_grace_is_broken_off(
    whole: tuple[Bench, FakeResponse, Client],
) -> None:
    bench, upstream, client = whole
    leaving = Leaving(bench)
    tick(bench, 30.1)
    client.settle()
    tick(bench, 0.1)
    assert leaving.done.called
    assert not client.answer().whole
    assert upstream.aborted
    assert bench.count("autopilot_stream_ends_total", end="shutdown") == 1
    assert bench.count("autopilot_clients_gone_total", phase="stream") == 0


@pytest.mark.parametrize("headers", [False, True], ids=["no headers yet", "no content yet"])
def test_who_still_waits_for_an_answer_at_the_end_of_the_grace_is_told_to_come_back(
    headers: bool,  # noqa: FBT001 - a parameter
) -> None:
    upstream = FakeResponse() if headers else None
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        leaving = Leaving(bench)
        tick(bench, 30.1)
        answer = client.answer()
        assert (answer.status, answer.code, answer.whole) == (503, "draining", True)
        assert answer.header("retry-after") == [str(DRAINING_RETRY_SECONDS)]
        assert answer.header("connection") == ["close"]
        client.settle()
        tick(bench, 0.1)
        assert leaving.done.called
        assert upstream is None or upstream.aborted
        assert bench.count("autopilot_attempts_total", outcome="shutdown") == 1
        assert bench.count("autopilot_clients_gone_total", phase="headers") == 0
        assert bench.count("autopilot_clients_gone_total", phase="first_byte") == 0
        (line,) = [line for line in bench.lines() if line["event"] == "request"]
        assert (line["status"], line["code"]) == (503, "draining")


def test_who_does_not_even_take_that_is_cut(whole: tuple[Bench, FakeResponse, Client]) -> None:
    bench, _upstream, client = whole
    leaving = Leaving(bench)
    tick(bench, 30.7)
    assert leaving.done.called
    assert client.wire.aborted


def test_while_it_lags_the_router_says_draining_and_still_serves() -> None:
    with Bench() as bench:
        leaving = Leaving(bench, lag=5.0)
        seen = [leaving.port_closed]
        client = bench.client()
        assert client.get("/readyz").code == "draining"
        bench.clock.advance(5)
        assert [*seen, leaving.port_closed] == [False, True]
        client.settle()
        tick(bench, 0.1)
        assert leaving.done.called


@pytest.mark.parametrize(
    "target",
    [
        "/v1/chat/completions?x=1",
        "/v1/ch%61t/completions",
        "/v1/chat%2Fcompletions",
        "http://router.test/v1/chat/completions",
        "v1/chat/completions",
    ],
)
def test_no_spelling_of_the_path_avoids_the_door(target: str) -> None:
    with Bench(client_limits=replace(LIMITS, require_authorization=True)) as bench:
        answer = bench.client().send(post(BODY, path=target)).answer()
        assert answer.status in {401, 404}
        assert len(bench.posted) == 0


def test_a_client_that_pipelines_and_does_not_read_is_not_read_either() -> None:
    with Bench() as bench:
        client = bench.client()
        client.fill()
        client.send(head("GET", "/healthz") * 2)
        assert client.wire.producerState == "paused"
        client.drain()
        assert client.wire.producerState == "producing"


def test_a_closing_connection_whose_answer_is_not_read_is_cut_at_the_stall_limit() -> None:
    with Bench() as bench:
        client = bench.client()
        client.send(head("GET", "/metrics", [("Connection", "close")]))
        assert client.wire.closing
        bench.clock.advance(LIMITS.stall)
        assert client.wire.aborted


@pytest.mark.parametrize("there", [5, 60, len(post(BODY)) - 5], ids=["line", "headers", "body"])
def test_a_request_that_is_arriving_when_the_drain_begins_is_answered_and_is_the_last(
    there: int,
) -> None:
    request = post(BODY)
    with Bench(FakeResponse().send(b"x").end()) as bench:
        client = bench.client()
        client.send(request[:there])
        leaving = Leaving(bench)
        client.send(request[there:])
        answer = client.answer()
        assert (answer.status, answer.header("connection")) == (200, ["close"])
        client.send(head("GET", "/healthz"))
        client.settle()
        tick(bench, 0.1)
        assert leaving.done.called
        assert client.received.count(b"HTTP/1.1 ") == 1


def test_a_connection_that_is_closing_when_the_drain_begins_costs_no_other_its_answer(
    whole: tuple[Bench, FakeResponse, Client],
) -> None:
    bench, upstream, client = whole
    closing = bench.client()
    closing.send(head("GET", "/healthz", [("Connection", "close")]))
    leaving = Leaving(bench)
    tick(bench, 1.0)
    assert not leaving.done.called
    upstream.send(b"last").end()
    assert client.answer().whole
    client.settle()
    closing.settle()
    tick(bench, 0.1)
    assert leaving.done.called


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_an_answer_that_has_begun_without_a_byte_of_body_is_broken_off_too(version: str) -> None:
    upstream = FakeResponse(401)
    with Bench(upstream) as bench:
        client = bench.client().send(post(BODY, version=version))
        leaving = Leaving(bench)
        tick(bench, 30.1)
        assert b" 401 " in client.received
        assert not client.received.endswith(b"\r\n0\r\n\r\n")
        tick(bench, 1.0)
        assert client.wire.aborted
        client.settle()
        tick(bench, 0.1)
        assert leaving.done.called
        assert bench.count("autopilot_stream_ends_total", end="shutdown") == 1
