"""Choices that were not followed are judged by what next happened to the models they named."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.shadow import MAX_WAITING, PATIENCE, Fate, Fates, Side


class Told:
    def __init__(self) -> None:
        self.counts: Counter[tuple[Side, Fate]] = Counter()

    def __call__(self, side: Side, fate: Fate, number: int) -> None:
        self.counts[side, fate] += number


def test_both_choices_have_the_fate_of_the_next_attempt_at_their_model() -> None:
    told = Told()
    fates = Fates(told)
    fates.differed("a", "b", now=0.0)
    fates.differed("a", "c", now=1.0)
    assert fates.heard("a", Fate.FAILURE, now=2.0) == {Side.FOLLOWED: 2}
    assert fates.heard("a", Fate.SUCCESS, now=2.0) == {}
    assert fates.heard("b", Fate.SUCCESS, now=3.0) == {Side.SHADOW: 1}
    assert told.counts == {
        (Side.FOLLOWED, Fate.FAILURE): 2,
        (Side.SHADOW, Fate.SUCCESS): 1,
    }


def test_a_model_may_be_the_choice_of_both_sides_for_different_requests() -> None:
    told = Told()
    fates = Fates(told)
    fates.differed("a", "b", now=0.0)
    fates.differed("b", "a", now=0.0)
    assert fates.heard("a", Fate.SUCCESS, now=1.0) == {Side.FOLLOWED: 1, Side.SHADOW: 1}


def test_what_nobody_asked_in_time_is_unknown_and_said_once() -> None:
    told = Told()
    fates = Fates(told)
    fates.differed("a", "b", now=0.0)
    fates.heard("a", Fate.SUCCESS, now=1.0)
    assert fates.heard("b", Fate.SUCCESS, now=PATIENCE) == {}
    fates.heard("c", Fate.SUCCESS, now=3 * PATIENCE)
    assert told.counts == {
        (Side.FOLLOWED, Fate.SUCCESS): 1,
        (Side.SHADOW, Fate.UNKNOWN): 1,
    }


def test_the_same_model_chosen_again_after_it_was_judged_waits_anew() -> None:
    told = Told()
    fates = Fates(told)
    fates.differed("a", "b", now=0.0)
    fates.heard("b", Fate.SUCCESS, now=1.0)
    fates.differed("a", "b", now=2.0)
    assert fates.heard("b", Fate.FAILURE, now=PATIENCE + 1.0) == {Side.SHADOW: 1}


def test_more_than_can_wait_are_given_up_from_the_oldest() -> None:
    told = Told()
    fates = Fates(told)
    for number in range(MAX_WAITING + 5):
        fates.differed("a", str(number), now=0.0)
    assert told.counts[Side.SHADOW, Fate.UNKNOWN] == 5
    assert fates.heard("0", Fate.SUCCESS, now=0.0) == {}
    assert fates.heard("5", Fate.SUCCESS, now=0.0) == {Side.SHADOW: 1}


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from("abc"), st.sampled_from("abc"), st.booleans(), st.integers(0, 40)
        ),
        max_size=60,
    )
)
def test_every_choice_has_one_fate(steps: list[tuple[str, str, bool, int]]) -> None:
    told = Told()
    fates = Fates(told)
    now, made = 0.0, 0
    for one, other, choosing, wait in steps:
        now += wait
        if choosing:
            made += 1
            fates.differed(one, other, now=now)
        else:
            fates.heard(one, Fate.SUCCESS, now=now)
    fates.heard("none", Fate.SUCCESS, now=now + 2 * PATIENCE)
    for side in Side:
        assert sum(number for (whose, _), number in told.counts.items() if whose is side) == made
