"""`twistd autopilot`: reads the settings and builds the service. Starts nothing."""

import os
import signal
import sys

from twisted.application.service import IService
from twisted.python import usage

from autopilot import __version__
from autopilot.interfaces import ISelector
from autopilot.settings import Settings, SettingsError, help_text, load

SWITCH_SECONDS = 0.001
"""How long the thread that parses a feed may keep the loop waiting. Python's 5 ms is a late chunk."""


class Options(usage.Options):
    """Everything is set in the environment, so that a container and a shell are set alike."""

    synopsis = "[no options: settings are read from the environment]"

    def getUsage(self, width: int | None = None) -> str:
        """The usage with every setting, unwrapped."""
        return f"{super().getUsage(width)}\n{help_text()}\n"

    def opt_version(self) -> None:
        """Show the version and exit."""
        print(f"chutes-autopilot {__version__}")  # noqa: T201 - this is the answer
        raise SystemExit(0)


def makeService(_options: Options) -> IService:
    """The router's service.

    Raises:
        SystemExit: a setting cannot be accepted; the text lists every fault. (twistd shows a
            traceback for a UsageError from here, and exits with 0 for one from the options.)
    """
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

    from autopilot.selectors.finding import UnknownSelectorError, find_selector  # noqa: PLC0415
    from autopilot.service import make_service  # noqa: PLC0415 - imports klein, hence the reactor

    faults: list[str] = []
    settings: Settings | None = None
    selector: ISelector | None = None
    try:
        settings = load(os.environ)
        name = settings.selector
    except SettingsError as error:
        faults += error.faults
        name = error.accepted["selector"]
    try:
        selector = find_selector(name)
    except UnknownSelectorError as error:
        faults.append(str(error))
    if settings is None or selector is None:
        raise SystemExit("autopilot: " + "\n".join(faults))
    sys.setswitchinterval(SWITCH_SECONDS)
    service: IService = make_service(settings, selector, reactor, forced=_end_at_next_signal)
    return service


def _end_at_next_signal() -> None:
    """While the router drains, a second signal ends it at once; Twisted would log an error."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: os._exit(128 + number))
