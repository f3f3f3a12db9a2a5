"""The last decisions, by the id of their request: what was chosen, what was tried, how it ended.

Kept as the JSON text that is asked for, so that what it takes is known to the byte. It is made when a
request is over, and only where somebody may ask for it.
"""

import json
from collections import OrderedDict

from autopilot.dataplane.account import Account
from autopilot.interfaces import Seconds

MAX_DECISIONS = 1_000
"""Decisions kept: some minutes of a busy process, whose operator has just been told of a bad one."""

MAX_BYTES = 4 << 20
"""What they may take together: each usual one has about a kilobyte, one with every attempt failed 20."""


class Decisions:
    """A ring: the oldest goes first. `wall` dates them, in seconds of the Unix epoch."""

    def __init__(self, wall: Seconds) -> None:
        self._wall = wall
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """How many bytes they take."""
        return self._bytes

    def keep(self, request_id: str, account: Account) -> None:
        """A request is over. If another had the same id, its decision is forgotten."""
        self._forget(request_id)
        told = {"request_id": request_id, "time": round(self._wall(), 3), **account}
        text = json.dumps(told, allow_nan=False).encode("ascii")
        self._kept[request_id] = text
        self._bytes += len(text) + len(request_id)
        while len(self._kept) > MAX_DECISIONS or self._bytes > MAX_BYTES:
            self._forget(next(iter(self._kept)))

    def find(self, request_id: str) -> bytes | None:
        """The decision as a JSON object; None if it is not kept here."""
        return self._kept.get(request_id)

    def _forget(self, request_id: str) -> None:
        text = self._kept.pop(request_id, None)
        if text is not None:
            self._bytes -= len(text) + len(request_id)
