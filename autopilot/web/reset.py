"""Resets a connection once all that was written has reached the client.

To an HTTP/1.0 client a close is a clean end, so only a reset shows that an answer is incomplete
(RFC 9112 section 6.3). A reset discards what has not been sent yet: hence the wait.
"""

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPullProducer, IReactorTime
from zope.interface import implementer

from autopilot.web.tcp import unsent_bytes

POLL_SECONDS = 0.02


@implementer(IPullProducer)
class ResetWhenFlushed:
    """Watches `transport` for at most `limit` seconds, then resets it in any case.

    `cancel` must be called when the connection is gone before.
    """

    def __init__(self, transport: Any, *, clock: IReactorTime, limit: float) -> None:
        self._transport = transport
        self._clock = clock
        self._deadline = clock.seconds() + limit
        self._asked = False
        self._handed_over = False
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Begin to wait. Nothing may be written to the transport from now on."""
        self._transport.unregisterProducer()
        # A pull producer is asked for data once at registration, and then whenever the transport's
        # buffer has become empty: that is how we learn that the kernel has it all.
        self._transport.registerProducer(self, False)
        self._transport.startWriting()
        self._poll()

    def cancel(self) -> None:
        """Stop waiting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def resumeProducing(self) -> None:
        """See `IPullProducer`."""
        self._handed_over = self._asked
        self._asked = True

    def stopProducing(self) -> None:
        """See `IPullProducer`: the connection is gone."""
        self.cancel()

    def _poll(self) -> None:
        self._timer = None
        if self._flushed() or self._clock.seconds() >= self._deadline:
            self._transport.unregisterProducer()
            self._transport.abortConnection()
        else:
            self._timer = self._clock.callLater(POLL_SECONDS, self._poll)

    def _flushed(self) -> bool:
        return self._handed_over and unsent_bytes(self._transport.fileno()) == 0
