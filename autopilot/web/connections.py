"""Every open client connection, and whether there is room for another or for one more request."""

from collections.abc import Iterator
from typing import Protocol

from autopilot.ledger import Ledger
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
    """The connections and requests of one site, whose limits are those of the whole service."""

    def __init__(self, limits: ClientLimits, ledger: Ledger | None = None) -> None:
        self.draining = False
        self._limits = limits
        self._ledger = ledger or Ledger()
        self._open: set[Connection] = set()
        # Those beyond the limit, in the order in which they came.
        self._reserve: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._open))

    def opened(self, connection: Connection) -> bool:
        """A connection was accepted; False if it must be closed at once."""
        beyond = self._beyond
        if beyond >= RESERVED_CONNECTIONS:
            return False
        if beyond >= 0:
            self._reserve[connection] = None
        self._open.add(connection)
        self._ledger.has_connections(len(self._open))
        return True

    def closed(self, connection: Connection) -> None:
        """A connection is gone: if it was not in the reserve, the oldest that is takes its place."""
        if connection in self._open:
            self._open.remove(connection)
            self._ledger.has_connections(len(self._open))
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
        if connection in self._reserve and self._beyond <= 0:
            # Another process of the service has lost one.
            del self._reserve[connection]
        if self._ledger.requests >= self._limits.requests or connection in self._reserve:
            raise Refusal(
                Code.OVERLOADED,
                "The router is carrying as much as it can. Try again in a moment.",
                retry_after=RETRY_SECONDS,
            )
        self._ledger.add_request(1)

    def released(self) -> None:
        """A request that was admitted is over."""
        self._ledger.add_request(-1)

    @property
    def _beyond(self) -> int:
        """By how many a next connection is beyond the limits of the service and of this process."""
        limits = self._limits
        return max(
            self._ledger.connections - limits.connections,
            len(self._open) - limits.connections_here,
        )
