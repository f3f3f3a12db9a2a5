"""Where a client's place is kept: in this process, behind the interface that a shared store has as well.

What the table promises is in `autopilot.policy.stickiness`.
"""

from zope.interface import implementer

from autopilot.interfaces import IStickyStore, Seconds
from autopilot.policy.stickiness import StickyTable


@implementer(IStickyStore)
class MemorySticky:
    """A table of this process: gone with it, and of no use to another. `now` is a monotonic clock."""

    def __init__(self, table: StickyTable, now: Seconds) -> None:
        self._table = table
        self._now = now

    def get(self, key: bytes) -> str | None:
        """See `IStickyStore`. Never to be waited for."""
        return self._table.get(key, now=self._now())

    def peek(self, key: bytes) -> str | None:
        """See `IStickyStore`."""
        return self._table.peek(key, now=self._now())

    def put(self, key: bytes, model: str) -> None:
        """See `IStickyStore`."""
        self._table.put(key, model, now=self._now())

    def forget(self, key: bytes, model: str) -> None:
        """See `IStickyStore`."""
        self._table.forget(key, model)


class Affinity:
    """One client's place in a store, for the length of one request."""

    def __init__(self, store: IStickyStore, key: bytes) -> None:
        self._store = store
        self._key = key

    def served(self, model: str) -> None:
        """`model` answered: keep the client on it."""
        self._store.put(self._key, model)

    def failed(self, model: str) -> None:
        """`model` failed: if the client was kept on it, it no longer is."""
        self._store.forget(self._key, model)
