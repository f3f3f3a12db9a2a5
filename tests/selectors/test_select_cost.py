"""The measure of what an order costs covers every selector; what it measures is the machine's matter."""

import subprocess
import sys
from pathlib import Path

from twisted.plugin import getPlugins

from autopilot.interfaces import ISelector

SCRIPT = Path(__file__).parents[2] / "scripts" / "select_cost.py"


def test_every_selector_is_measured_and_compared_with_the_contract() -> None:
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, SCRIPT, "--candidates", "5"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    title, _heads, *rows = done.stdout.splitlines()
    assert title.startswith("5 candidates"), done.stderr
    found = {name: [float(word) for word in words] for name, *words in map(str.split, rows)}
    assert set(found) == {selector.name for selector in getPlugins(ISelector)}
    assert all(number >= 0 for numbers in found.values() for number in numbers)
    assert found["capacity"][2] == 1.0
