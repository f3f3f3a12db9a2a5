"""`twistd autopilot`: reads the settings and builds the service. Starts nothing."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from autopilot import __version__
from autopilot.interfaces import ISelector
from autopilot.process import end_at_next_signal, yield_to_the_loop
from autopilot.settings import Settings, SettingsError, help_text, load

_ENOUGH_BYTES = 32 << 20
"""Room for what a service counts, many times over: a page of it that cannot be had ends the process."""

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - mkdtemp makes a private directory in it


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

    from autopilot.selectors.finding import SelectorError, find_selectors  # noqa: PLC0415

    faults: list[str] = []
    settings: Settings | None = None
    selectors: Mapping[str, ISelector] | None = None
    try:
        settings = load(os.environ)
        names = settings.selector, settings.shadow_selector
    except SettingsError as error:
        faults += error.faults
        names = error.accepted["selector"], error.accepted["shadow_selector"]
    try:
        selectors = find_selectors(*names)
    except SelectorError as error:
        faults.append(str(error))
    if settings is None or selectors is None:
        raise SystemExit("autopilot: " + "\n".join(faults))
    yield_to_the_loop()
    if settings.workers > 1:
        return _parent(settings, reactor)
    return _alone(settings, selectors, reactor)


def _alone(settings: Settings, selectors: Mapping[str, ISelector], reactor: Any) -> IService:
    from autopilot.service import make_service  # noqa: PLC0415 - imports klein, hence the reactor

    service: IService = make_service(settings, selectors, reactor, forced=end_at_next_signal)
    return service


def _parent(settings: Settings, reactor: Any) -> IService:
    # prometheus_client looks at the variable when it is imported.
    directory = Path(tempfile.mkdtemp(prefix="autopilot-", dir=_memory()))
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)

    from autopilot.parent import make_parent  # noqa: PLC0415 - see above

    service: IService = make_parent(
        settings, reactor, directory=directory, forced=end_at_next_signal
    )
    return service


def _memory() -> str | None:
    """A directory in memory, which a container has even with a read-only disk; None if there is none."""
    try:
        free = shutil.disk_usage(_SHARED_MEMORY).free
    except OSError:
        return None
    enough = free >= _ENOUGH_BYTES and os.access(_SHARED_MEMORY, os.W_OK)
    return _SHARED_MEMORY if enough else None
