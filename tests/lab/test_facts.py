"""What counts as expected: a comparison that never fails would make every scenario green."""

from pathlib import Path

import pytest
from lab_facts import Between, any_of, at_most, deviations
from lab_report import Elsewhere
from lab_rows import ELSEWHERE, SCENARIOS

ROOT = Path(__file__).parents[2]
CONTRACT = {*(str(n) for n in range(1, 46)), "22b"}


@pytest.mark.parametrize(
    ("expected", "seen", "deviating"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": 1}, {}, ["a"]),
        ({"a": None}, {}, ["a"]),
        ({"a": 1}, {"a": True}, ["a"]),
        ({"a": 0}, {"a": False}, ["a"]),
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": at_most(5)}, {"a": 5}, []),
        ({"a": at_most(5)}, {"a": 5.1}, ["a"]),
        ({"a": at_most(5)}, {"a": None}, ["a"]),
        ({"a": at_most(5)}, {"a": float("nan")}, ["a"]),
        ({"a": at_most(5)}, {"error": "TimeoutError"}, ["a"]),
        ({"a": Between(1, 2)}, {"a": 0.9}, ["a"]),
        ({"a": any_of(200, 400)}, {"a": 400}, []),
        ({"a": any_of(200, 400)}, {"a": 500}, ["a"]),
    ],
)
def test_what_deviates_is_named(
    expected: dict[str, object], seen: dict[str, object], deviating: list[str]
) -> None:
    assert deviations(expected, seen) == deviating


def test_every_scenario_expects_something_and_has_a_name_of_its_own() -> None:
    names = [(scenario.row, scenario.name) for scenario in SCENARIOS]
    assert len(set(names)) == len(names)
    assert all(scenario.expected for scenario in SCENARIOS)


def test_every_row_of_the_contract_is_shown_or_names_where() -> None:
    shown = {scenario.row for scenario in SCENARIOS}
    elsewhere = {row for each in ELSEWHERE for row in _rows(each)}
    assert CONTRACT - shown - elsewhere == set()


@pytest.mark.parametrize("each", ELSEWHERE, ids=lambda each: each.name)
def test_what_is_shown_elsewhere_is_there(each: Elsewhere) -> None:
    path, _colons, name = each.shown.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    assert f"def {name}(" in text if name else text


def _rows(each: Elsewhere) -> list[str]:
    first, dash, last = each.row.partition("-")
    return [str(n) for n in range(int(first), int(last) + 1)] if dash else [each.row]
