"""The Dockerfile says what the product says; scripts/container_check.sh builds and runs it."""

import re
from pathlib import Path

from autopilot import __version__
from tests.deploy.files import DEFAULTS, ROOT, complaint

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_hadolint_has_no_objection() -> None:
    assert complaint("hadolint", "--config", ".hadolint.yaml", "Dockerfile") == ""


def test_hadolint_objects_to_what_it_should(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nENTRYPOINT twistd -n\n")
    seen = complaint("hadolint", "--config", ".hadolint.yaml", bad)
    assert "DL3006" in seen
    assert "DL3025" in seen


def test_each_stage_starts_from_one_base_that_is_pinned_by_version_and_digest() -> None:
    bases = re.findall(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert bases == [("${BASE_IMAGE}", "build"), ("${BASE_IMAGE}", "runtime")]
    assert re.search(
        r"^ARG BASE_IMAGE=python:3\.\d+-slim-\w+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE
    )


def test_the_version_label_and_the_port_are_those_of_the_product() -> None:
    assert re.findall(r"^ARG VERSION=(.+)$", DOCKERFILE, re.MULTILINE) == [__version__]
    port = DEFAULTS["LISTEN_ADDR"].rpartition(":")[2]
    assert re.findall(r"^EXPOSE (.+)$", DOCKERFILE, re.MULTILINE) == [port]


def test_everything_that_is_copied_may_enter_the_build_and_nothing_else_may() -> None:
    copied = {
        name.partition("/")[0]
        for words in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for name in words.split()
    }
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
