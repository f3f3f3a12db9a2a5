"""The shape of the code itself: imports point one way, and no module grows too long to read.

A part is a room or a module at the top of `autopilot`. `ALLOWED` is the plan: what each part may
import, itself aside. A part that is not in it fails, so that a new one is placed on purpose.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import autopilot

PACKAGE = Path(autopilot.__file__).parent
ROOT = Path(__file__).parents[1]
LONGEST_MODULE = 350

VERSION = "__init__"
# The drawer: imports no room, except that some of it is written in the words of policy.
DRAWER = {
    "client_protocol",
    "connection_pool",
    "exposition",
    "http_client",
    "interfaces",
    "labels",
    "ledger",
    "listening",
    "logs",
    "metrics",
    "readings",
    "setting_table",
    "setting_values",
    "observing",
    "process",
    "settings",
    "trust_store",
    VERSION,
}
BELOW = {"policy", *DRAWER}
ROUTER = {"web", "dataplane", "controlplane", "selectors", *BELOW}

ALLOWED: dict[str, set[str]] = {
    VERSION: set(),
    "policy": set(),
    "interfaces": {"policy"},
    "exposition": set(),
    "readings": {"policy", "interfaces"},
    "metrics": {"policy", "interfaces", "labels", "exposition", "readings", VERSION},
    "labels": set(),
    "ledger": set(),
    "listening": {"setting_values"},
    "logs": set(),
    "observing": {"logs", "settings"},
    "process": set(),
    "setting_values": set(),
    "setting_table": {"setting_values"},
    "settings": {"setting_table", "setting_values"},
    "client_protocol": {"policy"},
    "connection_pool": {"client_protocol", "logs"},
    "http_client": {"connection_pool"},
    "trust_store": {"logs"},
    "healthcheck": {"setting_table", "setting_values"},
    "controlplane": BELOW,
    "dataplane": BELOW,
    "web": {"dataplane", *BELOW},
    "selectors": {"policy", "interfaces"},
    "workers": {"controlplane", *BELOW},
    "routing": {"workers", "dataplane", *BELOW},
    "entrances": {"workers", "routing", "web", "dataplane", *BELOW},
    "service": {"workers", "routing", "entrances", *ROUTER},
    "parent": {"workers", "controlplane", *BELOW},
    "worker": {"service", "workers", "selectors", *BELOW},
    "command": {"routing", "dataplane", "controlplane", "selectors", *BELOW},
    "tap": {"service", "parent", "selectors", "interfaces", "process", "settings", VERSION},
    "testing": {"policy", "interfaces"},
    # Its fleet tries the product's own selectors, which is what it is for; a router it is not.
    "simulator": {"selectors", "policy", "interfaces"},
}


def imported(source: str, module: str) -> Iterator[str]:
    """The full names of what `source`, the text of `module`, imports anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            # What is imported from a package may be a module of it.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def part_of(name: str) -> str | None:
    """The part of `autopilot` that the name belongs to; None for others' names."""
    first, _, rest = name.partition(".")
    if first != "autopilot":
        return None
    part = rest.partition(".")[0]
    return part if part in ALLOWED or (PACKAGE / part).is_dir() else known(part)


def known(part: str) -> str:
    return part if (PACKAGE / f"{part}.py").is_file() else VERSION


def modules() -> dict[str, Path]:
    paths = sorted(PACKAGE.rglob("*.py"))
    return {
        ".".join(["autopilot", *path.relative_to(PACKAGE).with_suffix("").parts]): path
        for path in paths
    }


MODULES = modules()


def wrong_arrows(source: str, module: str) -> set[str]:
    here = part_of(module)
    assert here in ALLOWED, f"{module} has no place in the house"
    parts = {part_of(name) for name in imported(source, module)}
    return {part for part in parts if part is not None} - ALLOWED[here] - {here}


def strangers(source: str, module: str) -> set[str]:
    """What is imported that is neither ours nor the standard library's."""
    tops = {name.partition(".")[0] for name in imported(source, module)}
    return tops - sys.stdlib_module_names - {"autopilot"}


def test_there_is_something_to_check() -> None:
    assert {"autopilot.policy.ranking", "autopilot.web.app", "autopilot.service"} <= set(MODULES)
    assert {part_of(module) for module in MODULES} == set(ALLOWED)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    assert wrong_arrows(MODULES[module].read_text(), module) == set()


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(m) == "policy"])
def test_policy_imports_nothing_but_the_standard_library(module: str) -> None:
    assert strangers(MODULES[module].read_text(), module) == set()


def test_only_the_web_room_imports_klein_which_installs_the_reactor() -> None:
    users = {
        part_of(module)
        for module, path in MODULES.items()
        if "klein" in strangers(path.read_text(), module)
    }
    assert users == {"web"}


def test_only_what_a_process_begins_with_imports_the_reactor_and_only_when_called() -> None:
    users = {
        module
        for module, path in MODULES.items()
        if "twisted.internet.reactor" in imported(path.read_text(), module)
    }
    assert {module.rpartition(".")[2] for module in users} == {"tap", "worker"}
    for module in users:
        top = ast.Module(
            [node for node in ast.parse(MODULES[module].read_text()).body if is_import(node)], []
        )
        assert "twisted.internet.reactor" not in imported(ast.unparse(top), module)


def is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


@pytest.mark.parametrize("part", ["simulator", "testing"])
def test_simulator_and_testing_are_imported_by_no_other_part(part: str) -> None:
    for module, path in MODULES.items():
        if part_of(module) != part:
            parts = {part_of(name) for name in imported(path.read_text(), module)}
            assert part not in parts, module


def test_web_and_controlplane_do_not_know_each_other() -> None:
    for one, other in (("web", "controlplane"), ("controlplane", "web")):
        assert other not in ALLOWED[one]
        assert other not in ALLOWED["dataplane"]


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_longer_than_can_be_read_at_once(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= LONGEST_MODULE


@pytest.mark.parametrize("module", MODULES)
def test_every_module_opens_with_a_sentence(module: str) -> None:
    text = ast.get_docstring(ast.parse(MODULES[module].read_text())) or ""
    assert text.partition("\n\n")[0].endswith((".", "?"))


def test_nothing_hides_twisted_or_its_plugins() -> None:
    plugins = ROOT / "twisted" / "plugins"
    assert {path.name for path in plugins.glob("*.py")} >= {
        "autopilot_service.py",
        "autopilot_selectors.py",
    }
    assert not (ROOT / "twisted" / "__init__.py").exists()
    assert not (plugins / "__init__.py").exists()


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("autopilot.policy.x", "from autopilot.interfaces import ISelector", {"interfaces"}),
        ("autopilot.policy.x", "from ..dataplane import engine", {"dataplane"}),
        ("autopilot.policy.x", "from .. import web", {"web"}),
        ("autopilot.policy.x", "from . import catalog", set()),
        ("autopilot.policy.x", "def f():\n    import autopilot.web.app", {"web"}),
        ("autopilot.dataplane.x", "from autopilot import web, logs", {"web"}),
        ("autopilot.dataplane.x", "from autopilot.controlplane.state import S", {"controlplane"}),
        ("autopilot.controlplane.x", "import autopilot.web", {"web"}),
        ("autopilot.web.x", "import autopilot.dataplane.engine", set()),
        ("autopilot.web.x", "from autopilot import testing", {"testing"}),
        ("autopilot.service", "from autopilot.simulator import site", {"simulator"}),
        ("autopilot.metrics", "from autopilot import __version__", set()),
        ("autopilot.logs", "from autopilot import __version__", {"__init__"}),
        ("autopilot.settings", "from autopilot.policy import errors", {"policy"}),
    ],
)
def test_an_arrow_that_runs_the_wrong_way_is_seen(
    module: str, source: str, wrong: set[str]
) -> None:
    assert wrong_arrows(source, module) == wrong


@pytest.mark.parametrize("source", ["import treq", "from zope.interface import Interface"])
def test_a_stranger_is_seen(source: str) -> None:
    assert strangers(source, "autopilot.policy.x") == {source.split()[1].partition(".")[0]}
    assert strangers("import json\nfrom collections import abc", "autopilot.policy.x") == set()
