"""The deadlines of one client connection: one timer, always for the thing that is awaited now."""

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


class Patience:
    """Runs the timer; `expired` is told what was awaited, `stalled` that a reader has stopped."""

    def __init__(
        self,
        limits: ClientLimits,
        clock: IReactorTime,
        *,
        expired: Callable[[Awaited], None],
        stalled: Callable[[], None],
    ) -> None:
        self.awaited = Awaited.NOTHING
        self._seconds = {
            Awaited.REQUEST: limits.idle,
            Awaited.HEADERS: limits.headers,
            Awaited.BODY: limits.body,
        }
        self._stall_seconds = limits.stall
        self._clock = clock
        self._expired = expired
        self._stalled = stalled
        self._timer: IDelayedCall | None = None
        self._stall: IDelayedCall | None = None

    def await_(self, awaited: Awaited) -> None:
        """From now on `awaited` is awaited, for as long as the limits say."""
        _cancel(self._timer)
        self._timer = None
        self.awaited = awaited
        if awaited is not Awaited.NOTHING:
            self._timer = self._clock.callLater(self._seconds[awaited], self._fire)

    def reading(self, *, stopped: bool) -> None:
        """The client has stopped reading what is there for it, or reads again."""
        if not stopped:
            _cancel(self._stall)
            self._stall = None
        elif self._stall is None:
            self._stall = self._clock.callLater(self._stall_seconds, self._fire_stall)

    def end(self) -> None:
        """The connection is over."""
        self.await_(Awaited.NOTHING)
        self.reading(stopped=False)

    def _fire(self) -> None:
        self._timer = None
        self._expired(self.awaited)

    def _fire_stall(self) -> None:
        self._stall = None
        self._stalled()


def _cancel(timer: IDelayedCall | None) -> None:
    if timer is not None:
        timer.cancel()
