"""The link between the parent and one worker: messages over a socket pair, bounded in both directions.

A message is a frame: a JSON array whose first item says what it is, and for a feed the body after a line
end. Both ends are one version of one program, so that nothing here is negotiated; what does not parse is
a fault and ends the link.

Nothing piles up: while the other side does not read, messages are dropped, and once it reads again
whoever owns the link is asked to say anew what counts.
"""

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from autopilot.policy.rest import Cause, Rest

_log = Logger(namespace="autopilot.workers")

MAX_MESSAGE_BYTES = (1 << 30) + (1 << 16)
"""The largest feed that a setting can allow, and its first line."""


@implementer(IPushProducer)
class Link(Int32StringReceiver):
    """One end. `received` takes each message, `again` is asked to repeat, `lost` is told of the end."""

    MAX_LENGTH = MAX_MESSAGE_BYTES

    transport: Any

    def __init__(
        self,
        *,
        received: Callable[["Link", list[Any], bytes], None],
        again: Callable[["Link"], None],
        lost: Callable[["Link"], None],
    ) -> None:
        self._received = received
        self._again = again
        self._lost = lost
        self._paused = False
        self._dropped = False

    def connectionMade(self) -> None:
        """See `IProtocol`."""
        self.transport.registerProducer(self, True)

    def say(self, *message: Any, body: bytes = b"") -> None:
        """Send a message, unless the other side does not read."""
        if self._paused:
            self._dropped = True
        elif self.connected:
            self.sendString(json.dumps(message).encode("ascii") + b"\n" + body)

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
        if self._dropped:
            self._dropped = False
            self._again(self)

    def stopProducing(self) -> None:
        """See `IPushProducer`: the connection is gone, which is told in another way."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `IProtocol`."""
        super().connectionLost(reason)
        self._lost(self)


def rest_values(rest: Rest | None) -> list[Any] | None:
    """A model's rest as a message has it."""
    return None if rest is None else [rest.cause.name, rest.until, rest.length, rest.probed_at]


def rest_of(values: list[Any] | None) -> Rest | None:
    """The rest that `rest_values` made these of."""
    if values is None:
        return None
    cause, until, length, probed_at = values
    return Rest(cause=Cause[cause], until=until, length=length, probed_at=probed_at)
