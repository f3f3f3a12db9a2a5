"""The live platform's own catalogue and feed, and an independent reading of the ranking contract."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import ALIAS, SELECTED, Router, Simulator, chat, fresh, router, simulator

VARIABLE = "AUTOPILOT_CAPTURES"
NAMES = ("models_2026-02-18.json", "utilization_2026-02-18.json")
HOUR = 3600.0


@pytest.fixture(scope="module")
def captures() -> tuple[Path, Path]:
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} does not name a folder with captures of the live platform")
    models, utilization = (Path(folder).resolve() / name for name in NAMES)
    if not (models.is_file() and utilization.is_file()):
        pytest.skip(f"{VARIABLE} names a folder without {' and '.join(NAMES)}")
    return models, utilization


@pytest.fixture(scope="module")
def platform(
    captures: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Simulator]:
    models, utilization = captures
    options = ("--models", str(models), "--utilization", str(utilization))
    with simulator(tmp_path_factory.mktemp("platform"), *options) as running:
        yield running


@pytest.fixture
def service(tmp_path: Path, platform: Simulator) -> Iterator[Router]:
    with router(tmp_path, platform) as running:
        yield running


@pytest.fixture(scope="module")
def order(captures: tuple[Path, Path]) -> list[str]:
    """The eligible models, best first, by the contract's own formulas."""
    models, utilization = (json.loads(path.read_bytes()) for path in captures)
    chute_ids = {model["id"]: model["chute_id"] for model in models["data"]}
    best: dict[str, Mapping[str, Any]] = {}
    for row in sorted(utilization, key=lambda row: str(row["chute_id"]), reverse=True):
        name = row["name"]
        known = best.get(name)
        if known is None or known["chute_id"] != chute_ids.get(name):
            best[name] = row
    eligible = [
        row
        for name, row in best.items()
        if name in chute_ids and name != "[private chute]" and row["active_instance_count"] > 0
    ]
    return [row["name"] for row in sorted(eligible, key=_place)]


def _place(row: Mapping[str, Any]) -> tuple[float, float, float, float, str]:
    def given(name: str, default: float) -> float:
        value = row.get(name)
        return default if value is None else value

    u5 = given("utilization_5m", given("utilization_current", 1.0))
    u15 = given("utilization_15m", u5)
    u1h = given("utilization_1h", u15)
    r5 = given("rate_limit_ratio_5m", 0.0)
    r15 = given("rate_limit_ratio_15m", r5)
    r1h = given("rate_limit_ratio_1h", r15)
    util = 0.6 * u5 + 0.3 * u15 + 0.1 * u1h
    rl = max(r5, 0.5 * r15, 0.25 * r1h)
    active: float = row["active_instance_count"]
    free_capacity = active * max(1 - util, 0)
    scale_bonus = (min(given("scale_allowance", 0), 8) if row.get("scalable") else 0) * 0.05
    score = free_capacity + scale_bonus - active * rl * 2.0
    current = given("utilization_current", u5)
    return -score, -active, current, given("rate_limit_ratio_5m", 0), row["name"]


def test_the_list_holds_every_model_and_the_alias(
    service: Router, captures: tuple[Path, Path]
) -> None:
    platform_ids = [model["id"] for model in json.loads(captures[0].read_bytes())["data"]]
    assert len(platform_ids) == 61
    ids = [model["id"] for model in service.call("GET", "/v1/models").json["data"]]
    assert ids == [ALIAS, *platform_ids]


def test_an_alias_request_goes_down_the_order_of_the_contract(
    service: Router, platform: Simulator, order: list[str]
) -> None:
    assert service.metric("autopilot_candidates") == len(order)
    first = service.post(chat(ALIAS))
    assert (first.status, first.headers[SELECTED]) == (200, order[0])
    assert first.json["model"] == order[0]

    for model in order[:2]:
        platform.set_fault(model, "cold-503")
    request_id = fresh("third")
    third = service.post(chat(ALIAS), request_id=request_id)
    platform.clear_faults()
    assert (third.status, third.headers[SELECTED]) == (200, order[2])
    assert platform.models_asked(request_id) == order[:3]


def test_an_old_feed_that_was_fetched_now_shows_as_both(service: Router) -> None:
    assert service.ready() == 200
    assert service.metric("autopilot_feed_timestamp_age_seconds") > HOUR
    assert 0 <= service.metric("autopilot_feed_age_seconds") < HOUR / 2
