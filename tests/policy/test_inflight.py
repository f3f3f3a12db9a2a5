"""Requests in flight count from one sample of the feed to the next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.inflight import InFlight


def test_a_request_counts_until_it_ends() -> None:
    flying = InFlight()
    one, two = flying.began("a"), flying.began("a")
    flying.began("b")
    assert flying.counts == {"a": 2, "b": 1}
    flying.ended("a", one)
    flying.ended("a", two)
    assert flying.counts == {"b": 1}


def test_a_new_sample_knows_of_all_that_is_under_way() -> None:
    flying = InFlight()
    flying.sampled(1.0)
    before = flying.began("a")
    flying.sampled(1.0)
    assert flying.counts == {"a": 1}
    flying.sampled(2.0)
    assert flying.counts == {}
    flying.began("a")
    flying.ended("a", before)
    assert flying.counts == {"a": 1}


@pytest.mark.parametrize("timestamp", [None, 5.0])
def test_a_feed_that_says_the_same_again_is_no_new_sample(timestamp: float | None) -> None:
    flying = InFlight()
    flying.sampled(timestamp)
    flying.began("a")
    flying.sampled(timestamp)
    assert flying.counts == {"a": 1}


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["begin", "end", "sample"]), st.sampled_from("ab")), max_size=60
    )
)
def test_it_counts_what_a_list_of_open_requests_would(steps: list[tuple[str, str]]) -> None:
    flying, open_requests, samples = InFlight(), list[tuple[str, int, int]](), 0
    for step, model in steps:
        if step == "begin":
            open_requests.append((model, flying.began(model), samples))
        elif step == "sample":
            samples += 1
            flying.sampled(float(samples))
        elif open_requests:
            ended, epoch, _sample = open_requests.pop(0)
            flying.ended(ended, epoch)
        expected = [name for name, _epoch, sample in open_requests if sample == samples]
        assert flying.counts == {name: expected.count(name) for name in expected}
