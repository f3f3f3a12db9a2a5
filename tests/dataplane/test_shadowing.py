"""Another strategy asked beside the one that is followed: counted, never obeyed, judged like it."""

from dataclasses import replace

import pytest
from twisted.python.failure import Failure

from autopilot.interfaces import ISelector
from autopilot.policy.catalog import Catalog
from autopilot.policy.rest import MAX_REST, Cause
from autopilot.policy.shadow import PATIENCE
from autopilot.policy.traits import UNKNOWN, Traits
from autopilot.selectors.capacity import Capacity
from autopilot.selectors.cost import Cost
from autopilot.testing import AlphabeticSelector, FixedPicture, picture_of
from tests.web.test_ends import broken_metric

from .test_router import ALIAS, Bench

SELECTORS = {
    "capacity": ISelector(Capacity()),
    "alphabetic": ISelector(AlphabeticSelector()),
    "cost": ISelector(Cost()),
}


def bench_of(*names: str, shadow: str | None = "alphabetic", tools: str = "") -> Bench:
    """One of models of which only those in `tools` are known to take tools."""
    picture = picture_of(*names)
    able = Traits(features=frozenset({"tools"}))
    models = (
        replace(each, traits=able if each.id in tools else UNKNOWN)
        for each in picture.catalog.models
    )
    source = FixedPicture(replace(picture, catalog=Catalog(tuple(models))))
    return Bench(source=source, selectors=SELECTORS, shadow=shadow)


def choices(bench: Bench) -> tuple[float, float]:
    counted = (
        bench.count("autopilot_shadow_choices_total", choice=choice) for choice in ("same", "other")
    )
    same, other = (number or 0.0 for number in counted)
    return same, other


def fates(bench: Bench) -> dict[tuple[str, str], float]:
    found = {
        (side, fate): bench.count("autopilot_shadow_fates_total", side=side, fate=fate)
        for side in ("followed", "shadow")
        for fate in ("success", "failure", "unknown")
    }
    return {key: number for key, number in found.items() if number}


def test_choices_that_differ_are_counted_and_both_are_judged_by_what_comes_next() -> None:
    bench = bench_of("b", "a", "c")
    assert bench.ask(ALIAS) == ["b"]
    assert choices(bench) == (0, 1)
    assert fates(bench) == {("followed", "success"): 1}
    bench = bench_of("b", "a", "c")
    bench.platform.failing = {"a"}
    bench.route(ALIAS)
    bench.route("a", client="another")
    assert fates(bench) == {("followed", "success"): 1, ("shadow", "failure"): 1}


def test_the_times_of_streams_that_began_are_added_up() -> None:
    bench = bench_of("b", "a")
    bench.route(ALIAS)
    bench.route("a", client="another")
    for side in ("followed", "shadow"):
        assert bench.count("autopilot_shadow_first_bytes_total", side=side) == 1
        assert bench.count("autopilot_shadow_first_byte_seconds_total", side=side) == 0


def test_what_nobody_asked_in_time_is_unknown() -> None:
    bench = bench_of("b", "a")
    bench.route(ALIAS)
    bench.clock.advance(PATIENCE + 1)
    bench.route(ALIAS, client="another")
    assert fates(bench) == {("followed", "success"): 2, ("shadow", "unknown"): 1}


def test_choices_that_agree_wait_for_nothing() -> None:
    bench = bench_of("a", "b")
    assert bench.ask(ALIAS) == ["a"]
    assert choices(bench) == (1, 0)
    assert fates(bench) == {}


def test_both_are_asked_whom_they_would_ask_of_those_that_do_not_rest() -> None:
    bench = bench_of("b", "a", "c")
    bench.rests.failed("a", Cause.UNTIL_CATALOG, now=0.0)
    assert bench.ask(ALIAS) == ["b"]
    assert choices(bench) == (1, 0)
    bench.clock.advance(MAX_REST)


def test_both_are_asked_whom_they_would_ask_of_those_that_are_known_to_be_able() -> None:
    bench = bench_of("c", "b", "a", tools="bc")
    bench.route(ALIAS, tools=[{"type": "function"}])
    assert bench.platform.asked == ["c"]
    bench.route("b", client="another")
    assert fates(bench) == {("followed", "success"): 1, ("shadow", "success"): 1}


def test_a_choice_that_a_wish_has_shaped_is_not_compared() -> None:
    bench = bench_of("b", "a")
    for wish in ({"preferred_max_latency": 1}, {"order": ["a"]}, {"sort": "price"}):
        bench.route(ALIAS, provider=wish)
    assert choices(bench) == (0, 0)


def test_a_client_that_stays_or_asks_for_another_order_is_not_compared() -> None:
    bench = bench_of("b", "a")
    bench.ask(ALIAS)
    bench.ask(ALIAS)
    assert choices(bench) == (0, 1)
    bench.ask("b,a", client="with a list")
    bench.ask("b", client="with one model")
    assert choices(bench) == (0, 1)


def test_without_a_name_nothing_is_compared() -> None:
    bench = bench_of("b", "a", shadow=None)
    bench.ask(ALIAS)
    assert choices(bench) == (0, 0)


@pytest.mark.parametrize("name", ["shadow_choices", "shadow_fates", "shadow_seconds"])
def test_what_cannot_be_counted_costs_no_answer(
    name: str, monkeypatch: pytest.MonkeyPatch, lost_errors: list[Failure]
) -> None:
    bench = bench_of("b", "a")
    broken_metric(monkeypatch, bench.metrics, name)
    assert bench.ask(ALIAS) == ["b"]
    assert bench.downstream.status == 200
    assert {failure.type for failure in lost_errors} == {RuntimeError}
    lost_errors.clear()
