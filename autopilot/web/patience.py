"""The deadlines of one client connection: a timer for what is awaited, one for a reader that stops."""

from collections.abc import Callable
from enum import Enum, auto

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from autopilot.web.limits import ClientLimits


class Awaited(Enum):
    """What the client is expected to do next."""

    REQUEST = auto()
    """To begin a request: the connection is idle."""
    HEADERS = auto()
    """To finish the header fields that it began, or has to begin after connecting."""
    BODY = auto()
    """To finish the body."""
    NOTHING = auto()
    """It is our turn."""


LEAST_BYTES = 16 * 1024
"""Less than this in a stall limit is no reading, or a byte now and then would hold a stream for ever.

Over the default of 60 s it is 273 bytes a second, slower than a model speaks."""

_PROGRESS_CHECKS = 4
_PROGRESS_SECONDS = 1.0
"""How often it is looked whether a client reads on: the stall limit is met to within this."""


class Patience:
    """Runs the timers; `expired` is told what was awaited, `stalled` that a reader has stopped.

    `taken` tells how many bytes the client has taken: one that reads slowly has not stopped, as long as
    it takes `LEAST_BYTES` within each stall limit.
    """

    def __init__(
        self,
        limits: ClientLimits,
        clock: IReactorTime,
        *,
        expired: Callable[[Awaited], None],
        stalled: Callable[[], None],
        taken: Callable[[], int],
    ) -> None:
        self.awaited = Awaited.NOTHING
        self._seconds = {
            Awaited.REQUEST: limits.idle,
            Awaited.HEADERS: limits.headers,
            Awaited.BODY: limits.body,
        }
        self._stall_seconds = limits.stall
        self._check_seconds = min(limits.stall / _PROGRESS_CHECKS, _PROGRESS_SECONDS)
        self._clock = clock
        self._expired = expired
        self._stalled = stalled
        self._taken = taken
        self._taken_before = 0
        self._stopped_at = 0.0
        self._timer: IDelayedCall | None = None
        self._check: IDelayedCall | None = None

    def await_(self, awaited: Awaited) -> None:
        """From now on `awaited` is awaited, for as long as the limits say."""
        _cancel(self._timer)
        self._timer = None
        self.awaited = awaited
        if awaited is not Awaited.NOTHING:
            self._timer = self._clock.callLater(self._seconds[awaited], self._fire)

    def reading(self, *, stopped: bool) -> None:
        """There is something that the client has not read, or there is no more."""
        if not stopped:
            _cancel(self._check)
            self._check = None
        elif self._check is None:
            self._progress()

    def end(self) -> None:
        """The connection is over."""
        self.await_(Awaited.NOTHING)
        self.reading(stopped=False)

    def _fire(self) -> None:
        self._timer = None
        self._expired(self.awaited)

    def _progress(self) -> None:
        self._taken_before = self._taken()
        self._stopped_at = self._clock.seconds()
        self._check = self._clock.callLater(self._check_seconds, self._look)

    def _look(self) -> None:
        self._check = None
        if self._taken() >= self._taken_before + LEAST_BYTES:
            self._progress()
        elif self._clock.seconds() >= self._stopped_at + self._stall_seconds:
            self._stalled()
        else:
            self._check = self._clock.callLater(self._check_seconds, self._look)


def _cancel(timer: IDelayedCall | None) -> None:
    if timer is not None:
        timer.cancel()
