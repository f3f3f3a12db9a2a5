"""The engine over fakes and a `Clock`: what is tried, what is sent, what is let go.

Each test drives one exchange: `Bench.carry` starts it, the fakes' records say what it did.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from autopilot.dataplane.engine import Engine
from autopilot.dataplane.exchange import Exchange
from autopilot.dataplane.journal import Journal
from autopilot.dataplane.learning import Learned
from autopilot.dataplane.sticky import Affinity, MemorySticky
from autopilot.dataplane.upstream import AttemptFailed
from autopilot.interfaces import (
    IDownstream,
    IPictureSource,
    ISelector,
    IUpstream,
    IUpstreamResponse,
)
from autopilot.labels import Mode
from autopilot.metrics import Metrics
from autopilot.policy.chatbody import parse_body
from autopilot.policy.deadlines import Deadlines
from autopilot.policy.ending import BodyEnd
from autopilot.policy.errors import Refusal
from autopilot.policy.failover import CAPACITY_DETAIL, RULES, Outcome, Verdict
from autopilot.policy.rest import Cause, RestTable
from autopilot.policy.stickiness import StickyTable
from autopilot.testing import (
    JSON_FIELDS,
    STREAM_FIELDS,
    AlphabeticSelector,
    FakeDownstream,
    FakeResponse,
    FakeUpstream,
    FixedPicture,
    MisuseError,
    picture_of,
)

DEADLINES = Deadlines(headers=10.0, completion=600.0, first_body_byte=120.0)
CAPACITY_BODY = b'{"detail":"%s"}' % CAPACITY_DETAIL.encode()
KEY = b"k" * 32


class Bench:
    """An engine over a scripted upstream, one client, and the records of both."""

    def __init__(
        self,
        *scripted: FakeResponse | Exception | None,
        candidates: Sequence[str] = ("a", "b", "c"),
        body: bytes = b'{"model":"x","stream":true}',
        routed: bool = True,
        model_of: Callable[[str], str] = str,
        sticky: str | None = None,
        total: float | None = None,
    ) -> None:
        self.clock = Clock()
        self.upstream = FakeUpstream(*scripted)
        self.downstream = FakeDownstream()
        self.registry = CollectorRegistry()
        self.table = StickyTable(ttl=60, max_entries=10)
        if sticky is not None:
            self.table.put(KEY, sticky, now=0)
        self.journal = Journal(
            request_id="r", metrics=Metrics(self.registry), clock=self.clock.seconds
        )
        self.journal.mode = Mode.ALIAS
        self.journal.label = lambda name: name
        self.exchange = Exchange(
            path="/v1/chat/completions",
            fields=[(b"x", b"y")],
            body=parse_body(body),
            candidates=tuple(candidates),
            routed=routed,
            affinity=Affinity(MemorySticky(self.table, self.clock.seconds), KEY),
            model_of=model_of,
        )
        deadlines = replace(DEADLINES, total=total)
        self.rests = RestTable()
        self.learned = Learned(self.rests, now=self.clock.seconds)
        self.engine = Engine(
            self.upstream, clock=self.clock, deadlines=deadlines, learned=self.learned
        )

    def carry(self) -> Deferred[None]:
        return Deferred.fromCoroutine(
            self.engine.carry(self.exchange, self.downstream, self.journal)
        )

    @property
    def tried(self) -> list[bytes]:
        return [posted.body for posted in self.upstream.posted]

    @property
    def sticky(self) -> str | None:
        return self.table.get(KEY, now=self.clock.seconds())

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def refused(done: Deferred[None]) -> str:
    failures: list[Failure] = []
    done.addErrback(failures.append)
    assert failures, "the exchange has not ended"
    refusal = failures[0].value
    assert isinstance(refusal, Refusal)
    return refusal.body.code


def cancelled(done: Deferred[None]) -> bool:
    failures: list[Failure] = []
    done.addErrback(failures.append)
    return bool(failures) and failures[0].check(CancelledError) is not None


def stream(*parts: bytes) -> FakeResponse:
    return FakeResponse().send(*(parts or (b"data: 1\n\n",)))


def error(status: int, body: bytes = b"{}") -> FakeResponse:
    return FakeResponse(status, JSON_FIELDS).send(body).end()


def test_the_fakes_implement_what_they_stand_for() -> None:
    verifyObject(IUpstream, FakeUpstream())
    verifyObject(IUpstreamResponse, FakeResponse())
    verifyObject(IDownstream, FakeDownstream())
    verifyObject(IPictureSource, FixedPicture(picture_of()))
    verifyObject(ISelector, AlphabeticSelector())


def test_the_first_candidate_that_answers_is_given_untouched() -> None:
    bench = Bench(stream(b"data: 1\n\n", b"data: [DONE]\n\n").end())
    bench.carry()
    assert bench.downstream.received == b"data: 1\n\ndata: [DONE]\n\n"
    assert bench.downstream.end == "finished"
    assert bench.downstream.header(b"x-chutes-autopilot-selected") == [b"a"]
    assert bench.tried == [b'{"model":"a","stream":true}']
    assert bench.count("autopilot_stream_ends_total", end="complete") == 1
    assert bench.clock.getDelayedCalls() == []


def test_a_direct_request_goes_upstream_as_it_came_and_names_no_selection() -> None:
    bench = Bench(stream().end(), candidates=["x"], routed=False, body=b'{ "model" : "x" }')
    bench.carry()
    assert bench.tried == [b'{ "model" : "x" }']
    assert bench.downstream.header(b"x-chutes-autopilot-selected") == []


MOVES_ON = [outcome for outcome in Outcome if RULES[outcome].remaining is Verdict.NEXT]
WITHOUT_ANSWER = [
    Outcome.CONNECT_FAILED,
    Outcome.DNS_FAILED,
    Outcome.TLS_FAILED,
    Outcome.CONNECT_TIMEOUT,
    Outcome.CONNECTION_LOST,
    Outcome.PROTOCOL_ERROR,
    Outcome.HEADER_TIMEOUT,
]


@pytest.mark.parametrize("outcome", WITHOUT_ANSWER)
def test_without_an_answer_the_next_candidate_is_tried(outcome: Outcome) -> None:
    bench = Bench(AttemptFailed(outcome), stream().end())
    bench.carry()
    assert bench.downstream.header(b"x-chutes-autopilot-selected") == [b"b"]
    assert bench.count("autopilot_failovers_total", reason=outcome.value) == 1


@pytest.mark.parametrize("outcome", WITHOUT_ANSWER)
def test_without_an_answer_the_last_candidate_is_refused_in_our_words(outcome: Outcome) -> None:
    bench = Bench(AttemptFailed(outcome), candidates=["a"])
    rule = RULES[outcome]
    assert rule.refusal is not None
    assert refused(bench.carry()) == rule.refusal[0].text
    assert bench.downstream.status is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, CAPACITY_BODY),
        (404, b'{"detail":"model not found: a"}'),
        (404, b'{"detail":"No matching chute found!"}'),
        (500, b'{"detail":"exhausted all available targets to no avail"}'),
        (502, b"<html>"),
        (503, b'{"detail":"This chute is currently disabled."}'),
        (504, b"<html>"),
        (599, b""),
    ],
)
def test_what_the_model_did_wrong_moves_on_and_passes_through_at_last(
    status: int, body: bytes
) -> None:
    bench = Bench(error(status, body), stream(b"answer").end())
    bench.carry()
    assert bench.downstream.received == b"answer"
    last = Bench(error(status, body), candidates=["a"])
    last.carry()
    assert last.downstream.answer == (status, body)
    assert last.downstream.end == "finished"


@pytest.mark.parametrize(
    ("status", "body", "stops_retries"),
    [
        (429, b"<html><h1>429 Too Many Requests</h1></html>", True),
        (429, b'{"detail":"Free models limit reached"}', True),
        (429, b'{"detail":{"message":"x"}}', True),
        (400, b'{"detail":"Invalid request: x"}', False),
        (401, b'{"detail":"Invalid token."}', False),
        (402, b'{"detail":"x"}', False),
        (403, b"{}", False),
        (404, b'{"detail":"Not Found"}', False),
        (413, b"{}", False),
        (422, b"{}", False),
        (426, b"{}", False),
        (307, b"", False),
    ],
)
def test_what_blames_the_caller_is_passed_through_once(
    status: int, body: bytes, *, stops_retries: bool
) -> None:
    bench = Bench(error(status, body), stream().end(), sticky="a")
    bench.carry()
    assert bench.downstream.answer == (status, body)
    assert len(bench.tried) == 1
    assert bench.downstream.header(b"x-should-retry") == ([b"false"] if stops_retries else [])
    assert bench.downstream.header(b"x-chutes-autopilot-selected") == [b"a"]
    assert bench.sticky == "a"


def test_a_second_500_in_a_row_is_final() -> None:
    bench = Bench(error(500, b"one"), error(500, b"two"), stream().end())
    bench.carry()
    assert bench.downstream.answer == (500, b"two")
    assert len(bench.tried) == 2


def test_a_500_after_another_failure_moves_on() -> None:
    bench = Bench(error(500), error(503), error(500), candidates=["a", "b", "c", "d"])
    bench.carry()
    assert len(bench.tried) == 4


def test_a_5xx_moves_on_by_its_status_and_its_body_is_discarded() -> None:
    hanging = FakeResponse(503, JSON_FIELDS)
    bench = Bench(hanging, stream().end())
    bench.carry()
    assert hanging.discarded
    assert bench.downstream.status == 200


def test_a_429_that_hangs_is_judged_after_a_second_and_passed_on_with_its_rest() -> None:
    slow = FakeResponse(429, JSON_FIELDS).send(b'{"detail":')
    bench = Bench(slow)
    bench.carry()
    bench.clock.advance(0.99)
    assert bench.downstream.status is None
    bench.clock.advance(0.01)
    assert bench.downstream.answer == (429, b'{"detail":')
    slow.send(b'"x"}').end()
    assert bench.downstream.received == b'{"detail":"x"}'
    assert bench.downstream.end == "finished"


def test_a_429_is_judged_by_its_first_16_kib_and_never_held_beyond() -> None:
    large = FakeResponse(429, JSON_FIELDS).send(b"x" * 16_384)
    bench = Bench(large)
    bench.carry()
    assert bench.downstream.received == b"x" * 16_384
    large.end()
    assert bench.clock.getDelayedCalls() == []


def test_headers_that_do_not_come_in_time_move_on_and_cancel_the_request() -> None:
    bench = Bench(
        None, stream().end(), body=b'{"model":"x","stream":true,"p":"%s"}' % (b"p" * 2012)
    )
    bench.carry()
    patience = 10 + 0.060 * len(bench.tried[0]) / 1024
    bench.clock.advance(patience - 0.01)
    assert bench.upstream.cancelled == 0
    bench.clock.advance(0.02)
    assert bench.upstream.cancelled == 1
    assert bench.downstream.header(b"x-chutes-autopilot-selected") == [b"b"]
    assert bench.clock.getDelayedCalls() == []


def test_the_last_candidate_is_waited_for_as_long_as_a_first_byte() -> None:
    bench = Bench(None, candidates=["a"])
    done = bench.carry()
    bench.clock.advance(119.9)
    assert not done.called
    bench.clock.advance(0.2)
    assert refused(done) == "upstream_header_timeout"


def test_an_answer_that_is_not_streamed_may_take_its_whole_time() -> None:
    bench = Bench(None, None, candidates=["a", "b"], body=b'{"model":"x"}')
    bench.carry()
    bench.clock.advance(599)
    assert len(bench.tried) == 1
    bench.clock.advance(2)
    assert len(bench.tried) == 2
    bench.upstream.posted[1].answer.callback(FakeResponse(length=2).send(b"{}").end())
    assert bench.downstream.length == 2
    assert bench.downstream.end == "finished"


def test_a_2xx_without_a_byte_moves_on_at_the_first_byte_deadline() -> None:
    silent = FakeResponse()
    bench = Bench(silent, stream(b"answer").end())
    bench.carry()
    bench.clock.advance(119.9)
    assert bench.downstream.status is None
    bench.clock.advance(0.2)
    assert silent.discarded
    assert bench.downstream.received == b"answer"
    assert bench.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("response", "outcome", "code"),
    [
        (FakeResponse, "first_byte_timeout", "upstream_first_body_byte_timeout"),
        (lambda: FakeResponse().end(), "empty_body", "upstream_body_error"),
        (lambda: FakeResponse(length=0).end(), "empty_body", "upstream_body_error"),
        (lambda: FakeResponse().end(BodyEnd.BROKEN), "broken_body", "upstream_body_error"),
    ],
)
def test_a_last_2xx_without_a_byte_is_refused(
    response: type[FakeResponse], outcome: str, code: str
) -> None:
    bench = Bench(response(), candidates=["a"])
    done = bench.carry()
    bench.clock.advance(121)
    assert refused(done) == code
    assert bench.count("autopilot_attempts_total", outcome=outcome) == 1
    assert bench.downstream.status is None


def test_an_empty_2xx_moves_on_while_a_candidate_is_left() -> None:
    bench = Bench(FakeResponse(length=0).end(), FakeResponse(204).end(), stream(b"x").end())
    bench.carry()
    assert bench.downstream.received == b"x"


def test_a_last_204_passes() -> None:
    bench = Bench(FakeResponse(204, ()).end(), candidates=["a"])
    bench.carry()
    assert (bench.downstream.status, bench.downstream.end) == (204, "finished")


def test_nothing_is_sent_before_the_first_byte_of_a_2xx() -> None:
    response = FakeResponse()
    bench = Bench(response)
    bench.carry()
    assert bench.downstream.status is None
    response.send(b"d")
    assert bench.downstream.answer == (200, b"d")


def test_after_commit_a_break_is_delivered_broken_and_nothing_is_retried() -> None:
    bench = Bench(stream(b"data: 1\n\n", b"data: 2").end(BodyEnd.BROKEN), stream().end())
    done = bench.carry()
    assert bench.downstream.received == b"data: 1\n\ndata: 2"
    assert bench.downstream.end == "broken"
    assert len(bench.tried) == 1
    assert done.called
    assert bench.count("autopilot_stream_ends_total", end="upstream_broken") == 1


def test_the_request_body_is_let_go_at_commit() -> None:
    bench = Bench(stream())
    bench.carry()
    assert bench.downstream.status == 200
    assert bench.exchange.body is None


def test_a_slow_client_pauses_upstream_and_a_fast_one_resumes_it() -> None:
    response = stream()
    bench = Bench(response)
    bench.carry()
    producer = bench.downstream.producer
    assert producer is not None
    producer.pauseProducing()
    assert response.paused
    producer.resumeProducing()
    assert not response.paused


@pytest.mark.parametrize("body", [b'{"model":"x","stream":true}', b'{"model":"x"}'])
def test_a_client_that_leaves_before_headers_cancels_the_request(body: bytes) -> None:
    bench = Bench(None, stream().end(), body=body)
    done = bench.carry()
    done.cancel()
    assert bench.upstream.cancelled == 1
    assert cancelled(done)
    assert len(bench.tried) == 1
    assert bench.count("autopilot_attempts_total", outcome="client_gone") == 1
    assert bench.clock.getDelayedCalls() == []


@pytest.mark.parametrize("status", [200, 429, 404])
def test_a_client_that_leaves_before_the_first_byte_closes_the_answer(status: int) -> None:
    response = FakeResponse(status)
    bench = Bench(response, stream().end(), sticky="a")
    done = bench.carry()
    done.cancel()
    assert response.aborted
    assert cancelled(done)
    assert len(bench.tried) == 1
    assert bench.sticky == "a"
    assert bench.clock.getDelayedCalls() == []


def test_a_client_that_leaves_mid_stream_closes_the_answer_and_is_no_error() -> None:
    response = stream()
    bench = Bench(response, sticky="b")
    done = bench.carry()
    producer = bench.downstream.producer
    assert producer is not None
    producer.stopProducing()
    assert response.aborted
    response.end(BodyEnd.BROKEN)
    assert bench.count("autopilot_stream_ends_total", end="client_gone") == 0
    done.cancel()
    assert done.called
    assert bench.downstream.end is None
    assert bench.count("autopilot_stream_ends_total", end="client_gone") == 1
    assert bench.count("autopilot_stream_ends_total", end="upstream_broken") == 0


def test_success_keeps_the_client_on_the_model() -> None:
    bench = Bench(error(503), stream().end())
    bench.carry()
    assert bench.sticky == "b"


def test_a_failure_of_the_sticky_model_ends_its_place() -> None:
    bench = Bench(error(503), error(400), sticky="a")
    bench.carry()
    assert bench.sticky is None


def test_failing_to_reach_the_origin_says_nothing_about_the_model() -> None:
    bench = Bench(AttemptFailed(Outcome.CONNECT_FAILED), error(400), sticky="a")
    bench.carry()
    assert bench.sticky == "a"


def test_every_outcome_that_moves_on_is_shown_above() -> None:
    shown = {
        *WITHOUT_ANSWER,
        Outcome.CAPACITY,
        Outcome.MODEL_NOT_FOUND,
        Outcome.INTERNAL_ERROR,
        Outcome.UNAVAILABLE,
        Outcome.SERVER_ERROR,
        Outcome.FIRST_BYTE_TIMEOUT,
        Outcome.EMPTY_BODY,
        Outcome.BROKEN_BODY,
        Outcome.ERROR_FIRST,
        Outcome.NO_CONTENT,
    }
    assert set(MOVES_ON) == shown


ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
CONTENT = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
FINISH = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = ROLE + CONTENT + FINISH + DONE


def events(*parts: bytes) -> FakeResponse:
    return FakeResponse(fields=STREAM_FIELDS).send(*parts)


def document(*parts: bytes) -> FakeResponse:
    return FakeResponse(fields=JSON_FIELDS).send(*parts)


def page(*parts: bytes) -> FakeResponse:
    return FakeResponse(fields=[(b"Content-Type", b"text/html")]).send(*parts)


def test_a_stream_is_held_until_its_first_content_and_then_given_from_its_beginning() -> None:
    response = events(ROLE, b": comment\n\n")
    bench = Bench(response)
    bench.carry()
    response.send(CONTENT[:20])
    assert bench.downstream.received == b""
    response.send(CONTENT[20:])
    assert bench.downstream.answer == (200, ROLE + b": comment\n\n" + CONTENT)
    response.send(FINISH, DONE).end()
    assert bench.downstream.received.endswith(FINISH + DONE)
    assert bench.downstream.end == "finished"
    assert bench.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (lambda: events(b'data: {"error":{"message":"x"}}\n\n'), "error_first"),
        (lambda: events(ROLE, b'data: {"error":{"message":"x"}}\n\n'), "error_first"),
        (lambda: events(b'{"detail":"x"}').end(), "error_first"),
        (lambda: events(ROLE).end(), "empty_body"),
        (lambda: events(ROLE, DONE).end(), "empty_body"),
        (lambda: events(ROLE).end(BodyEnd.BROKEN), "broken_body"),
        (lambda: document(b'{"error":{"message":"x"}}').end(), "error_first"),
        (lambda: document(b'{"detail":"x"}').end(), "error_first"),
        (lambda: document(b'{"choices":').end(BodyEnd.BROKEN), "broken_body"),
        (lambda: document(b'{"choices":').end(), "broken_body"),
        (lambda: page(b"<html>"), "error_first"),
        (lambda: page().end(), "empty_body"),
    ],
)
def test_a_2xx_that_is_no_answer_moves_on_without_a_byte_of_it(
    response: Callable[[], FakeResponse], outcome: str
) -> None:
    bench = Bench(response(), events(WHOLE).end())
    bench.carry()
    assert bench.downstream.answer == (200, WHOLE)
    assert bench.count("autopilot_failovers_total", reason=outcome) == 1


@pytest.mark.parametrize(
    ("parts", "end"),
    [
        ((b'data: {"error":{"message":"x"}}\n\n',), "finished"),
        ((b'{"detail":"x"}',), "broken"),
    ],
)
def test_the_last_candidates_error_is_given_unchanged(parts: tuple[bytes, ...], end: str) -> None:
    bench = Bench(events(*parts).end(), candidates=["a"])
    bench.carry()
    assert bench.downstream.answer == (200, b"".join(parts))
    assert bench.downstream.end == end


def test_the_last_candidate_is_never_held() -> None:
    bench = Bench(events(ROLE[:3]), candidates=["a"])
    bench.carry()
    assert bench.downstream.received == ROLE[:3]


def test_role_events_alone_are_too_late_at_the_first_byte_deadline() -> None:
    response = events(ROLE)
    bench = Bench(response, events(WHOLE).end())
    bench.carry()
    bench.clock.advance(120)
    assert response.discarded
    assert bench.downstream.received == WHOLE


def test_an_encoded_answer_is_opaque() -> None:
    fields = (*STREAM_FIELDS, (b"Content-Encoding", b"gzip"))
    bench = Bench(FakeResponse(fields=fields).send(b"\x1f\x8b").end())
    bench.carry()
    assert bench.downstream.answer == (200, b"\x1f\x8b")
    assert bench.downstream.end == "finished"


@pytest.mark.parametrize(
    ("end", "code"),
    [(BodyEnd.BROKEN, "upstream_broken"), (BodyEnd.COMPLETE, "upstream_truncated")],
)
def test_a_stream_that_is_cut_between_events_says_so_in_its_own_words(
    end: BodyEnd, code: str
) -> None:
    bench = Bench(events(ROLE, CONTENT).end(end))
    bench.carry()
    sent = bench.downstream.received
    assert sent.startswith(ROLE + CONTENT + b"data: ")
    event = json.loads(sent.removeprefix(ROLE + CONTENT + b"data: "))
    assert event["error"]["code"] == code
    assert set(event["error"]) == {"message", "type", "param", "code"}
    assert sent.endswith(b"}\n\n")
    assert bench.downstream.end == "broken"
    assert bench.count("autopilot_stream_ends_total", end=code) == 1


def test_a_stream_that_is_cut_inside_an_event_gets_nothing_appended() -> None:
    bench = Bench(events(CONTENT, CONTENT[:-1]).end(BodyEnd.BROKEN))
    bench.carry()
    assert bench.downstream.received == CONTENT + CONTENT[:-1]
    assert bench.downstream.end == "broken"


def test_nothing_is_appended_beyond_a_content_length() -> None:
    response = FakeResponse(fields=STREAM_FIELDS, length=1000).send(CONTENT).end(BodyEnd.BROKEN)
    bench = Bench(response)
    bench.carry()
    assert bench.downstream.received == CONTENT


def test_a_stream_that_falls_silent_is_ended_and_closed_at_the_idle_timeout() -> None:
    response = events(CONTENT)
    bench = Bench(response)
    bench.carry()
    bench.clock.advance(119)
    response.send(b": still here\n\n")
    bench.clock.advance(119)
    assert not response.aborted
    bench.clock.advance(1)
    assert bench.downstream.end == "broken"
    assert b"upstream_stalled" in bench.downstream.received
    assert bench.count("autopilot_stream_ends_total", end="upstream_stalled") == 1
    assert bench.clock.getDelayedCalls() == []


def test_a_client_that_does_not_read_is_not_upstreams_silence() -> None:
    response = events(CONTENT)
    bench = Bench(response)
    bench.carry()
    producer = bench.downstream.producer
    assert producer is not None
    producer.pauseProducing()
    bench.clock.advance(1000)
    assert not response.aborted
    producer.resumeProducing()
    bench.clock.advance(119)
    response.send(DONE).end()
    assert bench.downstream.end == "finished"
    assert bench.clock.getDelayedCalls() == []


def test_the_whole_request_is_bounded_where_that_is_asked_for() -> None:
    response = events(CONTENT)
    bench = Bench(error(503), response, total=30.0)
    bench.carry()
    for _second in range(29):
        bench.clock.advance(1)
        response.send(CONTENT)
    assert b"upstream_stalled" not in bench.downstream.received
    bench.clock.advance(1)
    assert bench.downstream.end == "broken"
    assert response.aborted
    assert bench.clock.getDelayedCalls() == []


def test_no_candidate_is_tried_after_the_whole_requests_deadline() -> None:
    bench = Bench(None, events(WHOLE).end(), total=5.0)
    done = bench.carry()
    bench.clock.advance(5)
    assert refused(done) == "upstream_header_timeout"
    assert len(bench.tried) == 1


@pytest.mark.parametrize(
    ("answer", "phase"),
    [(None, "headers"), (lambda: events(ROLE), "first_byte"), (lambda: events(WHOLE), "stream")],
)
def test_it_is_counted_when_clients_leave(
    answer: Callable[[], FakeResponse] | None, phase: str
) -> None:
    bench = Bench(answer() if answer is not None else None)
    done = bench.carry()
    done.addErrback(lambda failure: failure.trap(CancelledError))
    done.cancel()
    assert bench.count("autopilot_clients_gone_total", phase=phase) == 1


def test_a_model_rests_for_what_it_was_late_with_and_not_for_the_whole_requests_deadline() -> None:
    bench = Bench(None, None, candidates=["a", "b"], total=14.0)
    bench.carry().addErrback(lambda failure: failure.trap(Refusal))
    bench.clock.advance(11)
    assert bench.rests.resting("a", now=11)
    bench.clock.advance(3)
    assert not bench.rests.resting("b", now=14)


def test_a_stream_that_is_cut_at_the_whole_requests_deadline_does_not_rest_its_model() -> None:
    bench = Bench(events(CONTENT), candidates=["a"], total=5.0, sticky="a")
    bench.carry()
    bench.clock.advance(5)
    assert bench.downstream.end == "broken"
    assert not bench.rests.resting("a", now=5)
    assert bench.sticky == "a"


@pytest.mark.parametrize(
    "answer",
    [
        lambda: error(503),
        lambda: events(CONTENT).end(BodyEnd.BROKEN),
    ],
    ids=["refused", "broken later"],
)
def test_what_is_learned_belongs_to_the_model_behind_the_name(
    answer: Callable[[], FakeResponse],
) -> None:
    bench = Bench(answer(), candidates=["a:latency"], model_of=lambda name: name[:1])
    bench.carry()
    assert bench.rests.resting("a", now=0)
    assert not bench.rests.resting("a:latency", now=0)


def test_the_text_of_a_503_counts_for_the_model_behind_the_name() -> None:
    cold = error(503, b'{"detail":"No instances available (yet) for chute_id=\'x\'"}')
    bench = Bench(cold, stream().end(), candidates=["a:latency", "b"], model_of=lambda n: n[:1])
    bench.carry()
    assert bench.rests.resting("a", now=20)


def test_a_probe_under_another_name_is_a_probe() -> None:
    bench = Bench(None, candidates=["a:latency"], model_of=lambda name: name[:1])
    bench.rests.failed("a", Cause.BRIEF, now=-10)
    done = bench.carry()
    assert bench.rests.resting("a", now=0)
    done.cancel()
    assert cancelled(done)
    assert not bench.rests.resting("a", now=0)


@pytest.mark.parametrize("last", [400, 401])
def test_a_probe_that_says_nothing_of_the_model_lets_another_probe(last: int) -> None:
    bench = Bench(error(last), candidates=["a"])
    bench.rests.failed("a", Cause.BRIEF, now=-10)
    bench.carry()
    assert not bench.rests.resting("a", now=0)


def test_when_all_rest_under_other_names_the_answer_says_when_to_come_back() -> None:
    bench = Bench(error(503), candidates=["a:latency"], model_of=lambda name: name[:1])
    bench.carry()
    assert bench.downstream.header(b"retry-after") == [b"2"]


def test_a_failure_rests_the_model_and_the_log_trail_says_for_how_long() -> None:
    bench = Bench(error(503), stream().end())
    bench.carry()
    assert bench.rests.resting("a", now=1.9)
    assert not bench.rests.resting("a", now=2.0)
    assert not bench.rests.resting("b", now=0)
    assert bench.count("autopilot_rests_total", reason="unavailable") == 1


@pytest.mark.parametrize(
    ("detail", "until"),
    [
        (b"No instances available (yet) for chute_id='x'", 30.0),
        (b"This chute is currently disabled.", 300.0),
        (b"something else", 2.0),
    ],
)
def test_the_text_of_a_503_sets_how_long_the_model_rests(detail: bytes, until: float) -> None:
    bench = Bench(error(503, b'{"detail":"%s"}' % detail), stream().end())
    bench.carry()
    assert bench.rests.resting("a", now=until - 0.1)
    assert not bench.rests.resting("a", now=until)


@pytest.mark.parametrize("outcome", [Outcome.CONNECT_FAILED, Outcome.CONNECT_TIMEOUT])
def test_failing_to_reach_the_origin_rests_no_model_and_is_tried_over_a_fresh_connection(
    outcome: Outcome,
) -> None:
    bench = Bench(AttemptFailed(outcome), stream().end())
    bench.carry()
    assert bench.rests.count(now=0) == 0
    assert [posted.fresh for posted in bench.upstream.posted] == [False, True]
    assert bench.count("autopilot_origin_failures_total", reason=outcome.value) == 1


def test_a_success_ends_a_rest() -> None:
    bench = Bench(stream().end())
    bench.rests.failed("a", Cause.BRIEF, now=0)
    bench.carry()
    assert bench.rests.count(now=0) == 0


def test_a_probe_that_the_client_leaves_lets_another_probe() -> None:
    bench = Bench(None)
    bench.rests.failed("a", Cause.BRIEF, now=-10)
    done = bench.carry()
    assert bench.rests.resting("a", now=0)
    done.cancel()
    assert cancelled(done)
    assert not bench.rests.resting("a", now=0)


@pytest.mark.parametrize("other", [FakeResponse(400).end(), None], ids=["answered", "left"])
def test_what_another_request_comes_to_does_not_let_a_second_one_probe(
    other: FakeResponse | None,
) -> None:
    bench = Bench(other, candidates=["a"])
    bench.rests.failed("a", Cause.BRIEF, now=-10)
    assert bench.rests.asked("a", now=0), "the probe"
    done = bench.carry()
    if other is None:
        done.cancel()
        assert cancelled(done)
    assert bench.rests.resting("a", now=0)


@pytest.mark.parametrize(
    ("last", "seconds"),
    [
        (error(429, CAPACITY_BODY), [b"2"]),
        (error(503), [b"2"]),
        (error(400), []),
        (error(429, b"<html>"), []),
        (FakeResponse(503, ((b"Retry-After", b"77"),)).end(), [b"77"]),
    ],
)
def test_when_all_rest_the_answer_says_when_to_come_back(
    last: FakeResponse, seconds: list[bytes]
) -> None:
    bench = Bench(error(503), last, candidates=["a", "b"])
    bench.carry()
    assert bench.downstream.header(b"retry-after") == seconds


def test_a_refusal_of_ours_says_it_too_when_all_rest() -> None:
    bench = Bench(AttemptFailed(Outcome.CONNECTION_LOST), candidates=["a"])
    failures: list[Failure] = []
    bench.carry().addErrback(failures.append)
    refusal = failures[0].value
    assert isinstance(refusal, Refusal)
    assert refusal.body.retry_after == 2


def test_an_answer_that_breaks_is_held_against_its_model() -> None:
    bench = Bench(events(CONTENT).end(BodyEnd.BROKEN), sticky="a")
    bench.carry()
    assert bench.rests.resting("a", now=0)
    assert bench.sticky is None


@pytest.mark.parametrize("before", [b"", CONTENT])
def test_an_answer_that_says_itself_that_it_failed_is_held_against_its_model(
    before: bytes,
) -> None:
    told = b'data: {"error":{"message":"out of memory"}}\n\ndata: [DONE]\n\n'
    bench = Bench(events(before + told).end(), sticky="a", candidates=["a"])
    bench.carry()
    assert bench.downstream.received == before + told
    assert bench.downstream.end == "finished"
    assert bench.rests.resting("a", now=0)
    assert bench.sticky is None


@pytest.mark.parametrize("status", [404, 500])
def test_what_waiting_does_not_mend_is_passed_without_a_time_to_wait(status: int) -> None:
    bench = Bench(error(status, b'{"detail":"model not found: a"}'), candidates=["a"])
    bench.carry()
    assert bench.downstream.header(b"retry-after") == []


def test_the_fake_client_refuses_a_byte_before_begin() -> None:
    with pytest.raises(MisuseError):
        FakeDownstream().write(b"x")
