"""Each target is judged by what the run has found, and a missed one never stands without a reason."""

from typing import Any

import pytest
import targets
from results import Results
from targets import NO_REASON, TARGETS, WHY, Judged, judge

from tests.bench.account import META, peer, raw


def judged(account: dict[str, Any]) -> dict[str, Judged]:
    return {each.target.key: each for each in judge(Results(account))}


def test_what_is_reached_and_what_is_missed() -> None:
    found = judged(raw())
    assert {key: each.ok for key, each in found.items()} == {
        "chunk": True,  # 42 / 21, and exactly the bound is reached
        "chunk-tls": True,
        "chunk-router": True,  # 42 / 28
        "chunk-router-stretch": False,
        "json-litellm": True,
        "json-portkey": None,  # it is absent
        "added-p50": True,
        "added-p99": True,
        "streams": True,
        "stream-memory": True,
        "idle-memory": True,
        "workers-chunk": None,  # two workers were not measured
        "workers-balance": None,
    }
    assert found["chunk-tls"].value == pytest.approx(2.4)
    assert found["json-litellm"].value == pytest.approx(0.08)
    assert found["idle-memory"].value == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("key", "figure", "value"),
    [
        ("chunk", "chunk_us", 43.0),
        ("chunk-tls", "tls_chunk_us", 63.0),
        ("json-litellm", "json_us", 501.0),
        ("added-p50", "one_p50_ms", 1.2),
        ("added-p99", "one_p99_ms", 3.5),
        ("stream-memory", "rss_held_kib", 81_300),
        ("idle-memory", "rss_idle_kib", 82_000),
    ],
)
def test_a_worse_figure_misses_its_target(key: str, figure: str, value: float) -> None:
    account = raw()
    for each in account["peers"]["autopilot"]["rounds"]:
        each[figure] = value
    assert judged(account)[key].ok is False


@pytest.mark.parametrize(
    ("chunk_us", "share", "cheap", "even"), [(46.2, 0.6, True, True), (46.3, 0.61, False, False)]
)
def test_two_workers_are_compared_with_one(
    chunk_us: float, share: float, *, cheap: bool, even: bool
) -> None:
    account = raw()
    account["peers"]["autopilot x2"] = peer({"chunk_us": chunk_us, "share_most": share})
    found = judged(account)
    assert (found["workers-chunk"].ok, found["workers-balance"].ok) == (cheap, even)


def test_fewer_streams_miss_their_target() -> None:
    account = raw()
    account["peers"]["autopilot"]["streams"] = {"100": 22.0, "300": 30.0, "500": 40.1}
    assert judged(account)["streams"].value == 300
    assert judged(account)["streams"].ok is False


def test_a_missed_target_has_the_reason_that_was_found_or_says_that_none_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert judged(raw())["chunk"].why == ""
    monkeypatch.setattr(targets, "WHY", {})
    assert judged(raw())["chunk-router-stretch"].why == NO_REASON
    monkeypatch.setattr(targets, "WHY", {"chunk-router-stretch": "Python"})
    assert judged(raw())["chunk-router-stretch"].why == "Python"


def test_reasons_are_of_targets_that_exist() -> None:
    keys = [target.key for target in TARGETS]
    assert len(set(keys)) == len(keys)
    assert set(WHY) <= set(keys)


def test_of_a_run_without_the_router_nothing_is_judged() -> None:
    assert {each.ok for each in judge(Results({"meta": META, "peers": {}}))} == {None}
