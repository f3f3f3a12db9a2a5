"""Tap: the command line of `twistd autopilot-simulator`."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from twisted.application.service import IService
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from autopilot.simulator.answers import Pace
from autopilot.simulator.config import (
    Rows,
    SimulatorConfig,
    UnfitFileError,
    load_models,
    load_utilization,
)

_HIGHEST_PORT = 65535


class Options(UsageOptions):
    """What can be said on the command line; `config` is what it comes to."""

    synopsis = "[options]"
    longdesc = "Serve a faithful little Chutes on a local port, faults included."

    optParameters: ClassVar[list[list[str | None]]] = [
        ["listen", None, "127.0.0.1:9090", "HOST:PORT to serve on; port 0 takes a free one"],
        ["models", None, None, "FILE to serve as /v1/models instead of made-up models"],
        ["utilization", None, None, "FILE to serve as /chutes/utilization, row by row as it is"],
        ["slots", None, "32", "requests that one instance holds at once"],
        ["chunks", None, "24", "content chunks of an answer"],
        ["chunk-delay-ms", None, "20", "time between chunks"],
        ["first-chunk-delay-ms", None, "30", "time before the first chunk, headers included"],
        ["feed-interval-ms", None, "1000", "time between two batches of the feed"],
    ]
    optFlags: ClassVar[list[list[str | None]]] = [
        ["restamp", None, "give the rows of --utilization the present as their timestamp"],
    ]

    def postOptions(self) -> None:
        """Turn the words into a config, or say which of them is wrong."""
        host, port = self._address()
        self.config = SimulatorConfig(
            host=host,
            port=port,
            models=self._file("models", load_models),
            utilization=self._file("utilization", load_utilization),
            restamp=bool(self["restamp"]),
            slots=self._number("slots", least=1),
            feed_interval=self._number("feed-interval-ms", least=1) / 1000,
            pace=Pace(
                chunks=self._number("chunks", least=1),
                chunk_delay=self._number("chunk-delay-ms", least=0) / 1000,
                first_chunk_delay=self._number("first-chunk-delay-ms", least=0) / 1000,
            ),
        )

    def _address(self) -> tuple[str, int]:
        host, colon, port = str(self["listen"]).rpartition(":")
        if not (colon and host and port.isascii() and port.isdigit()):
            raise UsageError("--listen must be HOST:PORT")
        if len(port) > len(str(_HIGHEST_PORT)) or int(port) > _HIGHEST_PORT:
            raise UsageError(f"--listen: the port must be at most {_HIGHEST_PORT}")
        return host.removeprefix("[").removesuffix("]"), int(port)

    def _number(self, name: str, *, least: int) -> int:
        try:
            number = int(self[name])
        except ValueError:
            number = least - 1
        if number < least:
            raise UsageError(f"--{name} must be a whole number, at least {least}")
        return number

    def _file(self, name: str, load: Callable[[Path], Rows]) -> Rows | None:
        if self[name] is None:
            return None
        try:
            return load(Path(self[name]))
        except UnfitFileError as unfit:
            raise UsageError(f"--{name}: {unfit}") from None


def makeService(options: Options) -> IService:
    """Build the service; twistd calls this before it has a logger, so nothing starts here."""
    # twistd installs the reactor after it has read this module, so nothing above may import it.
    from twisted.internet import reactor  # noqa: PLC0415

    from autopilot.simulator.service import make_simulator  # noqa: PLC0415

    return make_simulator(options.config, reactor)
