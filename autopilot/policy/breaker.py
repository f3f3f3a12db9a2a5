"""Decides when a store that fails is no longer asked, and when it is tried again.

Closed, every request may ask. Some failures in a row open it: nobody asks for a while. When that is
over one probe is allowed, apart from any request; if it goes well all may ask again, if not the wait
doubles. What was asked earlier and is answered late changes nothing while it is open.
"""

from enum import Enum

THRESHOLD = 3
"""Failures in a row that open it: one may be chance, and each costs a request its deadline."""

FIRST_PAUSE = 1.0
"""Seconds: about what a store takes to restart."""

LONGEST_PAUSE = 30.0
"""Seconds: how late a store that is well again may be noticed."""


class _State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


class Breaker:
    """Between requests and one store. All moments are of one monotonic clock, in seconds."""

    def __init__(
        self,
        *,
        threshold: int = THRESHOLD,
        first: float = FIRST_PAUSE,
        longest: float = LONGEST_PAUSE,
    ) -> None:
        self._threshold = threshold
        self._first = first
        self._longest = longest
        self._state = _State.CLOSED
        self._failures = 0
        self._pause = first
        self._until = 0.0

    @property
    def closed(self) -> bool:
        """Whether requests may ask."""
        return self._state is _State.CLOSED

    def succeeded(self) -> None:
        """A request was answered."""
        if self._state is _State.CLOSED:
            self._failures = 0
            # Not as soon as a probe goes well: a store may answer that, and no request.
            self._pause = self._first

    def failed(self, *, now: float) -> None:
        """A request was not answered, or not in time."""
        if self._state is _State.CLOSED:
            self._failures += 1
            if self._failures >= self._threshold:
                self._open(now)

    def probe(self, *, now: float) -> bool:
        """Whether to probe now. Who is told so owes `probed`; nobody else is told until then."""
        due = self._state is _State.OPEN and now >= self._until
        if due:
            self._state = _State.PROBING
        return due

    def probed(self, *, well: bool, now: float) -> None:
        """A probe ended, whether it was asked for by `probe` or made before it opened."""
        if well:
            self._state = _State.CLOSED
            self._failures = 0
        elif self._state is _State.PROBING:
            self._open(now)
        else:
            self.failed(now=now)

    def _open(self, now: float) -> None:
        self._state = _State.OPEN
        self._until = now + self._pause
        self._pause = min(2 * self._pause, self._longest)
