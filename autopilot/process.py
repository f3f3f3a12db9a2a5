"""What is set for a whole process: how its threads take turns, and how a second signal ends it."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

SWITCH_SECONDS = 0.001
"""How long the thread that parses a feed may keep the loop waiting. Python's 5 ms is a late chunk."""


def yield_to_the_loop() -> None:
    """Have threads give way to the loop soon."""
    sys.setswitchinterval(SWITCH_SECONDS)


def _nobody() -> tuple[int, ...]:
    return ()


def end_at_next_signal(
    children: Callable[[], tuple[int, ...]] = _nobody, *, directory: Path | None = None
) -> None:
    """From now on SIGTERM and SIGINT end this process, and its `children` before it.

    Twisted would log an error, and go on draining. `directory` goes with the process.
    """

    def end(number: int, _frame: object) -> None:
        for child in children():
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
        os._exit(128 + number)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, end)
