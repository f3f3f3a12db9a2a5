"""Every open client connection, and whether there is room for another or for one more request."""

from collections.abc import Iterator
from typing import Protocol

from autopilot.policy.errors import Code, Refusal
from autopilot.web.limits import RESERVED_CONNECTIONS, ClientLimits

RETRY_SECONDS = 1


class Connection(Protocol):
    """What is asked of a channel here."""

    def close_idle(self) -> None:
        """Close now if no request is being handled, else after the answer."""

    def break_off(self) -> None:
        """End the answer visibly, or refuse what has no answer yet, and close."""

    def cut(self) -> None:
        """Close at once, whatever is left."""


class Connections:
    """The connections and requests of one site."""

    def __init__(self, limits: ClientLimits) -> None:
        self.draining = False
        self._limits = limits
        self._open: set[Connection] = set()
        # Those beyond the limit, in the order in which they came.
        self._reserve: dict[Connection, None] = {}
        self._requests = 0

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._open))

    def opened(self, connection: Connection) -> bool:
        """A connection was accepted; False if it must be closed at once."""
        if len(self._open) >= self._limits.connections + RESERVED_CONNECTIONS:
            return False
        if len(self._open) >= self._limits.connections:
            self._reserve[connection] = None
        self._open.add(connection)
        return True

    def closed(self, connection: Connection) -> None:
        """A connection is gone: if it was not in the reserve, the oldest that is takes its place."""
        if connection in self._open:
            self._open.remove(connection)
            promoted = (
                connection if connection in self._reserve else next(iter(self._reserve), None)
            )
            if promoted is not None:
                del self._reserve[promoted]

    def admit(self, connection: Connection) -> None:
        """Make room for a request of `connection`, which must be `released` when it is over.

        Raises:
            Refusal: `overloaded`.
        """
        if self._requests >= self._limits.requests or connection in self._reserve:
            raise Refusal(
                Code.OVERLOADED,
                "The router is carrying as much as it can. Try again in a moment.",
                retry_after=RETRY_SECONDS,
            )
        self._requests += 1

    def released(self) -> None:
        """A request that was admitted is over."""
        self._requests -= 1
