"""The documents say what is: names, defaults, codes, metrics, paths and tests in them are real ones."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from autopilot.interfaces import IPictureSource
from autopilot.metrics import Metrics
from autopilot.policy.errors import Code
from autopilot.policy.picture import Picture
from autopilot.policy.readiness import MaxAges, NotReady
from autopilot.setting_table import SPECS
from autopilot.testing import FixedPicture

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
MATRIX = ROOT / "research" / "COVERAGE_MATRIX.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "research").glob("*.md"))]
FIRST_SCREEN = 24

# Where a path in a document may start: the rooms of the house are named without `autopilot/`.
BASES = (ROOT, ROOT / "autopilot", ROOT / "research")
# What is only there once something has been run.
MADE = ("logs/", ".venv/", ".tox/", ".bench/")

MAKE = re.compile(r"^make ([a-z-]+)\b", re.MULTILINE)
TARGET = re.compile(r"^([a-z][a-z -]*):", re.MULTILINE)
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"\.?\w[\w.-]*(?:/[\w.-]+)*(?:/|\.(?:py|md|toml|txt|ini|example|json|yaml))")
TEST = re.compile(r"\.?\w[\w./-]*\.py(?:::\w+)+")
ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)
STATUS = re.compile(r"proved|proved in part: .+|open: .+")


def section(document: Path, title: str) -> str:
    """What stands under one heading of the second level."""
    _, _, rest = document.read_text().partition(f"\n## {title}\n")
    assert rest, f"{document.name} has no section {title}"
    return rest.partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row in `text`, headings and rules left out."""
    found = [[cell.strip() for cell in match[1].split("|")] for match in ROW.finditer(text)]
    rules = {index for index, cells in enumerate(found) if set("".join(cells)) <= set("- :")}
    return [
        cells for index, cells in enumerate(found) if index not in rules and index + 1 not in rules
    ]


def codes(text: str) -> list[str]:
    return CODE.findall(text)


@cache
def definitions(path: Path) -> frozenset[str]:
    """The functions and methods of a module, as a test's address spells them."""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + node.name
            elif isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{prefix}{node.name}::")

    return frozenset(walk(ast.parse(path.read_text()).body, ""))


def exists(address: str) -> bool:
    path, _, name = address.partition("::")
    return (ROOT / path).is_file() and name in definitions(ROOT / path)


def test_every_test_that_a_document_names_exists() -> None:
    named = {code for path in DOCUMENTS for code in codes(path.read_text()) if TEST.fullmatch(code)}
    assert len(named) > 100
    assert sorted(address for address in named if not exists(address)) == []


def test_a_test_that_is_not_there_is_seen() -> None:
    here = "tests/test_documents.py"
    assert exists(f"{here}::test_a_test_that_is_not_there_is_seen")
    assert exists("tests/web/test_ends.py::TestToHttp10::test_a_refusal_of_our_own_closes_too")
    assert not exists(f"{here}::test_a_test_that_is_not_there")
    assert not exists("tests/nowhere.py::test_x")
    # The name of a class alone, or of a constant, proves nothing.
    assert not exists("tests/web/test_ends.py::TestToHttp10")
    assert not exists(f"{here}::SPECS")


def test_each_row_of_the_matrix_has_a_status_and_a_proved_one_has_its_test() -> None:
    # The live findings are a table of their own, see `tests/live/test_fixtures.py`.
    found = rows(MATRIX.read_text().partition("\n## Live findings\n")[0])
    assert len(found) > 100
    numbers = [cells[0] for cells in found]
    assert len(set(numbers)) == len(numbers)
    for number, _behaviour, tests, status in found:
        assert STATUS.fullmatch(status), number
        if status.startswith("proved"):
            assert any(TEST.fullmatch(code) for code in codes(tests)), number


def test_the_settings_are_those_of_the_table() -> None:
    told = [(cells[0], cells[1]) for cells in rows(section(README, "Settings"))]
    assert told == [
        (f"`{spec.name}`", f"`{spec.default}`" if spec.default else "(empty)") for spec in SPECS
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its numbers")
def test_the_metrics_are_those_of_the_registry() -> None:
    registry = CollectorRegistry()
    source = IPictureSource(FixedPicture(Picture()))
    metrics = Metrics(registry)
    metrics.watch(source, monotonic=lambda: 0.0, wall=lambda: 0.0)
    metrics.watch_rests(lambda: 0.0)
    metrics.watch_readiness(lambda: None)
    metrics.limits(requests=1, max_ages=MaxAges(catalog=1.0, utilization=1.0))
    metrics.watch_process()
    there = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in registry.collect()
    }
    table = {
        name for cells in rows(section(README, "Metrics and logs")) for name in codes(cells[0])
    }
    assert table == there
    assert set(re.findall(r"\b(?:autopilot|process)_\w+", README.read_text())) == there


def test_the_error_codes_are_all_there_are_and_stand_by_their_status() -> None:
    told = [
        (status, code)
        for cells in rows(section(README, "Errors"))
        for code in codes(cells[1])
        if re.fullmatch(r"[a-z_]+", code)
        for status in cells[0].split(", ")
    ]
    assert {code for _, code in told} == {code.text for code in Code} | set(NotReady)
    assert {(str(code.status), code.text) for code in Code} <= set(told)
    assert {("503", reason.value) for reason in NotReady} <= set(told)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_and_path_leads_somewhere(document: Path) -> None:
    text = document.read_text()
    links = [link.partition("#")[0] for link in LINK.findall(text) if "://" not in link]
    anchors = [link.partition("#") for link in LINK.findall(text) if "#" in link]
    paths = [code for code in codes(text) if PATH.fullmatch(code) and not code.startswith(MADE)]
    lost = [link for link in links if link and not (document.parent / link).exists()]
    lost += [path for path in paths if not any((base / path).exists() for base in BASES)]
    lost += [
        f"{path}#{anchor}"
        for path, _, anchor in anchors
        if "://" not in path
        and anchor not in headings(document.parent / path if path else document)
    ]
    assert lost == []


def headings(document: Path) -> set[str]:
    """The anchors that a Markdown page has on the hosting platforms."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_that_a_document_names_exists(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {name for found in TARGET.findall(makefile) for name in found.split()}
    text = document.read_text()
    commands = [*codes(text), *"".join(BLOCK.findall(text)).splitlines()]
    named = {match[1] for command in commands if (match := MAKE.match(command))}
    assert named - targets == set()
    assert document != README or len(named) > 5


def test_the_first_screen_shows_both_commands() -> None:
    screen = "\n".join(README.read_text().splitlines()[:FIRST_SCREEN])
    assert "\nmake demo " in screen
    assert "\nmake test " in screen
