"""The README's recipes, run as they stand there; only the address is that of a router under test."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import (
    ALIAS,
    BEST,
    THIRD,
    Router,
    Simulator,
    chat,
    fresh,
    router,
)

README = Path(__file__).parents[2] / "README.md"
ADDRESS = "http://127.0.0.1:8080"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def recipe(language: str, word: str) -> str:
    """The one block in `language` that holds `word`."""
    blocks = [text for kind, text in BLOCK.findall(README.read_text("utf-8")) if kind == language]
    (found,) = [text for text in blocks if word in text]
    assert ADDRESS in found
    return str(found)


def run(words: list[str], service: Router) -> str:
    """What the command prints; it must succeed, and within its time."""
    environment = {**os.environ, "CHUTES_API_KEY": fresh("token"), "NO_PROXY": "*"}
    done = subprocess.run(  # noqa: S603 - the README's own words
        [word.replace(ADDRESS, service.url) for word in words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_recipe_streams_to_the_end(service: Router) -> None:
    printed = run(["/bin/sh", "-c", recipe("sh", "curl -N")], service)
    assert printed.startswith("data: {")
    assert printed.endswith("data: [DONE]\n\n")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_recipes_of_wishes_are_answered(
    tmp_path: Path, shared_simulator: Simulator
) -> None:
    # A router of its own: in another some model may rest since an earlier test.
    with router(tmp_path, shared_simulator) as alone:
        printed = run(["/bin/sh", "-e", "-c", recipe("sh", "x-chutes-autopilot-require")], alone)
    assert re.findall(r'"model":\s*"([^"]+)"', printed) == [BEST, THIRD, BEST]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_recipes_of_explanations_are_answered(
    tmp_path: Path, shared_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = fresh("token")
    monkeypatch.setenv("ADMIN_TOKEN", token)
    with router(tmp_path, shared_simulator, ADMIN_TOKEN=token) as opened:
        opened.post(chat(ALIAS), request_id="my-request-id")
        words = recipe("sh", "/autopilot/explain").replace("curl -s", "\ncurl -sw '\\n'")
        printed = run(["/bin/sh", "-e", "-c", words], opened)
    candidates, explanation, decision = [json.loads(line) for line in printed.split("\n") if line]
    assert candidates["selector"] == "balanced"
    assert explanation["wishes"] == {"tee": True}
    assert decision["selected"] == BEST


def test_the_python_recipe_prints_an_answer(service: Router) -> None:
    printed = run([sys.executable, "-c", recipe("python", "from openai import OpenAI")], service)
    assert len(printed.split()) > 1
