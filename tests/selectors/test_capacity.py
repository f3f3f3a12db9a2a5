"""The default selector gives the names of the ranking contract, and nothing else."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from autopilot.interfaces import IPlan, ISelector
from autopilot.policy.catalog import (
    PRIVATE_NAME,
    Catalog,
    Chute,
    Model,
    Utilization,
    parse_catalog,
    parse_utilization,
)
from autopilot.policy.ranking import rank
from autopilot.policy.scene import Moment, Scene
from autopilot.selectors.capacity import Capacity


def catalog_of(*names: str) -> Catalog:
    return Catalog(tuple(Model(id=name, chute_id=None, document=b"{}") for name in names))


def chute(name: str, count: float, *, busy: float = 0.0, refusing: float = 0.0) -> Chute:
    return Chute(
        name=name,
        chute_id=name,
        active_instance_count=count,
        utilization_5m=busy,
        rate_limit_ratio_5m=refusing,
    )


def plan_of(feed: Utilization, catalog: Catalog) -> IPlan:
    candidates = rank(feed, catalog)
    scene = Scene(
        names=tuple(each.name for each in candidates),
        chutes={each.name: each.chute for each in candidates},
        catalog=catalog,
    )
    return Capacity().plan(scene)


def order_of(feed: Utilization, catalog: Catalog) -> tuple[str, ...]:
    return plan_of(feed, catalog).order(Moment(feed_age=0.0))


def captured(name: str) -> bytes:
    folder = os.environ.get("AUTOPILOT_CAPTURES")
    if not folder:
        pytest.skip("AUTOPILOT_CAPTURES does not name a folder with captures of the platform")
    return (Path(folder) / name).read_bytes()


def contract_key(row: dict[str, Any]) -> tuple[float, float, float, float, str]:
    """The contract's order, straight from a row of the feed."""

    def given(*names: str) -> Any:
        return next((row[name] for name in names if row.get(name) is not None), None)

    u5 = given("utilization_5m", "utilization_current")
    u5 = 1.0 if u5 is None else u5
    u15 = row.get("utilization_15m")
    u15 = u5 if u15 is None else u15
    u1h = row.get("utilization_1h")
    u1h = u15 if u1h is None else u1h
    r5 = row.get("rate_limit_ratio_5m") or 0.0
    r15 = row.get("rate_limit_ratio_15m")
    r15 = r5 if r15 is None else r15
    r1h = row.get("rate_limit_ratio_1h")
    r1h = r15 if r1h is None else r1h
    count = row["active_instance_count"]
    free = count * max(1 - (0.6 * u5 + 0.3 * u15 + 0.1 * u1h), 0)
    bonus = (min(row.get("scale_allowance") or 0, 8) if row.get("scalable") else 0) * 0.05
    score = free + bonus - count * max(r5, 0.5 * r15, 0.25 * r1h) * 2.0
    current = row.get("utilization_current")
    return -score, -count, u5 if current is None else current, r5, row["name"]


def test_it_is_a_selector_and_a_plugin() -> None:
    assert verifyObject(ISelector, Capacity())
    assert verifyObject(IPlugin, Capacity())
    assert Capacity().name == "capacity"


def test_the_most_free_instances_come_first() -> None:
    feed = Utilization(
        chutes=(
            chute("org/busy", 10, busy=0.9),
            chute("org/free", 4, busy=0.1),
            chute("org/refusing", 10, busy=0.1, refusing=0.8),
        )
    )
    order = order_of(feed, catalog_of("org/busy", "org/free", "org/refusing"))
    assert order == ("org/free", "org/busy", "org/refusing")


def test_only_what_is_public_alive_and_known_is_named() -> None:
    feed = Utilization(
        chutes=(
            chute(PRIVATE_NAME, 9),
            chute("org/dead", 0),
            chute("org/unknown", 9),
            chute("org/known", 1),
        )
    )
    assert order_of(feed, catalog_of("org/dead", "org/known", PRIVATE_NAME)) == ("org/known",)


def test_a_name_that_comes_twice_is_named_once() -> None:
    feed = Utilization(chutes=(chute("org/a", 1), chute("org/a", 2)))
    assert order_of(feed, catalog_of("org/a")) == ("org/a",)


def test_where_nothing_is_eligible_the_order_is_empty() -> None:
    assert order_of(Utilization(chutes=()), Catalog()) == ()


@pytest.mark.parametrize("known", [True, False], ids=["with catalogue", "without"])
def test_the_captures_are_ordered_as_the_contract_says(*, known: bool) -> None:
    feed = captured("utilization_2026-02-18.json")
    catalog = parse_catalog(captured("models_2026-02-18.json")).catalog if known else Catalog()
    rows = [
        row
        for row in json.loads(feed)
        if row["name"] != PRIVATE_NAME
        and row["active_instance_count"] > 0
        and (row["name"] in catalog.by_id if known else row["name"].endswith("-TEE"))
    ]
    expected = tuple(row["name"] for row in sorted(rows, key=contract_key))
    assert len(expected) == len(set(expected)) > 10
    order = order_of(parse_utilization(feed).utilization, catalog)
    assert order == expected
    backwards = json.dumps(json.loads(feed)[::-1]).encode()
    assert order_of(parse_utilization(backwards).utilization, catalog) == expected


def test_the_terms_are_those_of_the_contract() -> None:
    feed = Utilization(chutes=(chute("org/a", 4, busy=0.25, refusing=0.1),))
    terms = plan_of(feed, catalog_of("org/a")).terms("org/a", Moment(feed_age=0.0))
    assert terms == pytest.approx(
        {"free_capacity": 3.0, "scale_bonus": 0.0, "penalty": 0.8, "score": 2.2}
    )


def test_a_smaller_or_busier_model_is_no_worse_until_it_is_nearly_full() -> None:
    feed = Utilization(
        chutes=(
            chute("org/big", 40),
            chute("org/half", 2, busy=0.5),
            chute("org/full", 9, busy=1.0),
        )
    )
    plan = plan_of(feed, catalog_of("org/big", "org/half", "org/full"))

    def worse(name: str, rival: str) -> float:
        return plan.disadvantage(name, rival, Moment(feed_age=0.0))

    assert worse("org/half", "org/big") == 0.0
    assert worse("org/full", "org/big") == pytest.approx(1.0)
    assert worse("org/big", "org/full") == 0.0
