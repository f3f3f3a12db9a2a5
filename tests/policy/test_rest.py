"""Rests: asked last and never left out, longer on repetition, ended by an answer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot.policy.failover import ORIGIN_OUTCOMES, RULES, Outcome
from autopilot.policy.rest import (
    CAUSES,
    MAX_MODELS,
    MAX_REST,
    PROBE_SECONDS,
    Cause,
    RestTable,
    cause_in,
)

MODELS = ["a", "b", "c", "d"]
CALLS = st.lists(
    st.tuples(
        st.sampled_from(["failed", "succeeded", "asked", "returned", "catalog"]),
        st.sampled_from(MODELS),
        st.sampled_from(Cause),
        st.floats(0, 100),
    ),
    max_size=40,
)


def play(table: RestTable, calls: list[tuple[str, str, Cause, float]]) -> float:
    now = 0.0
    for what, model, cause, seconds in calls:
        now += seconds
        if what == "failed":
            table.failed(model, cause, now=now)
        elif what == "succeeded":
            table.succeeded(model)
        elif what == "asked":
            table.asked(model, now=now)
        elif what == "returned":
            table.returned(model)
        else:
            table.catalog_changed()
    return now


@settings(deadline=None)
@given(CALLS, st.permutations(MODELS), st.floats(0, 1000))
def test_an_order_is_only_ever_rearranged(
    calls: list[tuple[str, str, Cause, float]], order: list[str], later: float
) -> None:
    table = RestTable()
    now = play(table, calls) + later
    arranged = table.arrange(order, now=now)
    assert sorted(arranged) == sorted(order)
    awake = [model for model in order if not table.resting(model, now=now)]
    resting = [model for model in order if table.resting(model, now=now)]
    assert list(arranged) == awake + resting
    assert 1 <= table.retry_after(order, now=now) <= 30


@settings(deadline=None)
@given(CALLS, st.sampled_from(Cause))
def test_a_failure_never_shortens_a_rest_nor_makes_it_endless(
    calls: list[tuple[str, str, Cause, float]], cause: Cause
) -> None:
    table = RestTable()
    now = play(table, calls)
    moments = [now + step for step in range(0, 300, 7)]
    before = [table.resting("a", now=moment) for moment in moments]
    probed = play(table, [])  # the table is as it was
    assert probed == 0.0
    left = table.failed("a", cause, now=now)
    assert left <= MAX_REST
    if not any(call[0] == "asked" for call in calls):
        after = [table.resting("a", now=moment) for moment in moments]
        assert all(late or not early for early, late in zip(before, after, strict=True))


def test_repetition_doubles_the_rest_up_to_its_limit() -> None:
    table, now, lengths = RestTable(), 0.0, []
    for _failure in range(10):
        lengths.append(table.failed("a", Cause.BRIEF, now=now))
        now += lengths[-1]
    assert lengths == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_failures_during_a_rest_are_one_failure() -> None:
    table = RestTable()
    table.failed("a", Cause.BRIEF, now=0)
    assert table.failed("a", Cause.BRIEF, now=1) == 2
    assert table.failed("a", Cause.COLD, now=1) == 30


def test_the_later_deadline_is_kept() -> None:
    table = RestTable()
    table.failed("a", Cause.COLD, now=0)
    assert table.failed("a", Cause.BRIEF, now=1) >= 29


def test_after_a_rest_one_request_probes() -> None:
    table = RestTable()
    table.failed("a", Cause.BRIEF, now=0)
    assert table.arrange(["a", "b"], now=2) == ("a", "b")
    table.asked("a", now=2)
    assert table.arrange(["a", "b"], now=2) == ("b", "a")
    assert table.resting("a", now=2 + PROBE_SECONDS - 0.1)
    assert not table.resting("a", now=2 + PROBE_SECONDS)


def test_asking_a_model_that_rests_is_no_probe() -> None:
    table = RestTable()
    table.failed("a", Cause.BRIEF, now=0)
    assert not table.asked("a", now=1)
    assert not table.resting("a", now=2)


def test_of_several_requests_after_a_rest_only_the_first_is_the_probe() -> None:
    table = RestTable()
    assert not table.asked("a", now=0)
    table.failed("a", Cause.BRIEF, now=0)
    assert [table.asked("a", now=2) for _request in range(3)] == [True, False, False]
    table.returned("a")
    assert table.asked("a", now=2)


def test_a_model_rests_under_every_name_that_it_has() -> None:
    table = RestTable()
    table.failed("a", Cause.BRIEF, now=0)
    arranged = table.arrange(["a:latency", "b", "a"], now=1, model_of=lambda name: name[:1])
    assert arranged == ("b", "a:latency", "a")


def test_a_new_catalogue_wakes_those_that_waited_for_it() -> None:
    table = RestTable()
    table.failed("a", Cause.UNTIL_CATALOG, now=0)
    table.failed("a", Cause.BRIEF, now=1)
    table.failed("b", Cause.COLD, now=0)
    table.catalog_changed()
    assert not table.resting("a", now=2)
    assert table.resting("b", now=2)


@pytest.mark.parametrize(("passed", "seconds"), [(0.0, 2), (1.5, 1), (2.0, 1)])
def test_retry_after_is_the_soonest_recovery_in_whole_seconds(passed: float, seconds: int) -> None:
    table = RestTable()
    table.failed("a", Cause.COLD, now=0)
    table.failed("b", Cause.BRIEF, now=0)
    assert table.retry_after(["a", "b"], now=passed) == seconds
    assert table.retry_after(["a"], now=0) == 30


def test_the_table_is_bounded() -> None:
    table = RestTable()
    for number in range(MAX_MODELS + 10):
        table.failed(str(number), Cause.COLD, now=0)
    assert table.count(now=1) == MAX_MODELS
    assert not table.resting("0", now=1)


def test_what_rests_a_model_is_what_blames_it() -> None:
    assert set(CAUSES) == {outcome for outcome in Outcome if RULES[outcome].blames_model}
    assert not ORIGIN_OUTCOMES & set(CAUSES)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b'{"detail":"No instances available (yet) for chute_id=\'x\'"}', Cause.COLD),
        (b'{"detail":"This chute is currently disabled."}', Cause.UNTIL_CATALOG),
        (b'{"detail":"other"}', None),
        (b'{"detail":["No instances available"]}', None),
        (b"<html>", None),
    ],
)
def test_a_503_says_more_in_its_body(body: bytes, cause: Cause | None) -> None:
    assert cause_in(body) is cause


def test_brief_failures_during_a_long_rest_do_not_keep_it_up() -> None:
    table = RestTable()
    table.failed("a", Cause.COLD, now=0)
    for now in (10, 20, 27):
        table.failed("a", Cause.BRIEF, now=now)
    assert not table.resting("a", now=30)


def test_a_catalogue_does_not_clear_what_was_found_out_after_it() -> None:
    table = RestTable()
    table.failed("org/before", Cause.UNTIL_CATALOG, now=10.0)
    table.failed("org/after", Cause.UNTIL_CATALOG, now=30.0)
    table.catalog_changed(at=20.0)
    assert [name for name, _rest in table.items()] == ["org/after"]


def test_who_shares_the_table_hears_of_each_change_and_not_of_what_was_adopted() -> None:
    told: list[tuple[str, object]] = []
    table, other = RestTable(told=lambda *what: told.append(what)), RestTable()
    table.failed("org/a", Cause.BRIEF, now=10.0)
    ((model, rest),) = table.items()
    assert told == [(model, rest)]
    other.adopt(model, rest)
    assert other.resting("org/a", now=11.0)
    other.adopt(model, None)
    assert other.items() == ()
    table.succeeded("org/a")
    table.succeeded("org/b")
    assert told == [(model, rest), ("org/a", None)]
    table.adopt("org/c", rest)
    assert len(told) == 2
