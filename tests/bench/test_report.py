"""The page and the README's table say what the raw account holds, absent gateways included."""

import json
import re
from pathlib import Path

import pytest
from plots import PLOTS, draw
from report import README_BEGIN, README_END, in_readme, page, readme_table
from results import Results
from tables import CHUNKS, LATENCY, MANY, MEMORY, RATES, TABLES, Table, number

from tests.bench.account import raw

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
RAW = ROOT / "research" / "benchmarks" / "raw.json"
PAGE = ROOT / "research" / "BENCHMARKS.md"


@pytest.fixture
def results() -> Results:
    return Results(raw())


def cells(table: Table, results: Results, peer: str) -> list[str]:
    (line,) = [line for line in table.lines(results) if line.startswith(f"| {peer} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_has_median_range_and_ratios(results: Results) -> None:
    _, us, by_nginx, by_direct, _, tls, tls_by_nginx, note = cells(CHUNKS, results, "autopilot")
    assert us == "42.0 (40.0 to 44.0)"
    assert (by_nginx, by_direct) == ("2.00", "3.82")
    assert (tls, tls_by_nginx, note) == ("60.0", "2.40", "")


def test_what_is_added_is_signed_and_without_a_gateway_it_is_the_whole(results: Results) -> None:
    assert cells(LATENCY, results, "autopilot")[1:3] == ["+0.50", "5.00"]
    assert cells(LATENCY, results, "direct")[1:3] == ["0.20 (0.10 to 0.30)", "-"]


def test_an_absent_gateway_has_its_row_in_each_table_and_its_reason_at_the_end(
    results: Results,
) -> None:
    for table in TABLES:
        assert cells(table, results, "portkey")[1] == "absent", table.title
    assert "| portkey | absent | npm has no network |" in page(results, (), "benchmarks")


def test_what_could_not_be_measured_is_told(results: Results) -> None:
    assert "| smg | 1.2 | not measured: memory: 3 requests failed |" in page(results, (), "x")


def test_the_most_streams_and_what_was_too_many(results: Results) -> None:
    assert cells(MANY, results, "autopilot")[1:] == ["500", "750: 41.0 ms"]
    assert cells(MANY, results, "nginx")[1:] == ["-", "-"]


def test_few_streams_that_are_too_many_are_not_called_none() -> None:
    account = raw()
    account["peers"]["nginx"]["streams"] = {"100": None}
    found = cells(MANY, Results(account), "nginx")
    assert found[1:] == ["fewer than 100", "100: could not be begun"]


def test_no_gateway_has_no_memory_row(results: Results) -> None:
    assert "direct" not in "\n".join(MEMORY.lines(results))
    assert "direct" in "\n".join(RATES.lines(results))


def test_targets_stand_with_their_mark_and_missed_ones_with_a_reason(results: Results) -> None:
    text = page(results, (), "x")
    assert (
        "| processor time of a streamed chunk, 200 streams | at most 2 x nginx | 2.00 x nginx | ok |"
        in text
    )
    assert (
        "| at most 1.25 x the faster router in Rust | 1.50 x the faster router in Rust | **missed** |"
        in text
    )
    assert "| at most 0.5 x Portkey |  | not measured in this run |" in text
    assert "at least 500 streams | 500 streams | ok |" in text
    (missed,) = re.findall(r"^- .*at most 1\.25 .*: (.+)\.$", text, re.MULTILINE)
    assert missed


def test_a_part_of_a_run_says_that_it_is_one() -> None:
    account = raw()
    assert "quick" not in page(Results(account), (), "x")
    account["meta"] |= {"only": "nginx", "left_out": "large bodies"}
    text = page(Results(account), (), "x")
    assert "**Asked for alone:** nginx;" in text
    assert "which leaves out: large bodies." in text


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.1234, "0.12"), (12.34, "12.3"), (1234.5, "1,234"), (-0.5, "-0.50"), (500, "500"), (0, "0")],
)
def test_numbers_have_three_digits(value: float, words: str) -> None:
    assert number(value) == words


def test_pictures_are_drawn_and_linked(results: Results, tmp_path: Path) -> None:
    drawn = draw(results, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {plot.file for plot in PLOTS}
    assert all(f"](here/{plot.file})" in page(results, drawn, "here") for plot in drawn)


def test_there_is_no_picture_of_nothing(tmp_path: Path) -> None:
    account = raw()
    account["peers"] = {"portkey": account["peers"]["portkey"]}
    assert draw(Results(account), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_readmes_table_is_put_between_its_markers(results: Results) -> None:
    old = f"before\n{README_BEGIN}\nold\n{README_END}\nafter\n"
    new = in_readme(old, results)
    assert new == f"before\n{README_BEGIN}\n{readme_table(results)}\n{README_END}\nafter\n"
    assert in_readme(new, results) == new
    assert "Missed in this run:\n\n- the same, as far as we would like to go, at most 1.25 x" in new
    assert "| autopilot | 42.0 (40.0 to 44.0) | 2.00 | 400 | 20.0 | +0.50 | 50.0 |" in new
    with pytest.raises(ValueError, match="to write between"):
        in_readme("before\nafter\n", results)


def test_the_readme_shows_the_committed_run() -> None:
    committed = Results(json.loads(RAW.read_text(encoding="utf-8")))
    text = README.read_text(encoding="utf-8")
    assert in_readme(text, committed) == text


def test_the_page_is_that_of_the_committed_run() -> None:
    committed = Results(json.loads(RAW.read_text(encoding="utf-8")))
    plots = [plot for plot in PLOTS if (RAW.parent / plot.file).exists()]
    assert page(committed, plots, RAW.parent.name) == PAGE.read_text(encoding="utf-8")
