"""An account as a person reads it: aligned, short, and the same facts."""

from typing import Any

import pytest

from autopilot.command.showing import (
    aligned,
    duration,
    number,
    shown_candidates,
    shown_explanation,
)


def row(rank: int, model: str, **more: Any) -> dict[str, Any]:
    observed: dict[str, Any] = {"first_byte_s": [], "pace_bytes_per_s": None, "failure_share": None}
    return {
        "rank": rank,
        "model": model,
        "terms": {"score": 12.3456},
        "rest": None,
        "observed": observed,
        "in_flight": 0,
        **more,
    }


def account(**more: Any) -> dict[str, Any]:
    return {
        "filters": [],
        "wishes": {},
        "later": [],
        "worker": None,
        "ready": True,
        "not_ready": None,
        "feed": {"fetched_s_ago": 0.0, "age_s": 41.0, "rows": 9},
        "catalog": {"fetched_s_ago": 0.0, "models": 2},
        **more,
    }


def test_numbers_stand_right_and_words_left() -> None:
    assert aligned([("a", "bb"), ("ccc", "d")], left=(0,)) == ["a    bb", "ccc   d"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119.0, "119 s"), (120.0, "2 min"), (7200.0, "2 h"), (200_000.0, "2 days")],
)
def test_a_duration_is_in_a_unit_that_can_be_grasped(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_is_not_known_is_a_dash() -> None:
    assert [number(None), number(0.123456), number(1 - 0.9 - 0.1)] == ["-", "0.1235", "0"]


def test_candidates_have_a_line_each() -> None:
    resting = {"resting": True, "cause": "cold", "seconds_left": 29.6, "probed": False}
    rows = [row(1, "org/a"), row(2, "org/longer", rest=resting, in_flight=3)]
    told = account(selector="capacity", selectors=["capacity"], candidates=rows)
    assert shown_candidates(told).splitlines() == [
        "2 candidates by capacity; 2 models in the catalogue; the feed is 41 s old",
        "",
        "rank  model       score  in flight  rest",
        "   1  org/a       12.35          0",
        "   2  org/longer  12.35          3  cold, 30 s",
    ]


def test_of_many_terms_the_last_are_shown_and_of_timings_the_shortest_prompts() -> None:
    first_byte = [{"up_to_tokens": 1000, "mean": 0.5, "weight": 1.0}]
    observed = {"first_byte_s": first_byte, "pace_bytes_per_s": None, "failure_share": None}
    terms = dict.fromkeys("abcdef", 1.0)
    told = account(selector="x", candidates=[row(1, "org/a", terms=terms, observed=observed)])
    assert shown_candidates(told).splitlines()[2].split() == [
        *["rank", "model", "c", "d", "e", "f", "first", "byte", "in", "flight", "rest"]
    ]
    assert "0.50 s" in shown_candidates(told)


def test_what_is_not_well_is_in_the_first_line() -> None:
    told = account(selector="x", candidates=[], ready=False, not_ready="no_candidates", worker=1)
    told["feed"]["age_s"] = None
    not_well = "the feed is of an unknown time; worker 1; not ready: no_candidates"
    assert shown_candidates(told).splitlines() == [
        f"0 candidates by x; 2 models in the catalogue; {not_well}",
        "",
        "nobody can be asked",
    ]


def explanation(**more: Any) -> dict[str, Any]:
    needs = {"prompt_tokens": 12, "images": True, "tools": False, "parameters": 0}
    return account(
        mode="alias",
        selector="capacity",
        needs=needs,
        order=[row(1, "org/a"), row(2, "org/b")],
        candidates=["org/b", "org/a"],
        refusal=None,
        **more,
    )


def test_an_explanation_says_who_is_asked_and_why() -> None:
    weighed = {"rival": "org/a", "disadvantage": 0.2, "cache": 0.1, "hysteresis": 0.25}
    told = explanation(sticky={"model": "org/b", "place": "stayed", "weighed": weighed})
    stayed = "disadvantage 0.2 to org/a, against a cache worth 0.1 and a hysteresis of 0.25"
    assert shown_explanation(told).splitlines()[2:7] == [
        "mode    alias, by capacity",
        "needs   12 prompt tokens, images",
        f"sticky  stayed (org/b): {stayed}",
        "asked   1. org/b",
        "then    2. org/a",
    ]


def test_what_was_wished_and_removed_is_said() -> None:
    steps = [{"constraint": "tee", "before": 9, "removed": ["org/x", "org/y"]}]
    told = explanation(sticky=None, filters=steps, wishes={"tee": True}, later=["org/b"])
    assert shown_explanation(told).splitlines()[4:7] == [
        "wishes   tee true",
        "removed  2 of 9 by tee",
        "later    org/b",
    ]
    ranked = account(selector="x", candidates=[row(1, "org/a")], filters=steps)
    assert shown_candidates(ranked).splitlines()[2] == "removed  2 of 9 by tee"


@pytest.mark.parametrize(
    ("sticky", "text"),
    [
        (None, "no place: the client named its model"),
        ({"model": None, "place": "none", "weighed": None}, "no place yet"),
        ({"model": "org/x", "place": "absent", "weighed": None}, "absent (org/x)"),
        (
            {"model": "org/x", "place": "left", "weighed": None},
            "left (org/x): others are wished for first",
        ),
    ],
)
def test_every_kind_of_place_has_its_words(sticky: Any, text: str) -> None:
    assert f"sticky  {text}" in shown_explanation(explanation(sticky=sticky)).splitlines()


def test_a_refusal_is_one_line() -> None:
    refusal = {"status": 400, "code": "unknown_model", "param": "model", "message": "No."}
    told = account(refusal=refusal)
    assert shown_explanation(told).splitlines()[2:] == ["refusal  400 unknown_model: No."]
