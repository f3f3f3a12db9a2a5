"""The ranking against a second, naive implementation of its contract that shares no line with it.

`naive_ranking` goes from JSON text to names and scores, and compares pairwise instead of by a sort key,
so that a slip in the code under test does not repeat itself here.
"""

import json
import math
from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.catalog import (
    Catalog,
    Chute,
    FeedError,
    Model,
    Utilization,
    parse_catalog,
    parse_utilization,
)
from autopilot.policy.ranking import Candidate, one_per_name, rank, score, strain

from .strategies import Row, captured, catalogues, feed, feed_rows, steady

Scored = tuple[str, str]
"""A name and the bits of its score."""


def said(row: dict[str, Any], field: str) -> float | None:
    value = row.get(field)
    if type(value) is not float or not 0 <= value < math.inf:
        return None
    return value


def naive_score(row: dict[str, Any]) -> float:
    count = said(row, "active_instance_count")
    assert count is not None
    u5 = said(row, "utilization_5m")
    if u5 is None:
        u5 = said(row, "utilization_current")
    if u5 is None:
        u5 = 1.0
    u15 = said(row, "utilization_15m")
    u15 = u5 if u15 is None else u15
    u1h = said(row, "utilization_1h")
    u1h = u15 if u1h is None else u1h
    r5 = said(row, "rate_limit_ratio_5m")
    r5 = 0.0 if r5 is None else r5
    r15 = said(row, "rate_limit_ratio_15m")
    r15 = r5 if r15 is None else r15
    r1h = said(row, "rate_limit_ratio_1h")
    r1h = r15 if r1h is None else r1h
    util = 0.6 * u5 + 0.3 * u15 + 0.1 * u1h
    rate_limited = max(r5, 0.5 * r15, 0.25 * r1h)
    free_capacity = count * (1 - util if util < 1 else 0)
    scale_bonus = 0.0
    if row.get("scalable") is True:
        scale_bonus = min(said(row, "scale_allowance") or 0, 8) * 0.05
    return free_capacity + scale_bonus - count * rate_limited * 2.0


def naive_compare(one: dict[str, Any], two: dict[str, Any]) -> int:
    """Negative when `one` goes first."""

    def terms(row: dict[str, Any]) -> list[tuple[float, bool]]:
        u5 = said(row, "utilization_5m")
        current = said(row, "utilization_current")
        if current is None:
            current = 1.0 if u5 is None else u5
        count = said(row, "active_instance_count")
        assert count is not None
        limited = said(row, "rate_limit_ratio_5m")
        return [
            (naive_score(row), True),
            (count, True),
            (current, False),
            (0.0 if limited is None else limited, False),
        ]

    for (left, descending), (right, _) in zip(terms(one), terms(two), strict=True):
        if left != right:
            return -1 if (left > right) is descending else 1
    return -1 if one["name"] < two["name"] else 1


def naive_ranking(text: bytes, catalogue: dict[str, str | None]) -> list[Scored]:
    """Names, best first. No two rows may share both name and chute id: the contract is silent there."""
    rows = [
        row
        for row in json.loads(text, parse_int=float)
        if 0 < len(row["name"]) <= 256
        and row["name"].isprintable()
        and row["name"] == row["name"].strip()
        and said(row, "active_instance_count") is not None
    ]
    winners = []
    for name in {row["name"] for row in rows}:
        rivals = sorted((row for row in rows if row["name"] == name), key=lambda r: r["chute_id"])
        confirmed = [r for r in rivals if name in catalogue and r["chute_id"] == catalogue[name]]
        winners.append((confirmed or rivals)[0])
    eligible = [
        row
        for row in winners
        if row["name"] != "[private chute]"
        and row["active_instance_count"] > 0
        and (row["name"] in catalogue if catalogue else row["name"].endswith("-TEE"))
    ]
    eligible.sort(key=cmp_to_key(naive_compare))
    return [(row["name"], naive_score(row).hex()) for row in eligible]


def catalog_of(catalogue: dict[str, str | None]) -> Catalog:
    return Catalog(
        tuple(
            Model(id=model_id, chute_id=chute_id, document=b"{}")
            for model_id, chute_id in catalogue.items()
        )
    )


def ranked(rows: list[Row], catalogue: dict[str, str | None]) -> tuple[Candidate, ...]:
    try:
        parsed = parse_utilization(feed(rows))
    except FeedError:
        return ()
    return rank(parsed.utilization, catalog_of(catalogue))


def scored(candidates: tuple[Candidate, ...]) -> list[Scored]:
    return [(candidate.name, candidate.score.total.hex()) for candidate in candidates]


rows_without_twins = st.lists(
    feed_rows(), max_size=12, unique_by=lambda row: (row.name, row.chute_id)
)


@steady
@given(rows=rows_without_twins, catalogue=catalogues)
def test_it_matches_the_contract_to_the_last_bit(
    rows: list[Row], catalogue: dict[str, str | None]
) -> None:
    assert scored(ranked(rows, catalogue)) == naive_ranking(feed(rows), catalogue)


@steady
@given(rows=rows_without_twins, catalogue=catalogues)
def test_it_is_a_permutation_of_the_eligible(
    rows: list[Row], catalogue: dict[str, str | None]
) -> None:
    names = [candidate.name for candidate in ranked(rows, catalogue)]
    assert len(set(names)) == len(names)
    assert set(names) == {name for name, _ in naive_ranking(feed(rows), catalogue)}


@steady
@given(
    rows=st.lists(feed_rows(), max_size=8),
    catalogue=catalogues,
    data=st.data(),
    twins=st.booleans(),
)
def test_the_order_of_the_rows_never_matters(
    rows: list[Row], catalogue: dict[str, str | None], data: st.DataObject, *, twins: bool
) -> None:
    if twins:
        rows = [*rows, *rows[:2]]
    shuffled = data.draw(st.permutations(rows))
    assert ranked(shuffled, catalogue) == ranked(rows, catalogue)


@steady
@given(rows=st.lists(feed_rows(), max_size=12), catalogue=catalogues)
def test_no_figure_makes_a_score_that_cannot_be_ordered(
    rows: list[Row], catalogue: dict[str, str | None]
) -> None:
    assert not any(math.isnan(candidate.score.total) for candidate in ranked(rows, catalogue))


def chute(
    name: str = "org/a",
    count: float = 1.0,
    chute_id: str = "c",
    *,
    current: float | None = None,
    u5: float | None = None,
    u15: float | None = None,
    r5: float | None = None,
    r15: float | None = None,
    r1h: float | None = None,
    allowance: float | None = None,
    scalable: bool = False,
) -> Chute:
    return Chute(
        name=name,
        chute_id=chute_id,
        active_instance_count=count,
        utilization_current=current,
        utilization_5m=u5,
        utilization_15m=u15,
        rate_limit_ratio_5m=r5,
        rate_limit_ratio_15m=r15,
        rate_limit_ratio_1h=r1h,
        scalable=scalable,
        scale_allowance=allowance,
    )


def order(*chutes: Chute, catalogue: dict[str, str | None] | None = None) -> list[str]:
    if catalogue is None:
        catalogue = {chute.name: None for chute in chutes}
    utilization = Utilization(chutes=chutes)
    return [candidate.name for candidate in rank(utilization, catalog_of(catalogue))]


def test_the_terms_of_a_score_can_be_shown_apart() -> None:
    shown = score(chute(count=10.0, u5=0.5, r5=0.25, scalable=True, allowance=100.0))
    assert shown.free_capacity == 10 * (1 - (0.6 * 0.5 + 0.3 * 0.5 + 0.1 * 0.5))
    assert shown.scale_bonus == 8 * 0.05
    assert shown.penalty == 5.0
    assert shown.total == shown.free_capacity + shown.scale_bonus - shown.penalty


def test_a_chute_that_says_nothing_counts_as_fully_used() -> None:
    # The weights add up to a hair under one: that hair is part of the contract's last bit.
    assert score(chute(count=40.0)) == score(chute(count=40.0, u5=1.0))
    assert 0 < score(chute(count=40.0)).total < 1e-14


@pytest.mark.parametrize(
    ("said_ratios", "penalty"),
    [
        ({"r5": 0.1, "r15": 0.1, "r1h": 0.1}, 0.2),
        ({"r5": 0.0, "r15": 0.4, "r1h": 0.0}, 0.4),
        ({"r5": 0.0, "r15": 0.0, "r1h": 0.4}, 0.2),
        ({"r5": 0.1}, 0.2),
    ],
)
def test_the_worst_of_the_weighted_refusal_ratios_counts(
    said_ratios: dict[str, float], penalty: float
) -> None:
    assert score(chute(**said_ratios)).penalty == penalty  # type: ignore[arg-type]


def test_overload_is_no_less_than_no_free_capacity() -> None:
    assert score(chute(count=10.0, u5=3.0)).free_capacity == 0.0


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (chute("org/z", 5.0, u5=0.0), chute("org/a", 4.0, u5=0.0)),
        (
            chute("org/z", 4.0, u5=0.5, current=0.5),
            chute("org/a", 4.0, u5=0.5 + 1e-15, current=0.5),
        ),
        # All that follow are level on score.
        (chute("org/z", 5.0, u5=2.0), chute("org/a", 4.0, u5=2.0)),
        (chute("org/z", 5.0, u5=2.0, current=0.2), chute("org/a", 5.0, u5=2.0, current=0.3)),
        (chute("org/z", 5.0, u5=2.0, current=1.9), chute("org/a", 5.0, u5=2.0)),
        (
            chute("org/z", 4.0, u5=0.0, r5=0.0, r15=1.0),
            chute("org/a", 4.0, u5=0.0, current=0.0, r5=0.5, r15=1.0),
        ),
        (chute("org/a", 5.0, u5=2.0), chute("org/z", 5.0, u5=2.0)),
    ],
    ids=[
        "score",
        "score by a hair",
        "instances",
        "current",
        "current falls back",
        "refusals",
        "name",
    ],
)
def test_equal_scores_are_told_apart_in_a_fixed_order(better: Chute, worse: Chute) -> None:
    assert order(worse, better) == [better.name, worse.name]
    assert order(better, worse) == [better.name, worse.name]


def test_a_model_without_an_active_instance_is_not_a_candidate() -> None:
    assert order(chute("org/a", 0.0), chute("org/b", 1.0)) == ["org/b"]


def test_a_private_chute_is_never_a_candidate_even_if_a_catalogue_lists_it() -> None:
    assert order(chute("[private chute]")) == []


def test_only_the_catalogue_says_what_serves_chat_while_there_is_one() -> None:
    rows = chute("org/a-TEE"), chute("org/b")
    assert order(*rows, catalogue={"org/b": None}) == ["org/b"]


def test_without_a_catalogue_the_suffix_says_what_serves_chat() -> None:
    rows = chute("org/a-TEE"), chute("org/b"), chute("org/c-tee")
    assert order(*rows, catalogue={}) == ["org/a-TEE"]


def test_of_two_rows_with_one_name_the_catalogues_chute_wins() -> None:
    low, high = chute(chute_id="1", count=3.0), chute(chute_id="2", count=4.0)
    for rows in ((low, high), (high, low)):
        assert one_per_name(rows, catalog_of({"org/a": "2"})) == (high,)
        assert one_per_name(rows, catalog_of({"org/a": "3"})) == (low,)
        assert one_per_name(rows, catalog_of({"org/a": None})) == (low,)
        assert one_per_name(rows, Catalog()) == (low,)


def test_the_captured_feed_ranks_as_the_contract_says() -> None:
    catalog = parse_catalog(captured("models_2026-02-18.json")).catalog
    text = captured("utilization_2026-02-18.json")
    expected = naive_ranking(text, {model.id: model.chute_id for model in catalog.models})
    assert scored(rank(parse_utilization(text).utilization, catalog)) == expected
    assert len(expected) > 10


def test_the_captured_feed_ranks_without_a_catalogue_too() -> None:
    text = captured("utilization_2026-02-18.json")
    expected = naive_ranking(text, {})
    assert scored(rank(parse_utilization(text).utilization, Catalog())) == expected
    assert expected
    assert all(name.endswith("-TEE") for name, _ in expected)


@pytest.mark.parametrize(
    ("busy", "refusing", "expected"),
    [
        (0.0, 0.0, 0.0),
        (0.7, 0.0, 0.0),
        (0.85, 0.0, 0.5),
        (1.0, 0.0, 1.0),
        (1.7, 0.0, 1.0),
        (0.2, 0.25, 0.5),
        (0.2, 0.9, 1.0),
        (0.85, 0.1, 0.5),
    ],
)
def test_a_chute_is_under_strain_when_it_is_nearly_full_or_refuses(
    busy: float, refusing: float, expected: float
) -> None:
    chute = Chute(
        name="a",
        chute_id="a",
        active_instance_count=3.0,
        utilization_5m=busy,
        rate_limit_ratio_5m=refusing,
    )
    assert strain(chute) == pytest.approx(expected)


def test_a_chute_that_is_not_there_is_under_the_greatest_strain() -> None:
    assert strain(None) == 1.0
    assert strain(Chute(name="a", chute_id="a", active_instance_count=0.0)) == 1.0
