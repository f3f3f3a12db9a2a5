"""A port that several processes accept from, and that leaves to each its share.

All of them are told of each connection that arrives, and the quickest would take most. So each takes
one at a time, and one that has more than others lets them go first, for as long as they catch up. When
they do not, some of what is waiting is taken by anybody: a process that hangs holds up nobody for long.
"""

from typing import Any, Self

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.tcp import Port

from autopilot.ledger import Ledger

MAY_LEAD_BY = 1
"""Connections that a process may have more than the one with the fewest without letting it go first."""

YIELD_SECONDS = 0.002
"""How often one that has more looks whether others catch up."""

PATIENT_TURNS = 5
"""So often in a row it may see that they do not: a busy process is at its port again in less time."""

LEFT_OVER = 4
"""Connections that are taken then, before others are waited for again."""


class FairPort(Port):
    """A `Port` over an inherited socket; `ledger` knows what each process has."""

    ledger: Ledger | None = None

    reactor: Any
    _yielding: IDelayedCall | None = None
    _lead = 0
    _in_vain = 0
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
        lead = 0 if self.ledger is None else self.ledger.surplus
        if lead <= MAY_LEAD_BY:
            self._in_vain = self._may_take = 0
        elif self._may_take:
            self._may_take -= 1
        elif not self._is_tired_of_waiting(lead):
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
        self.startReading()

    def _is_tired_of_waiting(self, lead: int) -> bool:
        catching_up, self._lead = lead < self._lead, lead
        self._in_vain = 0 if catching_up else self._in_vain + 1
        if self._in_vain <= PATIENT_TURNS:
            return False
        self._in_vain, self._may_take = 0, LEFT_OVER - 1
        return True

    def loseConnection(self, *reason: Any) -> Any:
        """See `IListeningPort`."""
        if self.ledger is not None:
            self.ledger.accepts(False)
        if self._yielding is not None:
            self._yielding.cancel()
            self._yielding = None
        return super().loseConnection(*reason)

    stopListening = loseConnection
