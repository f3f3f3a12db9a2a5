"""What holds of every selector that is installed, whatever it orders by."""

import math
from copy import deepcopy
from importlib import import_module
from itertools import product

import pytest
from hypothesis import given
from twisted.plugin import IPlugin, getPlugins
from zope.interface.verify import verifyObject

from autopilot.interfaces import IPlan, ISelector
from autopilot.policy.scene import Moment, Scene
from tests.policy.strategies import steady

from .scenes import chute, moments, scene_of, scenes

BUILT_IN = {"balanced", "capacity", "cost", "latency", "throughput"}
FOUND: dict[str, ISelector] = {each.name: each for each in getPlugins(ISelector)}

each_selector = pytest.mark.parametrize("selector", FOUND.values(), ids=FOUND.keys())


def test_all_that_are_built_in_are_found() -> None:
    assert set(FOUND) >= BUILT_IN


@each_selector
def test_it_is_a_selector_a_plugin_and_makes_plans(selector: ISelector) -> None:
    assert verifyObject(ISelector, selector)
    assert verifyObject(IPlugin, selector)
    assert verifyObject(IPlan, selector.plan(scene_of(chute("org/a"))))


@each_selector
def test_it_says_when_to_use_it(selector: ISelector) -> None:
    assert "\n\nUse it " in (import_module(type(selector).__module__).__doc__ or "")


# Below, each example goes through all selectors: making examples costs more than ordering them.


@given(scene=scenes(), moment=moments())
@steady
def test_all_names_are_ordered_each_once(scene: Scene, moment: Moment) -> None:
    for selector in FOUND.values():
        order = selector.plan(scene).order(moment)
        assert isinstance(order, tuple), selector.name
        assert sorted(order) == sorted(scene.names), selector.name


@given(scene=scenes(), moment=moments(), before=moments())
@steady
def test_equal_scenes_and_moments_give_equal_orders_whatever_was_asked_before(
    scene: Scene, moment: Moment, before: Moment
) -> None:
    again = deepcopy(moment)
    for selector in FOUND.values():
        plan, other = selector.plan(scene), selector.plan(deepcopy(scene))
        plan.order(before)
        assert plan.order(moment) == other.order(again) == plan.order(again), selector.name
        for name in scene.names:
            assert plan.terms(name, moment) == other.terms(name, again), selector.name


@given(scene=scenes(), moment=moments())
@steady
def test_every_place_has_its_terms_and_all_of_them_are_finite(scene: Scene, moment: Moment) -> None:
    for selector in FOUND.values():
        plan = selector.plan(scene)
        for name in scene.names:
            terms = plan.terms(name, moment)
            assert terms or (selector.name == "capacity" and name not in scene.chutes)
            assert all(math.isfinite(term) for term in terms.values()), (selector.name, terms)


@given(scene=scenes(), moment=moments())
@steady
def test_a_disadvantage_is_a_share_and_of_two_models_only_one_has_it(
    scene: Scene, moment: Moment
) -> None:
    for selector in FOUND.values():
        plan = selector.plan(scene)
        for name, rival in product(scene.names, repeat=2):
            one, other = (
                plan.disadvantage(*pair, moment) for pair in ((name, rival), (rival, name))
            )
            assert 0.0 <= one <= 1.0, selector.name
            assert 0.0 in (one, other), selector.name


@given(scene=scenes(), moment=moments())
@steady
def test_what_was_measured_orders_as_it_tells_of_disadvantage(scene: Scene, moment: Moment) -> None:
    for selector in (FOUND["latency"], FOUND["throughput"]):
        plan = selector.plan(scene)
        order = plan.order(moment)
        for place, name in enumerate(order):
            assert all(plan.disadvantage(name, later, moment) == 0.0 for later in order[place:])
