"""`cost`: what costs least goes first."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.catalog import Chute
from autopilot.policy.needs import Needs
from autopilot.policy.scene import Moment, Scene
from autopilot.policy.timings import Mean
from autopilot.policy.traits import Price
from autopilot.selectors.cost import Cost
from tests.policy.strategies import steady

from .scenes import chute, scene_of, timings_of


def moment(prompt: int = 1_000, answer: int = 0, *, prefix: int = 0, age: float = 0.0) -> Moment:
    needs = Needs(prompt_tokens=prompt, prefix_tokens=prefix, completion_tokens=answer)
    return Moment(feed_age=age, needs=needs)


def priced(**prices: Price) -> Scene:
    return scene_of(*(chute(name) for name in prices), prices=prices)


READER = Price(prompt=0.1, completion=9.0)
WRITER = Price(prompt=1.0, completion=1.0)


def test_what_is_cheap_depends_on_what_is_read_and_written() -> None:
    plan = Cost().plan(priced(reader=READER, writer=WRITER))
    assert plan.order(moment(100_000, 100)) == ("reader", "writer")
    assert plan.order(moment(100, 10_000)) == ("writer", "reader")
    # 500 tokens are expected of an answer without a bound: 4.6 thousandths of a dollar, against 1.5.
    assert plan.order(moment(1_000)) == ("writer", "reader")
    assert plan.order(moment(0)) == ("writer", "reader")


def test_equal_costs_are_in_the_order_of_the_contract() -> None:
    scene = priced(first=WRITER, second=WRITER, third=WRITER)
    assert Cost().plan(scene).order(moment()) == scene.names


def test_a_model_without_a_price_comes_last_and_is_not_left_out() -> None:
    dear = Price(prompt=500.0, completion=500.0)
    scene = priced(unknown=Price(), half=Price(prompt=0.0), dear=dear)
    assert Cost().plan(scene).order(moment()) == ("dear", "unknown", "half")


def test_a_conversation_is_counted_at_the_price_for_cached_prompts() -> None:
    scene = priced(
        plain=Price(prompt=1.0, completion=1.0),
        caching=Price(prompt=1.5, completion=1.0, cached_prompt=0.1),
    )
    plan = Cost().plan(scene)
    assert plan.order(moment(10_000, prefix=0)) == ("plain", "caching")
    assert plan.order(moment(10_000, prefix=9_000)) == ("caching", "plain")


@pytest.mark.parametrize("full", [chute("full", busy=1.0), chute("full", refusing=1.0)])
def test_a_full_chute_is_no_bargain_while_the_feed_is_fresh(full: Chute) -> None:
    scene = priced(full=Price(prompt=0.0, completion=0.0), dear=WRITER, unknown=Price())
    scene = Scene(
        names=scene.names,
        chutes={**scene.chutes, "full": full},
        catalog=scene.catalog,
    )
    assert Cost().plan(scene).order(moment()) == ("dear", "full", "unknown")


def test_a_chute_that_is_full_now_and_not_usually_is_a_bargain_again_when_the_feed_is_old() -> None:
    prices = {"full": Price(prompt=0.0, completion=0.0), "dear": WRITER}
    scene = scene_of(chute("full", busy=1.0, usually=0.2), chute("dear"), prices=prices)
    plan = Cost().plan(scene)
    assert plan.order(moment(age=0.0)) == ("dear", "full")
    assert plan.order(moment(age=3600.0)) == ("full", "dear")


def test_a_model_that_failed_here_lately_is_no_bargain_and_draws_nobody_back() -> None:
    scene = priced(full=Price(prompt=0.1, completion=0.1), dear=WRITER)
    plan = Cost().plan(scene)
    seldom, often = (
        Moment(feed_age=0.0, timings=timings_of(failures={"full": mean}))
        for mean in (Mean(0.2, 4.0), Mean(0.8, 4.0))
    )
    assert plan.order(seldom) == ("full", "dear")
    assert plan.disadvantage("dear", "full", seldom) == pytest.approx(0.9)
    assert plan.order(often) == ("dear", "full")
    assert plan.disadvantage("dear", "full", often) == 0.0
    assert plan.disadvantage("full", "dear", often) == 1.0
    assert plan.terms("full", often)["failing_share"] == pytest.approx(0.8 * 4 / 5)
    assert plan.order(moment()) == ("full", "dear")


AMOUNT = st.floats(0.01, 10.0)


@given(
    rates=st.lists(st.tuples(AMOUNT, AMOUNT), min_size=2, max_size=5),
    prompt=st.integers(1, 200_000),
    answer=st.integers(1, 20_000),
)
@steady
def test_no_model_goes_before_one_that_is_cheaper_by_more_than_the_rounding(
    rates: list[tuple[float, float]], prompt: int, answer: int
) -> None:
    prices = {
        f"m{index}": Price(prompt=read, completion=written)
        for index, (read, written) in enumerate(rates)
    }
    order = Cost().plan(priced(**prices)).order(moment(prompt, answer))
    costs = [
        prompt * rate.prompt + answer * rate.completion
        for rate in (prices[name] for name in order)
        if rate.prompt is not None and rate.completion is not None
    ]
    for place, cost in enumerate(costs):
        assert cost <= min(costs[place:]) * 1.2


def test_orders_of_many_kinds_of_requests_are_not_kept_for_ever_and_made_again_alike() -> None:
    plan = Cost().plan(priced(reader=READER, writer=WRITER))
    kept = plan.order(moment(100_000, 100))
    assert plan.order(moment(100_000, 100)) is kept
    for length, prefix in product(range(-40, 41), range(5)):
        prompt = round(10_000 * 2 ** (length / 4))
        plan.order(moment(prompt, 10_000, prefix=prompt * prefix // 4))
    assert plan.order(moment(100_000, 100)) is not kept
    assert plan.order(moment(100_000, 100)) == kept == ("reader", "writer")
    assert plan.order(moment(100, 10_000)) == ("writer", "reader")


def test_the_terms_add_up_to_the_dollars_by_the_formula_of_the_docstring() -> None:
    price = Price(prompt=2.0, completion=6.0, cached_prompt=0.5)
    # 4,000 is three doublings of 500, and half of it was there before.
    terms = Cost().plan(priced(m=price)).terms("m", moment(4_000, prefix=2_000))
    assert terms["fresh_tokens"] == pytest.approx(2_000)
    assert terms["prefix_tokens"] == pytest.approx(2_000)
    assert terms["answer_tokens"] == 500
    assert terms["expected_dollars"] == pytest.approx((2_000 * 2 + 2_000 * 0.5 + 500 * 6) / 1e6)


def test_the_disadvantage_is_the_share_of_the_money_that_the_rival_saves_without_its_cache() -> (
    None
):
    scene = priced(
        dear=Price(prompt=4.0, completion=4.0, cached_prompt=0.0),
        cheap=Price(prompt=1.0, completion=1.0),
        unknown=Price(),
    )
    plan, found = Cost().plan(scene), moment(8_000, prefix=8_000)
    assert plan.disadvantage("dear", "cheap", found) == pytest.approx(0.75)
    assert plan.disadvantage("cheap", "dear", found) == 0.0
    assert plan.disadvantage("unknown", "dear", found) == 1.0
