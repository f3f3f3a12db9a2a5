"""The demo as a process: what it is given and refuses, before it starts anything.

That it then runs is seen by whoever tries it: its port is one that a machine has once.
"""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "demo.py"


@pytest.mark.parametrize("word", ["balanced", "SELEKTOR=balanced", "selector=x", "LISTEN_ADDR=::"])
def test_a_word_that_is_no_setting_of_the_demo_is_named_and_nothing_starts(word: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(SCRIPT), "WORKERS=2", word],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert repr(word) in done.stderr
    assert "NAME=VALUE" in done.stderr
    assert "Traceback" not in done.stderr
