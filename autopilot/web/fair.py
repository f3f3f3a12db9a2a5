"""A port that several processes accept from, and that leaves to each its share.

All of them are told of each connection that arrives, and the quickest would take most. So each takes one
at a time, and one that has more than others lets them go first, for a moment: what is left waiting after
it is taken by anybody, so that a process that hangs costs no client more than that.
"""

from typing import Any, Self

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.tcp import Port

from autopilot.ledger import Ledger

MAY_LEAD_BY = 1
"""Connections that a process may have more than the one with the fewest without letting it go first."""

YIELD_SECONDS = 0.002


class FairPort(Port):
    """A `Port` over an inherited socket; `ledger` knows what each process has."""

    ledger: Ledger | None = None

    reactor: Any
    _yielding: IDelayedCall | None = None
    _yielded = False

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
        if self.ledger is not None and self.ledger.surplus > MAY_LEAD_BY and not self._yielded:
            self._yielded = True
            self.stopReading()
            self._yielding = self.reactor.callLater(YIELD_SECONDS, self._go_on)
            return
        self._yielded = False
        super().doRead()

    def _go_on(self) -> None:
        self._yielding = None
        self.startReading()

    def loseConnection(self, *reason: Any) -> Any:
        """See `IListeningPort`."""
        if self._yielding is not None:
            self._yielding.cancel()
            self._yielding = None
        return super().loseConnection(*reason)

    stopListening = loseConnection
