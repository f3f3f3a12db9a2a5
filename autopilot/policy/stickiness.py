"""Keeps each client on the model that served it last, in a table that cannot grow without bound.

A client is known by a keyed hash only: the table holds neither token nor address.
"""

import hmac
from collections import OrderedDict
from collections.abc import Sequence


def client_key(
    secret: bytes, *, token: bytes | None, address: str, session: bytes | None = None
) -> bytes:
    """HMAC-SHA-256 of the Bearer token, else of the client's address; 32 bytes.

    With `session`, that of the client's one conversation: keyed by the client's own, so that nobody
    finds another's place by naming his session. The kinds are kept apart by a prefix, so that no token
    can be chosen to equal an address.
    """
    message = b"token:" + token if token else b"address:" + address.encode()
    key = hmac.digest(secret, message, "sha256")
    return key if session is None else hmac.digest(key, b"session:" + session, "sha256")


def prefer(sticky: str | None, candidates: Sequence[str]) -> tuple[str, ...]:
    """The candidates, each once, with the sticky one first if it is among them, else as they are."""
    if sticky is None or sticky not in candidates:
        return tuple(candidates)
    at = candidates.index(sticky)
    return (sticky, *candidates[:at], *candidates[at + 1 :])


_FRESH = 0.9
"""Of its time to live, what an entry must have left to be fresh."""


class StickyTable:
    """Client key to model, bounded in time and number.

    An entry lives `ttl` seconds from its last write; the least recently used one goes first when
    there would be more than `max_entries`. A zero in either turns the table off.
    """

    def __init__(self, *, ttl: float, max_entries: int) -> None:
        self._ttl = ttl
        self._max_entries = max_entries
        self._entries: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def max_entries(self) -> int:
        """How many there may be."""
        return self._max_entries

    def get(self, key: bytes, *, now: float) -> str | None:
        """The model of `key`, or None if there is none or its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        model, expires_at = entry
        if now >= expires_at:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return model

    def peek(self, key: bytes, *, now: float) -> str | None:
        """As `get`, but the entry is used no more recently for it, and stays."""
        model, expires_at = self._entries.get(key, (None, now))
        return model if now < expires_at else None

    def put(self, key: bytes, model: str, *, now: float) -> float | None:
        """Remember that `model` served `key` at `now`; until when, or None if the table is off."""
        if self._ttl <= 0 or self._max_entries <= 0:
            return None
        self._set(key, model, now + self._ttl)
        return now + self._ttl

    def is_fresh(self, key: bytes, model: str, *, now: float) -> bool:
        """Whether `model` was put so lately that putting it again would change next to nothing."""
        entry = self._entries.get(key)
        return entry is not None and entry[0] == model and entry[1] - now >= self._ttl * _FRESH

    def adopt(self, key: bytes, model: str | None, *, expires_at: float) -> None:
        """Somebody who shares the table has put this, or forgotten it."""
        if model is None:
            self._entries.pop(key, None)
        else:
            self._set(key, model, expires_at)

    def items(self) -> tuple[tuple[bytes, str, float], ...]:
        """Every key with its model and the moment at which it expires, least recently used first."""
        return tuple((key, model, expires) for key, (model, expires) in self._entries.items())

    def forget(self, key: bytes, model: str) -> bool:
        """Drop `key` if it still points at `model`: another answer may have moved it meanwhile.

        Whether it did.
        """
        entry = self._entries.get(key)
        if entry is None or entry[0] != model:
            return False
        del self._entries[key]
        return True

    def _set(self, key: bytes, model: str, expires_at: float) -> None:
        if self._max_entries <= 0:
            return
        self._entries[key] = (model, expires_at)
        self._entries.move_to_end(key)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
