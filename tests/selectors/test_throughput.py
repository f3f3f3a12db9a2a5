"""`throughput`: what streams fastest goes first."""

import pytest

from autopilot.policy.scene import Moment
from autopilot.policy.timings import Mean, Timings
from autopilot.selectors.throughput import Throughput

from .scenes import chute, scene_of, timings_of

ALIKE = scene_of(chute("org/a"), chute("org/b"), chute("org/c"))


def moment(timings: Timings) -> Moment:
    return Moment(feed_age=0.0, timings=timings)


def test_models_alike_of_which_nothing_was_measured_stay_in_the_order_of_the_contract() -> None:
    assert Throughput().plan(ALIKE).order(moment(Timings())) == ALIKE.names


def test_a_model_measured_slow_falls_behind_and_a_fast_one_comes_forward() -> None:
    seen = {"org/a": Mean(500.0, 4.0), "org/c": Mean(90_000.0, 4.0)}
    order = Throughput().plan(ALIKE).order(moment(timings_of(pace=seen)))
    assert order == ("org/c", "org/b", "org/a")


def test_where_nothing_was_measured_a_fuller_batch_is_expected_to_be_slower() -> None:
    scene = scene_of(chute("org/full", 9, busy=1.0), chute("org/half", busy=0.5), chute("org/idle"))
    order = Throughput().plan(scene).order(moment(Timings()))
    assert order == ("org/idle", "org/half", "org/full")


def test_chutes_about_as_busy_stay_in_the_order_of_the_contract_which_knows_their_room() -> None:
    scene = scene_of(chute("org/large", 40, busy=0.2), chute("org/small", 1, busy=0.0))
    assert Throughput().plan(scene).order(moment(Timings())) == scene.names


def test_a_model_that_was_never_asked_is_not_taken_for_fast_because_all_are_slower() -> None:
    seen = {"org/b": Mean(1_500.0, 8.0), "org/a": Mean(500.0, 8.0)}
    assert Throughput().plan(ALIKE).order(moment(timings_of(pace=seen)))[0] == "org/b"


def test_a_model_that_fails_streams_nothing() -> None:
    seen = timings_of(
        pace={"org/a": Mean(40_000.0, 8.0), "org/b": Mean(20_000.0, 8.0)},
        failures={"org/a": Mean(0.9, 8.0)},
    )
    order = Throughput().plan(ALIKE).order(moment(seen))
    assert order.index("org/b") < order.index("org/a")


def test_an_old_feed_counts_by_its_usual_figures() -> None:
    scene = scene_of(chute("org/a", busy=0.0, usually=1.0), chute("org/b", busy=1.0, usually=0.0))
    plan, nothing = Throughput().plan(scene), Timings()
    assert plan.order(Moment(feed_age=0.0, timings=nothing)) == ("org/a", "org/b")
    assert plan.order(Moment(feed_age=3600.0, timings=nothing)) == ("org/b", "org/a")


def test_the_terms_add_up_to_the_pace_by_the_formula_of_the_docstring() -> None:
    scene = scene_of(chute("org/a", busy=0.5, refusing=0.2), chute("org/b"))
    seen = timings_of(pace={"org/a": Mean(3_000.0, 3.0)}, failures={"org/a": Mean(0.5, 2.0)})
    terms = Throughput().plan(scene).terms("org/a", moment(seen))
    prior = terms["scale"] * 12_000 / 1.5
    assert terms["prior_bytes_per_second"] == pytest.approx(prior)
    pace = (3_000 * 3 + prior) / 4
    assert terms["pace_bytes_per_second"] == pytest.approx(pace)
    failing = (0.5 * 2 + 0.2) / 3
    assert terms["expected_bytes_per_second"] == pytest.approx(pace * (1 - failing))


def test_the_disadvantage_is_the_share_of_the_time_that_the_rival_saves() -> None:
    seen = timings_of(pace={"org/a": Mean(1_000.0, 8.0), "org/b": Mean(4_000.0, 8.0)})
    plan, found = Throughput().plan(ALIKE), moment(seen)
    mine, other = (
        1 / plan.terms(name, found)["expected_bytes_per_second"] for name in ("org/a", "org/b")
    )
    assert plan.disadvantage("org/a", "org/b", found) == pytest.approx(1 - other / mine)
    assert plan.disadvantage("org/b", "org/a", found) == 0.0
