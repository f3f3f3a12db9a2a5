"""What a strategy is told of the moment: how old the feed is, whoever's clock is wrong."""

import math
from dataclasses import replace

import pytest
from twisted.internet.task import Clock

from autopilot.dataplane.learning import Learned
from autopilot.dataplane.planning import Planner
from autopilot.policy.catalog import Utilization
from autopilot.policy.needs import Needs
from autopilot.policy.rest import RestTable
from autopilot.testing import picture_of


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
    learned = Learned(RestTable(), now=monotonic.seconds)
    planner = Planner(
        {},
        "none",
        learned=learned,
        monotonic=monotonic.seconds,
        wall=wall.seconds,
        seed=lambda: 7,
    )
    picture = replace(
        picture_of("a", fetched_at=fetched_at),
        utilization=Utilization(chutes=(), timestamp=timestamp),
    )
    moment = planner.moment(picture, Needs())
    assert (moment.feed_age, moment.seed) == (age, 7)
