"""The link between the parent and one worker: messages over a socket pair, bounded in both directions.

A message is a frame: a JSON array whose first item says what it is, and for a feed the body after a line
end. Both ends are one version of one program, so that nothing here is negotiated; what does not parse is
a fault and ends the link.

Nothing piles up: the first two items of a message say what it is about, and while the other side does not
read, of messages about one thing only the newest waits. A feed alone fills the buffer of a transport.
"""

import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from autopilot.policy.rest import MAX_MODELS, Cause, Rest
from autopilot.policy.stickiness import StickyTable

_log = Logger(namespace="autopilot.workers")

MAX_MESSAGE_BYTES = (1 << 30) + (1 << 16)
"""The largest feed that a setting can allow, and its first line."""


_NEVER_FORGOTTEN = frozenset({"feed", "welcome"})
"""Messages about very few things, without which a worker cannot serve."""


def room_for(sticky: StickyTable) -> int:
    """How many messages may wait: one for each place, and for each rest."""
    return sticky.max_entries + MAX_MODELS


@implementer(IPushProducer)
class Link(Int32StringReceiver):
    """One end. `received` takes each message, `lost` is told of the end.

    `room` is how many messages may wait. Of more the oldest are forgotten, as their tables forget them.
    """

    MAX_LENGTH = MAX_MESSAGE_BYTES

    transport: Any

    def __init__(
        self,
        *,
        received: Callable[["Link", list[Any], bytes], None],
        lost: Callable[["Link"], None],
        room: int,
    ) -> None:
        self._received = received
        self._lost = lost
        self._room = room
        self._paused = False
        self._waiting: OrderedDict[tuple[Any, ...], tuple[tuple[Any, ...], bytes]] = OrderedDict()

    def connectionMade(self) -> None:
        """See `IProtocol`."""
        self.transport.registerProducer(self, True)

    def say(self, *message: Any, body: bytes = b"") -> None:
        """Send a message, as soon as the other side reads."""
        if not self.connected:
            return
        if self._paused:
            self._put_off(message, body)
        else:
            self._send(message, body)

    def stringReceived(self, string: bytes) -> None:
        """See `Int32StringReceiver`."""
        head, _end, body = string.partition(b"\n")
        try:
            self._received(self, json.loads(head), body)
        except Exception:  # noqa: BLE001 - whatever it is, nothing after it can be trusted
            _log.failure("a message could not be taken")
            self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """See `IPushProducer`: the other side does not read."""
        self._paused = True

    def resumeProducing(self) -> None:
        """See `IPushProducer`."""
        self._paused = False
        # Each may fill the buffer again.
        while self._waiting and not self._paused:
            _about, (message, body) = self._waiting.popitem(last=False)
            self._send(message, body)

    def stopProducing(self) -> None:
        """See `IPushProducer`: the connection is gone, which is told in another way."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `IProtocol`."""
        super().connectionLost(reason)
        self._waiting.clear()
        self._lost(self)

    def _put_off(self, message: tuple[Any, ...], body: bytes) -> None:
        about = message[:2]
        self._waiting.pop(about, None)
        self._waiting[about] = (message, body)
        if len(self._waiting) > self._room:
            forgotten = (each for each in self._waiting if each[0] not in _NEVER_FORGOTTEN)
            self._waiting.pop(next(forgotten, about))

    def _send(self, message: tuple[Any, ...], body: bytes) -> None:
        self.sendString(json.dumps(message).encode("ascii") + b"\n" + body)
        if not self.transport.disconnecting:
            # Now, not in the next turn: a client that has its answer may ask another worker at once.
            self.transport.doWrite()


def rest_values(rest: Rest | None) -> list[Any] | None:
    """A model's rest as a message has it."""
    return None if rest is None else [rest.cause.name, rest.until, rest.length, rest.probed_at]


def rest_of(values: list[Any] | None) -> Rest | None:
    """The rest that `rest_values` made these of."""
    if values is None:
        return None
    cause, until, length, probed_at = values
    return Rest(cause=Cause[cause], until=until, length=length, probed_at=probed_at)
