"""What was observed of a model is a mean that forgets, and a view of it that does not change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.timings import (
    FRESH_SECONDS,
    HALF_LIFE,
    MAX_MODELS,
    MOST_WEIGHT,
    SIZES,
    Mean,
    Observations,
    Timings,
    size_class,
)

SMALL = size_class(0)


def first_byte(seen: Observations, now: float, model: str = "a", size: int = SMALL) -> Mean:
    return seen.timings(now=now).first_byte[size][model]


def test_a_prompt_belongs_to_one_class_by_its_size() -> None:
    assert [size_class(tokens) for tokens in (0, 999, 1_000, 15_999, 64_000, 10**7)] == [
        0,
        0,
        1,
        2,
        4,
        4,
    ]
    assert len(Timings().first_byte) == len(SIZES) + 1


def test_an_observation_is_the_mean_until_there_is_another() -> None:
    seen = Observations()
    seen.answered("a", 2.0, prompt_tokens=10, now=0.0)
    assert first_byte(seen, 0.0) == Mean(2.0, 1.0)
    seen.answered("a", 1.0, prompt_tokens=10, now=0.0)
    assert first_byte(seen, 1.0).value == pytest.approx(1.5)


def test_after_a_half_life_an_observation_counts_half() -> None:
    seen = Observations()
    seen.answered("a", 2.0, prompt_tokens=10, now=0.0)
    assert first_byte(seen, HALF_LIFE).weight == pytest.approx(0.5)
    seen.answered("a", 1.0, prompt_tokens=10, now=HALF_LIFE)
    assert first_byte(seen, 2 * HALF_LIFE).value == pytest.approx((2.0 * 0.5 + 1.0) / 1.5)


def test_what_is_long_past_is_forgotten() -> None:
    seen = Observations()
    seen.answered("a", 2.0, prompt_tokens=10, now=0.0)
    seen.streamed("a", 100, 2.0, now=0.0)
    seen.failed("a", now=0.0)
    assert seen.timings(now=20 * HALF_LIFE) == Timings()


def test_classes_of_prompts_are_kept_apart() -> None:
    seen = Observations()
    seen.answered("a", 1.0, prompt_tokens=10, now=0.0)
    seen.answered("a", 9.0, prompt_tokens=100_000, now=0.0)
    assert first_byte(seen, 0.0).value == 1.0
    assert first_byte(seen, 0.0, size=size_class(100_000)).value == 9.0


def test_pace_is_bytes_a_second_and_failures_are_a_share() -> None:
    seen = Observations()
    seen.streamed("a", 300, 2.0, now=0.0)
    seen.streamed("a", 300, 0.0, now=0.0)
    seen.failed("a", now=0.0)
    seen.answered("a", 1.0, prompt_tokens=1, now=0.0)
    view = seen.timings(now=0.0)
    assert view.pace["a"] == Mean(150.0, 1.0)
    assert view.failures["a"] == Mean(0.5, 2.0)


def test_a_view_serves_for_a_moment_and_never_changes() -> None:
    seen = Observations()
    seen.answered("a", 1.0, prompt_tokens=1, now=0.0)
    view = seen.timings(now=0.0)
    seen.answered("a", 3.0, prompt_tokens=1, now=0.1)
    assert seen.timings(now=0.1) is view
    assert view.first_byte[SMALL]["a"].value == 1.0
    assert first_byte(seen, FRESH_SECONDS).value == pytest.approx(2.0, abs=0.01)


def test_the_model_that_was_heard_of_longest_ago_is_forgotten_first() -> None:
    seen = Observations()
    for number in range(MAX_MODELS):
        seen.failed(str(number), now=0.0)
    seen.failed("0", now=0.0)
    seen.failed("new", now=0.0)
    known = seen.timings(now=0.0).failures
    assert len(known) == MAX_MODELS
    assert "0" in known
    assert "1" not in known


@given(values=st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e3)), min_size=1, max_size=30))
def test_a_mean_lies_among_what_was_observed_and_its_weight_is_bounded(
    values: list[tuple[float, float]],
) -> None:
    seen = Observations()
    now = 0.0
    for value, wait in values:
        now += wait
        seen.answered("a", value, prompt_tokens=1, now=now)
    mean = first_byte(seen, now)
    low, high = min(value for value, _ in values), max(value for value, _ in values)
    assert low - 1e-6 <= mean.value <= high + 1e-6
    assert 0 < mean.weight <= MOST_WEIGHT
    assert min(low, 1.0) - 1e-6 <= mean.toward(1.0) <= max(high, 1.0) + 1e-6


def test_however_busy_a_model_is_its_last_answers_count() -> None:
    seen = Observations()
    for _answer in range(100):
        seen.answered("a", 1.0, prompt_tokens=1, now=0.0)
    assert first_byte(seen, 0.0).weight == MOST_WEIGHT
    for _answer in range(int(MOST_WEIGHT)):
        seen.answered("a", 3.0, prompt_tokens=1, now=0.0)
    assert first_byte(seen, FRESH_SECONDS).value > 2.0


def test_a_clock_that_goes_back_makes_nothing_weigh_more() -> None:
    seen = Observations()
    seen.answered("a", 1.0, prompt_tokens=1, now=100.0)
    assert first_byte(seen, 50.0).weight == 1.0
