"""A client on a raw socket: sends any bytes, reads at its own pace, and sees how its connection ends."""

import os
import time
from collections.abc import Callable
from typing import Any, cast

from lab_wire import Answer, Close, End, NotHttpError, end_of, read_answer
from processes import HOST
from twisted.internet import error, reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

CLIENT_ADDRESS = "127.9.8.7"
"""Where the lab's clients come from: an address that must never be seen in a log."""

PRODUCTION = os.environ.get("AUTOPILOT_LAB") == "full"
"""Whether the router runs with its own deadlines: set by `lab.py --full` before anything else."""

LONG_SECONDS = 700.0 if PRODUCTION else 10.0
"""Longest wait of all that are not about a deadline of the router's."""

_CONNECT_SECONDS = 5.0


def soon(seconds: float) -> Deferred[None]:
    """Fires after so many seconds."""
    waiting: Deferred[None] = Deferred()
    cast("Any", reactor).callLater(seconds, waiting.callback, None)
    return waiting


class Client(Protocol):
    """One connection to the router. Moments are those of `time.monotonic`."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.stamps: list[tuple[float, int]] = []
        self.close = Close.NOT
        self.closed_at: float | None = None
        self.sent_at = time.monotonic()
        self.head_only = False
        self.keeps = True
        self.count = 0
        self._waiting: list[Deferred[None]] = []

    @property
    def socket(self) -> Any:
        """The transport."""
        return cast("Any", self.transport)

    def connectionMade(self) -> None:
        """See `IProtocol`."""
        self.socket.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        """See `IProtocol`."""
        self.count += len(data)
        if self.keeps:
            self.received += data
            self.stamps.append((time.monotonic(), len(self.received)))
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `IProtocol`."""
        self.close = Close.FIN if reason.check(error.ConnectionDone) else Close.RST
        self.closed_at = time.monotonic()
        self._wake()

    def send(self, data: bytes) -> None:
        """Send these bytes."""
        self.sent_at = time.monotonic()
        self.socket.write(data)

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.socket.loseWriteConnection()

    def leave(self) -> None:
        """Go away without another word."""
        if self.close is Close.NOT:
            self.socket.loseConnection()

    def cut(self) -> None:
        """Go away with a reset."""
        if self.close is Close.NOT:
            self.socket.abortConnection()

    def stop_reading(self) -> None:
        """Leave what comes to the kernel."""
        self.socket.pauseProducing()

    def read_on(self) -> None:
        """Read again."""
        self.socket.resumeProducing()

    async def until(self, condition: Callable[[], bool], within: float = LONG_SECONDS) -> bool:
        """Whether `condition` came true in time; looked at whenever something happens here."""
        deadline = time.monotonic() + within
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0 or self.close is not Close.NOT:
                return condition()
            news: Deferred[None] = Deferred()
            self._waiting.append(news)
            news.addTimeout(left, cast("Any", reactor), onTimeoutCancel=lambda *_: None)
            await news
        return True

    async def until_answered(self, within: float = LONG_SECONDS) -> bool:
        """Whether the answer is complete, or over, in time."""
        return await self.until(self._over, within)

    async def until_closed(self, within: float = LONG_SECONDS) -> bool:
        """Whether the router closed the connection in time."""
        return await self.until(lambda: self.close is not Close.NOT, within)

    async def until_bytes(self, number: int, within: float = LONG_SECONDS) -> bool:
        """Whether so many bytes came in time."""
        return await self.until(lambda: self.count >= number, within)

    @property
    def answer(self) -> Answer | None:
        """The answer so far; None while there is none."""
        try:
            return read_answer(bytes(self.received), head_only=self.head_only)
        except NotHttpError:
            return None

    @property
    def end(self) -> End:
        """How it ended, by now."""
        return end_of(bytes(self.received), self.close, head_only=self.head_only)

    @property
    def ms(self) -> float:
        """From the last send to the last that happened."""
        last = self.closed_at or (self.stamps[-1][0] if self.stamps else time.monotonic())
        return (last - self.sent_at) * 1000

    def _over(self) -> bool:
        return self.end not in {End.OPEN, End.GARBAGE} or self.close is not Close.NOT

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for news in waiting:
            if not news.called:
                news.callback(None)


async def connect(port: int) -> Client:
    """A connection to the router, from the address that nobody may write down."""
    endpoint = TCP4ClientEndpoint(
        reactor, HOST, port, timeout=_CONNECT_SECONDS, bindAddress=(CLIENT_ADDRESS, 0)
    )
    client: Client = await connectProtocol(endpoint, Client())
    return client
