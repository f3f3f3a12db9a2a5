"""What a strategy is told of the moment, and how long what it planned is kept."""

import math
from dataclasses import replace

import pytest
from twisted.internet.task import Clock

from autopilot.dataplane.learning import Learned
from autopilot.dataplane.planning import MAX_PLANS, Planner
from autopilot.interfaces import ISelector
from autopilot.policy.catalog import Utilization
from autopilot.policy.needs import Needs
from autopilot.policy.rest import RestTable
from autopilot.testing import AlphabeticSelector, picture_of


def planner_of(
    selector: AlphabeticSelector, *, monotonic: Clock | None = None, wall: Clock | None = None
) -> Planner:
    now = (monotonic or Clock()).seconds
    return Planner(
        {"alphabetic": ISelector(selector)},
        "alphabetic",
        learned=Learned(RestTable(), now=now),
        monotonic=now,
        wall=(wall or Clock()).seconds,
        seed=lambda: 7,
    )


@pytest.mark.parametrize(
    ("timestamp", "fetched_at", "age"),
    [
        (900.0, 95.0, 100.0),
        (999.0, 95.0, 5.0),
        (2_000.0, 95.0, 5.0),
        (2_000.0, 100.0, 0.0),
        (None, 95.0, math.inf),
    ],
)
def test_a_feed_is_as_old_as_it_says_and_at_least_as_our_fetch(
    timestamp: float | None, fetched_at: float, age: float
) -> None:
    monotonic, wall = Clock(), Clock()
    monotonic.advance(100.0)
    wall.advance(1_000.0)
    planner = planner_of(AlphabeticSelector(), monotonic=monotonic, wall=wall)
    picture = replace(
        picture_of("a", fetched_at=fetched_at),
        utilization=Utilization(chutes=(), timestamp=timestamp),
    )
    moment = planner.moment(picture, Needs())
    assert (moment.feed_age, moment.seed) == (age, 7)


def test_a_new_picture_is_planned_anew_even_for_the_same_names() -> None:
    selector, names = AlphabeticSelector(), ("b", "a")
    planner = planner_of(selector)
    for picture in (picture_of(*names), picture_of(*names)):
        for _request in range(2):
            moment = planner.moment(picture, Needs())
            assert planner.order(picture, names, moment, selector="alphabetic") == ("a", "b")
    assert len(selector.plans) == 2


def test_plans_are_bounded_and_the_one_used_longest_ago_goes_first() -> None:
    selector, picture = AlphabeticSelector(), picture_of("a")
    planner = planner_of(selector)
    moment = planner.moment(picture, Needs())

    def plans_for(*numbers: int) -> int:
        before = len(selector.plans)
        for number in numbers:
            planner.order(picture, (str(number),), moment, selector="alphabetic")
        return len(selector.plans) - before

    assert plans_for(*range(MAX_PLANS)) == MAX_PLANS
    assert plans_for(0, MAX_PLANS) == 1
    assert plans_for(0, MAX_PLANS) == 0
    assert plans_for(1) == 1
