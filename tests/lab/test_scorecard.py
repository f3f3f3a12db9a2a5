"""The committed scorecard is that of this lab and cannot go stale silently; its times are not judged."""

import re
from configparser import ConfigParser
from pathlib import Path

from lab_facts import DEFAULT
from lab_report import LEVELS, SCORECARD, cell
from lab_rows import ELSEWHERE, SCENARIOS
from lab_run import LEAKS, afterwards

ROOT = Path(__file__).parents[2]
PAGE = SCORECARD.read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The cells of the rows of one section's table, without its two lines of head."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [re.split(r"(?<!\\) \| ", line[2:-2]) for line in lines[2:]]


def test_it_names_the_scenarios_that_the_lab_has() -> None:
    level = LEVELS.index(re.findall(r"^Run: (\S+),", PAGE, re.MULTILINE)[0])
    assert level >= DEFAULT, "a sample is no scorecard"
    known = [*(each for each in SCENARIOS if each.least <= level), afterwards(0), LEAKS]
    named = [(row, name) for row, name, *_rest in table("Scenarios")]
    assert sorted(named) == sorted((each.row, cell(each.name)) for each in known)


def test_it_is_of_a_run_in_which_nothing_deviated() -> None:
    assert {mark for _row, _name, mark, *_rest in table("Scenarios")} == {"ok"}


def test_it_names_where_the_rest_is_shown() -> None:
    known = [[each.row, cell(each.name), each.shown] for each in ELSEWHERE]
    assert table("Shown elsewhere") == known


def test_what_the_matrix_says_the_lab_shows_is_a_scenario_of_that_row() -> None:
    matrix = (ROOT / "research" / "COVERAGE_MATRIX.md").read_text(encoding="utf-8")
    named = [
        (row, name)
        for row, status in re.findall(r"^\| F(\w+) \| .* \| (.*lab.*) \|$", matrix, re.MULTILINE)
        for name in re.findall(r'"([^"]+)"', status)
    ]
    assert named
    assert set(named) <= {(each.row, each.name) for each in SCENARIOS}


def test_a_quick_run_is_a_part_of_make_test() -> None:
    tox = ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    assert "lab" in tox["tox"]["env_list"].replace(" ", "").split(",")
    assert tox["testenv:lab"]["commands"].split("\n") == [
        "",
        "python scripts/lab.py --quick",
        "python scripts/lab.py --quick --workers 2",
    ]
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ntest:")[2]
    assert "tox run --result-json" in recipe.partition("\n\n")[0]
