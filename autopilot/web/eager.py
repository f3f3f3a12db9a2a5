"""A client connection that can send what is written at once, instead of in the reactor's next turn.

Twisted puts every write into a buffer, asks the reactor to watch the socket, and sends when the reactor
says that there is room: two system calls and a turn of the loop for each chunk of a stream, nearly all
of which the socket would have taken straight away.
"""

from collections.abc import Iterable

from twisted.internet.tcp import Server


class EagerServer(Server):
    """A transport whose writes go to the socket first while `eager`, and to the buffer when that is full.

    What is in the buffer is never overtaken, and only what is in it counts towards pausing a producer, so
    that backpressure is Twisted's own. It is switched on once an answer flows: before that the buffer
    joins the head of an answer and its first piece.
    """

    eager = False

    def write(self, data: bytes) -> None:
        """See `ITransport`."""
        if (
            self.eager
            and self.connected
            and not (self._tempDataLen or self.dataBuffer or self._writeDisconnected or self.TLS)
        ):
            try:
                sent = self.socket.send(data)
            except OSError:
                # It is full, or lost: the reactor will find out which.
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        super().write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """See `ITransport`."""
        if self.eager:
            self.write(b"".join(iovec))
        else:
            super().writeSequence(iovec)
