"""Where the lines of a process go: an application of twistd is given the router's own observer."""

import sys
from typing import Any

from twisted.logger import ILogObserver
from twisted.python.components import Componentized

from autopilot.logs import observer
from autopilot.settings import Settings


def lines_of(settings: Settings, **always: object) -> ILogObserver:
    """An observer that writes to standard output as `settings` say, `always` in each line."""
    return observer(
        stream=sys.stdout, level=settings.log_level, style=settings.log_format, always=always
    )


def observe(parent: Any, settings: Settings) -> None:
    """Have twistd use that observer, if `parent` is its application."""
    if isinstance(parent, Componentized):
        parent.setComponent(ILogObserver, lines_of(settings))
