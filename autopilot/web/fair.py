"""A port that several processes accept from, and that leaves to each its share.

All of them are told of each connection that arrives, and the quickest would take most. So each takes
one at a time, and one that has more than others lets them go first, for a moment. Some of what is left
waiting after it is taken by anybody, so that a process that hangs delays nobody for longer.
"""

from typing import Any, Self

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.tcp import Port

from autopilot.ledger import Ledger

MAY_LEAD_BY = 1
"""Connections that a process may have more than the one with the fewest without letting it go first."""

YIELD_SECONDS = 0.002

LEFT_OVER = 8
"""Connections that are taken by whoever is there once the others have had their moment."""


class FairPort(Port):
    """A `Port` over an inherited socket; `ledger` knows what each process has."""

    ledger: Ledger | None = None

    reactor: Any
    _yielding: IDelayedCall | None = None
    _may_take = 0

    @classmethod
    def of(cls, reactor: Any, descriptor: int, family: int, factory: Any) -> Self:
        """A port that listens with `descriptor`, of which it keeps a copy."""
        port: Self = cls._fromListeningDescriptor(reactor, descriptor, family, factory)
        return port

    @property
    def numberAccepts(self) -> int:
        """How many are accepted in one turn; Twisted adapts it to how many there were."""
        return 1

    @numberAccepts.setter
    def numberAccepts(self, _number: int) -> None:
        pass

    def doRead(self) -> None:
        """See `IReadDescriptor`."""
        if self.ledger is None or self.ledger.surplus <= MAY_LEAD_BY:
            self._may_take = 0
        elif self._may_take:
            self._may_take -= 1
        else:
            self.stopReading()
            self._yielding = self.reactor.callLater(YIELD_SECONDS, self._go_on)
            return
        super().doRead()

    def startListening(self) -> None:
        """See `IListeningPort`."""
        super().startListening()
        if self.ledger is not None:
            self.ledger.accepts(True)

    def _go_on(self) -> None:
        self._yielding = None
        self._may_take = LEFT_OVER
        self.startReading()

    def loseConnection(self, *reason: Any) -> Any:
        """See `IListeningPort`."""
        if self.ledger is not None:
            self.ledger.accepts(False)
        if self._yielding is not None:
            self._yielding.cancel()
            self._yielding = None
        return super().loseConnection(*reason)

    stopListening = loseConnection
