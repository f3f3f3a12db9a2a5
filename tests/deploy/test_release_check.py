"""The release check, by what it says of a tag, a version and a changelog."""

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

import autopilot

ROOT = Path(__file__).parents[2]
CHANGELOG = """\
# Changelog

## 1.10.0 - 2026-02-03

- This.

## 1.1.0

## 1.0.0

- That.

## 1.0x9

- No version.
"""


@pytest.fixture
def disagreements(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], list[str]]:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    found: Callable[[str, str, str], list[str]] = import_module("release_check").disagreements
    return found


@pytest.mark.parametrize("version", ["1.10.0", "1.0.0"])
def test_a_tag_of_the_version_with_its_section_may_be_released(
    disagreements: Callable[[str, str, str], list[str]], version: str
) -> None:
    assert disagreements(f"v{version}", version, CHANGELOG) == []


@pytest.mark.parametrize(
    ("tag", "version", "complaint"),
    [
        ("v1.0.1", "1.0.0", "the tag is v1.0.1, and the version of the code wants v1.0.0"),
        ("1.0.0", "1.0.0", "the tag is 1.0.0, and the version of the code wants v1.0.0"),
        ("v1.10", "1.10", "CHANGELOG.md has no section 1.10"),
        ("v1.0.9", "1.0.9", "CHANGELOG.md has no section 1.0.9"),
        ("v1.1.0", "1.1.0", "the section 1.1.0 of CHANGELOG.md is empty"),
    ],
)
def test_what_disagrees_is_said(
    disagreements: Callable[[str, str, str], list[str]], tag: str, version: str, complaint: str
) -> None:
    assert disagreements(tag, version, CHANGELOG) == [complaint]


def test_the_script_looks_at_the_version_of_the_code_and_fails() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "release_check.py", "v0.0.0.dev0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"the version of the code wants v{autopilot.__version__}." in done.stderr
