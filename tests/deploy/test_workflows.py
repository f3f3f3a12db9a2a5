"""The workflows: what two linters say of them, and what no linter knows about this repository."""

import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").iterdir())
ACTIONS = sorted((GITHUB / "actions").glob("*/action.yml"))
DEPENDABOT = GITHUB / "dependabot.yml"
PRE_COMMIT = ROOT / ".pre-commit-config.yaml"

# Seen in public repositories in 2026. An update changes this table and the workflows together.
TABLE = """
actions/cache               27d5ce7f107fe9357f9df03efb73ab90386fccae v5.0.5
actions/checkout            9c091bb21b7c1c1d1991bb908d89e4e9dddfe3e0 v7.0.0
actions/download-artifact   3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c v8.0.1
actions/setup-python        ece7cb06caefa5fff74198d8649806c4678c61a1 v6.3.0
actions/upload-artifact     043fb46d1a93c77aae656e7c1c64a875d1fc6a0a v7.0.1
docker/build-push-action    10e90e3645eae34f1e60eeb005ba3a3d33f178e8 v6.19.2
docker/login-action         af1e73f918a031802d376d3c8bbc3fe56130a9b0 v4.4.0
docker/metadata-action      c299e40c65443455700f0fdfc63efafe5b349051 v5.10.0
docker/setup-buildx-action  bb05f3f5519dd87d3ba754cc423b652a5edd6d2c v4.2.0
pypa/gh-action-pypi-publish cef221092ed1bacb1cc03d23a2d87d1d172e277b v1.14.0
re-actors/alls-green        05ac9388f0aebcb5727afa17fcccfecd6f8ec5fe v1.2.2
"""
PINS = {
    action: (commit, version) for action, commit, version in map(str.split, TABLE.split("\n")[1:-1])
}
# This repository's own actions, which are taken from the same commit as the workflow.
OWN = {"$/.github/actions/environment"}

USES = re.compile(r"^\s*(?:- )?uses: (?P<action>[^@\s]+)(?:@(?P<ref>\S+) # (?P<version>v\S+))?$")
MAKE = re.compile(r"\bmake ((?:[a-z-]+ ?)+)")
TOX = re.compile(r"\btox run .*?-e ([\w,]+)")


def said(*command: str | Path) -> str:
    """What the tool says; nothing if it is content."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def parsed(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = parsed(path)["jobs"]
    assert found
    return found


def steps() -> Iterator[dict[str, Any]]:
    for path in WORKFLOWS:
        for job in jobs(path).values():
            yield from job["steps"]
    for path in ACTIONS:
        yield from parsed(path)["runs"]["steps"]


def commands() -> str:
    return "\n".join(step["run"] for step in steps() if "run" in step)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        *(("vendor.github-workflows", path) for path in WORKFLOWS),
        *(("vendor.github-actions", path) for path in ACTIONS),
        ("vendor.dependabot", DEPENDABOT),
    ],
    ids=lambda value: name(value) if isinstance(value, Path) else value,
)
def test_each_file_fits_its_schema(schema: str, path: Path) -> None:
    assert said(BIN / "check-jsonschema", "--builtin-schema", schema, path) == ""


def test_the_security_linter_finds_nothing_even_when_pedantic() -> None:
    options = ("--offline", "--persona=pedantic", "--strict-collection", "--no-ignores")
    assert said(BIN / "zizmor", *options, GITHUB, PRE_COMMIT) == ""


def test_the_pre_commit_configuration_is_valid() -> None:
    assert said(BIN / "pre-commit", "validate-config", PRE_COMMIT) == ""


def test_pre_commit_runs_lint_format_and_the_secret_scan_from_the_environment() -> None:
    (repository,) = parsed(PRE_COMMIT)["repos"]
    assert repository["repo"] == "local"
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    assert set(hooks) == {"ruff-check", "ruff-format", "secrets"}
    for hook in hooks.values():
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
    # A key may stand in any file.
    assert hooks["secrets"]["always_run"] is True


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_a_workflow_has_no_permission_that_a_job_does_not_ask_for(path: Path) -> None:
    assert parsed(path)["permissions"] == {}
    for key, job in jobs(path).items():
        assert "permissions" in job, key
        assert isinstance(job["permissions"], dict), key


def test_only_the_jobs_that_publish_may_write() -> None:
    writing = {
        (path.name, key, permission)
        for path in WORKFLOWS
        for key, job in jobs(path).items()
        for permission, level in job["permissions"].items()
        if level != "read"
    }
    assert writing == {
        ("release.yml", "pypi", "id-token"),
        ("release.yml", "image", "packages"),
    }


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=name)
def test_each_action_is_pinned_to_the_commit_of_the_table(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if "uses:" in line]
    assert lines
    for line in lines:
        match = USES.match(line)
        assert match, line
        if match["ref"] is None:
            assert match["action"] in OWN, line
        else:
            assert (match["ref"], match["version"]) == PINS[match["action"]], line


def test_the_table_holds_commits_and_no_action_that_nobody_uses() -> None:
    used = {step["uses"].partition("@")[0] for step in steps() if "uses" in step}
    assert used == PINS.keys() | OWN
    assert all(re.fullmatch(r"[0-9a-f]{40}", commit) for commit, _ in PINS.values())
    assert all((ROOT / own.removeprefix("$/") / "action.yml").is_file() for own in OWN)


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_each_job_ends_by_itself(path: Path) -> None:
    for key, job in jobs(path).items():
        assert 1 <= job["timeout-minutes"] <= 60, key


def test_no_checkout_leaves_its_credentials() -> None:
    checkouts = [step for step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_the_required_job_needs_all_others_and_runs_whatever_became_of_them() -> None:
    found = jobs(GITHUB / "workflows" / "ci.yml")
    required = found.pop("required")
    assert set(required["needs"]) == set(found)
    assert required["if"] == "always()"
    (step,) = required["steps"]
    assert step["uses"].startswith("re-actors/alls-green@")
    assert step["with"]["jobs"] == "${{ toJSON(needs) }}"
    # A job that may be left out would leave the required one green.
    assert [key for key, job in found.items() if "if" in job or "continue-on-error" in job] == []


def test_a_newer_push_cancels_the_run_of_an_older_one_but_never_a_release() -> None:
    ci, release = (parsed(GITHUB / "workflows" / f"{each}.yml") for each in ("ci", "release"))
    assert ci["concurrency"]["cancel-in-progress"] is True
    assert "${{ github.ref }}" in ci["concurrency"]["group"]
    assert release["concurrency"]["cancel-in-progress"] is False


def test_what_is_published_was_tested_first_and_nothing_of_it_comes_from_a_cache() -> None:
    found = jobs(GITHUB / "workflows" / "release.yml")
    assert found["test"]["needs"] == "build"
    for key in ("pypi", "image"):
        needs = found[key]["needs"]
        assert "test" in ([needs] if isinstance(needs, str) else needs)
    text = (GITHUB / "workflows" / "release.yml").read_text()
    assert "actions/cache" not in text
    assert not OWN & {step.get("uses") for job in found.values() for step in job["steps"]}


def test_the_pythons_tested_are_all_that_tox_knows_and_none_is_skipped() -> None:
    tests = jobs(GITHUB / "workflows" / "ci.yml")["tests"]
    rows = tests["strategy"]["matrix"]["include"]
    assert [row["environment"] for row in rows] == sorted(
        environment for environment in tox_environments() if re.fullmatch(r"py\d+", environment)
    )
    assert all(row["environment"] == "py" + row["python"].replace(".", "") for row in rows)
    assert "tox run --skip-missing-interpreters false" in commands()


def test_each_make_target_that_a_workflow_calls_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {
        target
        for line in re.findall(r"^([a-z][a-z -]*):", makefile, re.MULTILINE)
        for target in line.split()
    }
    called = {word for words in MAKE.findall(commands()) for word in words.split()}
    assert called >= {"lint", "typing", "smoke", "secrets", "test", "venv"}
    assert called - targets == set()


def test_each_tox_environment_that_a_workflow_calls_exists() -> None:
    called = {word for words in TOX.findall(commands()) for word in words.split(",")}
    assert called >= {"lab"}
    assert called - tox_environments() == set()


def tox_environments() -> set[str]:
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    sections = [each.removeprefix("testenv:") for each in tox.sections() if ":" in each]
    return {name for each in sections for name in each.strip("{}").split(",")}
