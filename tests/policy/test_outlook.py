"""What a feed lets one expect, young and old."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.catalog import Chute
from autopilot.policy.outlook import TRUST_HALF_LIFE, Outlook, trust_in


def chute(instances: float = 4.0, **figures: float) -> Chute:
    unsaid = Chute(name="org/a", chute_id="a", active_instance_count=instances)
    said: dict[str, Any] = {**figures}
    return replace(unsaid, **said)


def test_a_fresh_feed_is_believed_and_one_without_a_date_is_not() -> None:
    assert trust_in(0.0) == 1.0
    assert trust_in(TRUST_HALF_LIFE) == 0.5
    assert trust_in(math.inf) == 0.0
    # The clocks of two machines may differ.
    assert trust_in(-60.0) == 1.0


@given(st.floats(0.0, 1e6), st.floats(0.0, 1e6))
def test_trust_never_grows_with_age(one: float, other: float) -> None:
    assert trust_in(max(one, other)) <= trust_in(min(one, other))


def test_the_last_figures_give_way_to_the_usual_ones() -> None:
    outlook = Outlook.of(
        chute(
            utilization_5m=0.9,
            utilization_1h=0.1,
            rate_limit_ratio_5m=0.4,
            rate_limit_ratio_1h=0.2,
        )
    )
    assert outlook.busy_at(1.0) == pytest.approx(0.9)
    assert outlook.busy_at(0.5) == pytest.approx(0.5)
    assert outlook.busy_at(0.0) == pytest.approx(0.1)
    assert outlook.refusing_at(0.5) == pytest.approx(0.3)
    # 1 - 0.1 - 2 * 0.2
    assert outlook.room_at(0.0) == pytest.approx(0.5)
    assert outlook.room_at(1.0) == 0.0


def test_what_is_not_said_is_filled_in_from_what_is() -> None:
    outlook = Outlook.of(chute(utilization_current=0.3))
    assert (outlook.busy, outlook.usually_busy, outlook.refusing) == (0.3, 0.3, 0.0)
    assert Outlook.of(chute()).busy == 1.0


def test_a_refusal_is_remembered_as_in_the_contract() -> None:
    outlook = Outlook.of(
        chute(rate_limit_ratio_5m=0.0, rate_limit_ratio_15m=0.4, rate_limit_ratio_1h=0.1)
    )
    assert outlook.refusing == pytest.approx(0.2)


@pytest.mark.parametrize("row", [None, chute(0.0, utilization_5m=0.0)])
def test_where_nobody_is_at_work_all_is_busy_and_refuses(row: Chute | None) -> None:
    outlook = Outlook.of(row)
    assert (outlook.instances, outlook.busy, outlook.refusing) == (0.0, 1.0, 1.0)
    assert outlook.room_at(1.0) == outlook.room_at(0.0) == 0.0
