"""What is set for a whole process: how its threads take turns, and how a second signal ends it."""

import os
import signal
import sys
from collections.abc import Callable

SWITCH_SECONDS = 0.001
"""How long the thread that parses a feed may keep the loop waiting. Python's 5 ms is a late chunk."""


def yield_to_the_loop() -> None:
    """Have threads give way to the loop soon."""
    sys.setswitchinterval(SWITCH_SECONDS)


def _nothing() -> None:
    pass


def end_at_next_signal(first: Callable[[], None] = _nothing) -> None:
    """From now on SIGTERM and SIGINT end this process; `first` is called before.

    Twisted would log an error, and go on draining.
    """

    def end(number: int, _frame: object) -> None:
        first()
        os._exit(128 + number)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, end)
