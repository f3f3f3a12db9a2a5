"""A client connection that sends what is written at once, instead of in the reactor's next turn.

Twisted puts every write into a buffer, asks the reactor to watch the socket, and sends when the reactor
says that there is room: two system calls and a turn of the loop for each chunk of a stream, nearly all
of which the socket would have taken straight away.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from twisted.internet.tcp import Server


class EagerServer(Server):
    """A transport whose writes go to the socket first, and to the buffer when that is full.

    What is in the buffer is never overtaken, and only what is in it counts towards pausing a producer, so
    that backpressure is Twisted's own.
    """

    _holding = False
    _held = False

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Within it, what is written waits for the next write, or for `release`: a head, for its body."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False

    def release(self) -> None:
        """Send what is held, if nothing more has been written."""
        if self._held:
            self._held = False
            self.startWriting()

    def write(self, data: bytes) -> None:
        """See `ITransport`."""
        if self._must_wait:
            super().write(data)
            return
        if self._holding:
            self._tempDataBuffer.append(data)
            self._tempDataLen += len(data)
            self._held = True
            return
        if self._held:
            self._held = False
            data = b"".join((*self._tempDataBuffer, data))
            self._tempDataBuffer.clear()
            self._tempDataLen = 0
        try:
            sent = self.socket.send(data)
        except OSError:
            # It is full, or lost: the reactor will find out which.
            sent = 0
        if sent != len(data):
            super().write(data[sent:])

    @property
    def _must_wait(self) -> bool:
        """Whether Twisted knows better: others are first, nothing may leave, or somebody waits."""
        return bool(
            self.dataBuffer
            or (self._tempDataLen and not self._held)
            or not self.connected
            or self._writeDisconnected
            or self._aborting
            or self.TLS
            or (self.producer is not None and not self.streamingProducer)
        )

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """See `ITransport`."""
        self.write(b"".join(iovec))
