"""`latency`: what begins to answer soonest goes first."""

import pytest

from autopilot.policy.needs import Needs
from autopilot.policy.scene import Moment
from autopilot.policy.timings import Mean, Timings
from autopilot.selectors.latency import Latency

from .scenes import chute, scene_of, timings_of

ALIKE = scene_of(chute("org/a"), chute("org/b"), chute("org/c"))


def moment(timings: Timings, *, tokens: int = 100, age: float = 0.0) -> Moment:
    return Moment(feed_age=age, needs=Needs(prompt_tokens=tokens), timings=timings)


def test_models_alike_of_which_nothing_was_measured_stay_in_the_order_of_the_contract() -> None:
    assert Latency().plan(ALIKE).order(moment(Timings())) == ALIKE.names


def test_a_model_measured_slow_falls_behind_and_a_quick_one_comes_forward() -> None:
    seen = {"org/a": Mean(9.0, 4.0), "org/c": Mean(0.2, 4.0)}
    order = Latency().plan(ALIKE).order(moment(timings_of(first_byte=seen)))
    assert order == ("org/c", "org/b", "org/a")


def test_what_was_measured_longer_ago_counts_less() -> None:
    plan = Latency().plan(ALIKE)
    lately, before = (
        plan.terms("org/a", moment(timings_of(first_byte={"org/a": Mean(9.0, weight)})))
        for weight in (8.0, 0.1)
    )
    assert lately["expected_seconds"] > before["expected_seconds"]


def test_where_nothing_was_measured_the_busier_chute_is_expected_to_be_slower() -> None:
    scene = scene_of(chute("org/full", 9, busy=1.0), chute("org/half", busy=0.5), chute("org/idle"))
    order = Latency().plan(scene).order(moment(Timings()))
    assert order == ("org/idle", "org/half", "org/full")


def test_chutes_about_as_busy_stay_in_the_order_of_the_contract_which_knows_their_room() -> None:
    scene = scene_of(chute("org/large", 40, busy=0.2), chute("org/small", 1, busy=0.0))
    assert Latency().plan(scene).order(moment(Timings())) == scene.names


def test_a_model_that_was_never_asked_is_not_taken_for_quick_because_all_are_slower() -> None:
    seen = {"org/a": Mean(5.0, 8.0), "org/b": Mean(8.0, 8.0)}
    plan = Latency().plan(ALIKE)
    found = moment(timings_of(first_byte=seen))
    assert plan.order(found)[0] == "org/a"
    assert plan.terms("org/c", found)["scale"] > 5.0


def test_a_prompt_of_another_size_tells_of_this_one() -> None:
    # 200 tokens took ten times what they take an idle chute.
    seen = timings_of(size=0, first_byte={"org/a": Mean(5.6, 8.0), "org/b": Mean(0.5, 8.0)})
    order = Latency().plan(ALIKE).order(moment(seen, tokens=50_000))
    assert order.index("org/b") < order.index("org/a")
    # What was measured of the size itself counts more.
    own = timings_of(size=3, first_byte={"org/a": Mean(1.0, 8.0), "org/b": Mean(60.0, 8.0)})
    both = Timings(first_byte=(*seen.first_byte[:3], *own.first_byte[3:]))
    order = Latency().plan(ALIKE).order(moment(both, tokens=50_000))
    assert order.index("org/a") < order.index("org/b")


def test_a_model_that_fails_pays_for_each_attempt_and_so_does_one_that_refuses() -> None:
    failing = timings_of(failures={"org/a": Mean(1.0, 8.0)})
    assert Latency().plan(ALIKE).order(moment(failing))[-1] == "org/a"
    refusing = scene_of(chute("org/a", refusing=0.9), chute("org/b"))
    assert Latency().plan(refusing).order(moment(Timings())) == ("org/b", "org/a")


def test_an_old_feed_counts_by_its_usual_figures() -> None:
    scene = scene_of(chute("org/a", busy=0.0, usually=1.0), chute("org/b", busy=1.0, usually=0.0))
    plan, nothing = Latency().plan(scene), Timings()
    assert plan.order(moment(nothing, age=0.0)) == ("org/a", "org/b")
    assert plan.order(moment(nothing, age=3600.0)) == ("org/b", "org/a")


def test_the_terms_add_up_to_the_seconds_by_the_formula_of_the_docstring() -> None:
    scene = scene_of(chute("org/a", busy=0.5, refusing=0.2), chute("org/b"))
    seen = timings_of(
        size=1, first_byte={"org/a": Mean(4.0, 3.0)}, failures={"org/a": Mean(0.5, 2.0)}
    )
    terms = Latency().plan(scene).terms("org/a", moment(seen, tokens=2_000))
    # 1 + 5 * 0.5 ** 3 is 1.625, in halves.
    assert terms["prior_times"] == pytest.approx(terms["scale"] * 1.5)
    # One observation of this class is all there is of all classes.
    times = 4.0 / terms["idle_seconds"]
    assert terms["observed_all_sizes_times"] == pytest.approx(times)
    assert terms["times"] == pytest.approx((times * 3 + terms["prior_times"]) / 4)
    first = (4.0 * 3 + terms["times"] * terms["idle_seconds"]) / 4
    assert terms["first_byte_seconds"] == pytest.approx(first)
    failing = (0.5 * 2 + 0.2) / 3
    assert terms["failing_share"] == pytest.approx(failing)
    assert terms["expected_seconds"] == pytest.approx(first + failing / (1 - failing))


def test_the_disadvantage_is_the_share_of_the_seconds_that_the_rival_saves() -> None:
    seen = timings_of(first_byte={"org/a": Mean(4.0, 8.0), "org/b": Mean(1.0, 8.0)})
    plan, found = Latency().plan(ALIKE), moment(seen)
    mine, other = (plan.terms(name, found)["expected_seconds"] for name in ("org/a", "org/b"))
    assert plan.disadvantage("org/a", "org/b", found) == pytest.approx(1 - other / mine)
    assert plan.disadvantage("org/b", "org/a", found) == 0.0
