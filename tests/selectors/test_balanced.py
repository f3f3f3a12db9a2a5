"""`balanced`: what is free is shared out."""

import random
from collections import Counter

import pytest

from autopilot.policy.catalog import Catalog
from autopilot.policy.scene import Moment, Scene
from autopilot.policy.timings import Mean
from autopilot.selectors.balanced import SLOTS, Balanced

from .scenes import chute, scene_of, timings_of

ALIKE = scene_of(chute("org/a", 4), chute("org/b", 4))
CHANCE = random.Random(1)  # noqa: S311 - the same seeds every time
SEEDS = tuple(CHANCE.getrandbits(64) for _seed in range(4_000))


def first_of(
    scene: Scene, *, age: float = 0.0, in_flight: dict[str, int] | None = None
) -> Counter[str]:
    """How often each model comes first."""
    plan, busy = Balanced().plan(scene), in_flight or {}
    orders = (plan.order(Moment(feed_age=age, seed=seed, in_flight=busy)) for seed in SEEDS)
    return Counter(order[0] for order in orders)


def test_equal_free_capacity_is_split_in_equal_parts() -> None:
    found = first_of(ALIKE)
    assert found["org/a"] / len(SEEDS) == pytest.approx(0.5, abs=0.03)
    many = scene_of(*(chute(f"org/{letter}", 4) for letter in "abcdefgh"))
    assert all(
        times / len(SEEDS) == pytest.approx(1 / 8, abs=0.03) for times in first_of(many).values()
    )


def test_routers_that_know_nothing_of_each_other_share_out_in_proportion_to_what_is_free() -> None:
    found = first_of(scene_of(chute("org/a", 6), chute("org/b", 4)))
    assert found["org/a"] / len(SEEDS) == pytest.approx(0.6, abs=0.03)


def test_of_three_the_second_place_is_drawn_by_what_is_free_too() -> None:
    scene = scene_of(chute("org/a", 10), chute("org/b", 8), chute("org/c", 6))
    plan = Balanced().plan(scene)
    orders = Counter(plan.order(Moment(feed_age=0.0, seed=seed))[:2] for seed in SEEDS)
    after_a = orders["org/a", "org/b"] + orders["org/a", "org/c"]
    assert orders["org/a", "org/b"] / after_a == pytest.approx(8 / 14, abs=0.04)


def test_own_requests_since_the_sample_move_it_elsewhere() -> None:
    assert first_of(ALIKE, in_flight={"org/a": 1})["org/b"] == len(SEEDS)
    three = scene_of(chute("org/a", 4), chute("org/b", 4), chute("org/c", 4))
    found = first_of(three, in_flight={"org/a": 10, "org/c": 5})
    # `org/a` comes first only where it is compared with nobody better, which does not happen.
    assert found["org/a"] == 0
    assert found["org/b"] > found["org/c"] > 0


def test_what_i_filled_is_not_drawn_any_more() -> None:
    plan = Balanced().plan(ALIKE)
    filled = {"org/a": int(4 * SLOTS)}
    moments = (Moment(feed_age=0.0, seed=seed, in_flight=filled) for seed in SEEDS[:100])
    assert {plan.order(moment) for moment in moments} == {("org/b", "org/a")}


@pytest.mark.parametrize("age", [0.0, 1800.0])
def test_who_has_much_less_than_the_best_gets_its_part_all_the_same(age: float) -> None:
    found = first_of(scene_of(chute("org/a", 10), chute("org/b", 10), chute("org/c", 3)), age=age)
    assert found["org/c"] / len(SEEDS) == pytest.approx(3 / 23, abs=0.03)


def test_what_failed_here_lately_moves_requests_elsewhere() -> None:
    plan = Balanced().plan(ALIKE)
    timings = timings_of(failures={"org/a": Mean(0.5, 4.0), "org/elsewhere": Mean(1.0, 8.0)})
    found = Moment(feed_age=0.0, timings=timings)
    assert plan.order(found) == ("org/b", "org/a")
    assert plan.terms("org/a", found)["failing_share"] == pytest.approx(0.4)
    assert plan.terms("org/a", found)["left_instances"] == pytest.approx(4 * 0.6)
    assert plan.disadvantage("org/a", "org/b", found) == pytest.approx(0.4)


def test_what_failed_here_lately_makes_a_lot_as_much_less_likely() -> None:
    plan = Balanced().plan(scene_of(*(chute(f"org/{letter}", 4) for letter in "abc")))
    timings = timings_of(failures={"org/a": Mean(1.0, 1.0)})
    orders = Counter(
        plan.order(Moment(feed_age=0.0, seed=seed, timings=timings))[2] for seed in SEEDS
    )
    # Of three with 4, 4 and 2 left, it is among the two drawn as often as 2 * 2 of 5 lots say.
    drawn = 2 / 10 + 2 * (4 / 10) * (2 / 6)
    assert orders["org/a"] / len(SEEDS) == pytest.approx(1 - drawn, abs=0.03)


def test_an_old_feed_counts_by_its_usual_figures() -> None:
    scene = scene_of(
        chute("org/a", 4, busy=0.0, usually=0.9), chute("org/b", 4, busy=0.9, usually=0.0)
    )
    fresh, old = first_of(scene, age=0.0), first_of(scene, age=3600.0)
    assert fresh["org/a"] / len(SEEDS) == pytest.approx(10 / 12, abs=0.03)
    assert old["org/b"] / len(SEEDS) == pytest.approx(10 / 12, abs=0.03)


def test_the_rest_follow_by_what_is_left() -> None:
    scene = scene_of(
        chute("org/a", 1), chute("org/b", 20), chute("org/c", 2), chute("org/d", 18),
        chute("org/e", 3),
    )  # fmt: skip
    plan = Balanced().plan(scene)
    for seed in SEEDS[:50]:
        order = plan.order(Moment(feed_age=0.0, seed=seed, in_flight={"org/e": int(1.5 * SLOTS)}))
        by_left = ("org/b", "org/d", "org/c", "org/e", "org/a")
        assert order[2:] == tuple(name for name in by_left if name not in order[:2])


def test_where_all_is_full_the_larger_get_more_since_more_of_their_answers_end() -> None:
    found = first_of(scene_of(chute("org/a", 6, busy=1.2), chute("org/b", 4, refusing=1.0)))
    assert found["org/a"] / len(SEEDS) == pytest.approx(0.6, abs=0.03)


def test_the_terms_add_up_to_what_is_left_by_the_formula_of_the_docstring() -> None:
    scene = scene_of(chute("org/a", 8, busy=0.5, refusing=0.1), chute("org/b"))
    terms = Balanced().plan(scene).terms("org/a", Moment(feed_age=0.0, in_flight={"org/a": 10}))
    assert terms["free_instances"] == pytest.approx(8 * (1 - 0.5 - 2 * 0.1))
    assert terms["left_instances"] == pytest.approx(8 * 0.3 - 10 / SLOTS)


@pytest.mark.parametrize(
    ("busy", "in_flight", "disadvantage"),
    [
        # Half is taken: that is no reason to go anywhere.
        (0.5, 0, 0.0),
        # As near to refusing as (taken - 0.7) / 0.3 says, own requests included.
        (0.76, 0, 0.2),
        (0.6, 16, 1 / 3),
        # Of a full one 0.8 are counted as taken, to 0.2 of the rival.
        (1.0, 0, 0.6),
        (1.0, 64, 0.8),
    ],
)
def test_the_disadvantage_is_how_much_nearer_to_refusing_it_is_and_not_how_small_or_busy(
    busy: float, in_flight: int, disadvantage: float
) -> None:
    scene = scene_of(chute("org/a", 4, busy=busy), chute("org/b", 40, busy=0.2))
    plan, found = Balanced().plan(scene), Moment(feed_age=0.0, in_flight={"org/a": in_flight})
    assert plan.disadvantage("org/a", "org/b", found) == pytest.approx(disadvantage)
    assert plan.disadvantage("org/b", "org/a", found) == 0.0


def test_where_nothing_is_left_anywhere_nothing_is_left_to_chance() -> None:
    unknown = Scene(names=("org/b", "org/a"), chutes={}, catalog=Catalog())
    overfull = {"org/a": int(9 * SLOTS), "org/b": int(5 * SLOTS)}
    for seed in SEEDS[:50]:
        plan = Balanced().plan(unknown)
        assert plan.order(Moment(feed_age=0.0, seed=seed)) == unknown.names
        moment = Moment(feed_age=0.0, seed=seed, in_flight=overfull)
        assert Balanced().plan(ALIKE).order(moment) == ("org/b", "org/a")


def test_figures_without_sense_still_give_two_different_models() -> None:
    scene = scene_of(chute("org/a", 1e308), chute("org/b", 1e308), chute("org/c", 1))
    plan = Balanced().plan(scene)
    for seed in (0, *SEEDS[:50]):
        assert sorted(plan.order(Moment(feed_age=1e9, seed=seed))) == list(scene.names)
