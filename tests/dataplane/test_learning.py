"""What the router learns from its own attempts: timings, pace, failures, and what is under way."""

from dataclasses import replace

import pytest
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from autopilot.dataplane.learning import SHORTEST_STREAM, Learned
from autopilot.policy.catalog import Catalog, Utilization
from autopilot.policy.ending import BodyEnd
from autopilot.policy.needs import Needs
from autopilot.policy.rest import RestTable
from autopilot.policy.timings import Timings
from autopilot.testing import STREAM_FIELDS, FakeResponse, picture_of

from .test_engine import Bench, error

FIRST = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
WHOLE = b"data: [DONE]\n\n"


def stream(*parts: bytes) -> FakeResponse:
    return FakeResponse(200, STREAM_FIELDS).send(*parts)


def timings(bench: Bench) -> Timings:
    return bench.learned.observations.timings(now=bench.clock.seconds())


def test_the_time_to_the_first_byte_of_a_stream_is_learned_in_the_class_of_its_prompt() -> None:
    bench = Bench(None)
    bench.exchange.needs = Needs(prompt_tokens=100_000)
    bench.carry()
    bench.clock.advance(3.0)
    bench.upstream.posted[0].answer.callback(stream(FIRST, WHOLE).end())
    *shorter, longest = timings(bench).first_byte
    assert longest["a"].value == 3.0
    assert shorter == [{}, {}, {}, {}]
    assert timings(bench).failures["a"].value == 0.0


def test_an_answer_that_is_not_streamed_says_nothing_of_its_first_byte() -> None:
    bench = Bench(None, body=b'{"model":"x"}')
    bench.carry()
    bench.clock.advance(3.0)
    bench.upstream.posted[0].answer.callback(FakeResponse(length=2).send(b"{}").end())
    assert all(not means for means in timings(bench).first_byte)
    assert timings(bench).pace == {}


def test_the_pace_of_a_whole_stream_is_learned() -> None:
    response = stream(FIRST)
    bench = Bench(response)
    bench.carry()
    bench.clock.advance(2.0)
    response.send(WHOLE).end()
    assert timings(bench).pace["a"].value == len(FIRST + WHOLE) / 2.0


def test_no_pace_is_learned_of_a_stream_that_broke_or_was_too_short_to_tell() -> None:
    broken, short = stream(FIRST), stream(FIRST)
    for response, wait, end in (
        (broken, 2.0, BodyEnd.BROKEN),
        (short, SHORTEST_STREAM / 2, BodyEnd.COMPLETE),
    ):
        bench = Bench(response)
        bench.carry()
        bench.clock.advance(wait)
        response.send(WHOLE).end(end)
        assert timings(bench).pace == {}


def test_a_client_that_does_not_read_says_nothing_of_the_models_pace() -> None:
    response = stream(FIRST)
    bench = Bench(response)
    bench.carry()
    producer = bench.downstream.producer
    assert producer is not None
    producer.pauseProducing()
    bench.clock.advance(20.0)
    producer.resumeProducing()
    response.send(WHOLE).end()
    assert bench.downstream.end == "finished"
    assert timings(bench).pace == {}


def test_failures_are_learned_of_models_and_not_of_what_callers_did() -> None:
    bench = Bench(error(503), stream(FIRST, WHOLE).end())
    bench.carry()
    assert {name: mean.value for name, mean in timings(bench).failures.items()} == {
        "a": 1.0,
        "b": 0.0,
    }
    refused = Bench(error(400))
    refused.carry()
    assert timings(refused).failures == {}


def test_an_answer_that_breaks_after_its_first_byte_counts_as_a_failure_too() -> None:
    bench = Bench(stream(FIRST).end(BodyEnd.BROKEN))
    bench.carry()
    assert timings(bench).failures["a"].value == 0.5


def test_a_request_is_under_way_with_each_model_in_turn_and_with_none_after_its_end() -> None:
    response = stream(FIRST)
    bench = Bench(None, response)
    counts = bench.learned.in_flight
    done = bench.carry()
    assert counts.counts == {"a": 1}
    bench.upstream.posted[0].answer.callback(error(503))
    assert counts.counts == {"b": 1}
    response.send(WHOLE).end()
    assert done.called
    assert counts.counts == {}


@pytest.mark.parametrize("begun", [True, False])
def test_a_client_that_leaves_leaves_nothing_under_way(*, begun: bool) -> None:
    bench = Bench(stream(FIRST) if begun else None)
    done = bench.carry()
    assert bench.learned.in_flight.counts == {"a": 1}
    done.addErrback(lambda _failure: None)
    done.cancel()
    assert bench.learned.in_flight.counts == {}


def test_what_is_learned_belongs_to_the_model_behind_a_name() -> None:
    response = stream(FIRST)
    bench = Bench(response, candidates=["A"], model_of=str.lower)
    bench.carry()
    assert bench.learned.in_flight.counts == {"a": 1}
    bench.clock.advance(1.0)
    response.send(WHOLE).end()
    assert timings(bench).pace.keys() == {"a"}


def test_in_flight_is_over_even_if_what_was_under_way_raises() -> None:
    bench = Bench(ZeroDivisionError())
    failures: list[Failure] = []
    bench.carry().addErrback(failures.append)
    assert failures[0].check(ZeroDivisionError)
    assert bench.learned.in_flight.counts == {}


def test_a_new_feed_is_noticed_with_whatever_request_comes_next_and_a_new_catalogue_is_none() -> (
    None
):
    learned = Learned(RestTable(), now=Clock().seconds)
    first = replace(picture_of("a"), utilization=Utilization(chutes=(), timestamp=1.0))
    learned.see(first)
    learned.in_flight.began("a")
    learned.see(replace(first, catalog=Catalog()))
    assert learned.in_flight.counts == {"a": 1}
    learned.see(replace(first, utilization=Utilization(chutes=(), timestamp=2.0)))
    assert learned.in_flight.counts == {}
