"""A selector of another package, the one of `CONTRIBUTING.md`, is installed, found and used."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from autopilot.setting_table import SPECS

ROOT = Path(__file__).parents[2]
FILE = re.compile(r"^\*\*([\w./]+)\*\*[^\n]*:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# The whole service over a platform in memory, on which `capacity` chooses `org/b` of two.
ASK = """
import json
import backwards
from autopilot.selectors.finding import find_selectors
from tests import test_service
from tests.test_service import UPSTREAM, Bench, Client

test_service.SELECTORS = find_selectors("backwards")
bench = Bench(SELECTOR="backwards")
bench.start()
bench.feed()
client = Client(bench.net)
client.ask("chutesai/AutoPilot")
body = bench.accept(UPSTREAM).received.partition(b"\\r\\n\\r\\n")[2]
client.leave()
bench.stop()
print(backwards.__file__)
print(*sorted(test_service.SELECTORS))
print(json.loads(body)["model"])
"""


def said(*words: str | Path, **variables: str) -> list[str]:
    """What our own interpreter prints, without any setting of this machine."""
    settings = {spec.name for spec in SPECS}
    environ = {name: value for name, value in os.environ.items() if name not in settings}
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *words],
        cwd=ROOT,
        env=environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package of the recipe is installed, from nothing but its own files."""
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "target"))
    _, _, recipe = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Your own selector\n")
    files = FILE.findall(recipe)
    assert len(files) == 3
    for name, text in files:
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    offline = ("--no-index", "--no-deps", "--no-build-isolation")
    said(*pip, *offline, "--target", target, source)
    return target


def test_the_recipe_installs_no_file_that_would_hide_those_of_twisted(installed: Path) -> None:
    plugins = {path.name for path in (installed / "twisted").rglob("*.py")}
    assert plugins == {"backwards_selector.py"}


def test_a_selector_of_another_package_is_found_beside_ours_and_orders(installed: Path) -> None:
    where, names, model = said("-c", ASK, PYTHONPATH=str(installed))
    assert Path(where).is_relative_to(installed)
    assert {"backwards", "balanced", "capacity"} <= set(names.split())
    assert model == "org/a"


def test_without_the_package_it_is_not_there() -> None:
    source = "from autopilot.selectors.finding import *; print(*find_selectors('capacity'))"
    (names,) = said("-c", source)
    assert "backwards" not in names.split()
