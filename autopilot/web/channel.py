"""The HTTP channel: strict about request syntax, and able to refuse at any point of a request's arrival.

Twisted's own channel accepts what RFC 9112 tells a server to reject, closes without a word on long
lines, and answers the rest with a bare status line. Here each of these is refused in OpenAI's error
shape, and the connection is closed with the client given time to read why. Routing and framing stay
Twisted's.
"""

from contextlib import nullcontext
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import IDelayedCall, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

from autopilot.policy.ending import End
from autopilot.policy.errors import Code, ErrorBody, Refusal
from autopilot.policy.headers import bearer_token
from autopilot.web.eager import EagerServer
from autopilot.web.paths import ROUTED_PATHS, path_of
from autopilot.web.patience import Awaited, Patience
from autopilot.web.syntax import problem_of
from autopilot.web.tcp import acknowledged_bytes

LINGER_SECONDS = 2.0
"""How long a refused client may go on sending, so that it reads the refusal and not a reset."""

MAX_LENGTH_DIGITS = 100
"""Longest Content-Length read, to be refused as too large; Python does not convert 5,000 digits."""


class AutopilotChannel(http.HTTPChannel):
    """One client connection. See RFC 9112 for every rule without another source."""

    # Several times what any SDK sends; the sum of 16 KiB is Twisted's.
    maxHeaders = 100

    transport: Any
    site: Any
    _networkProducer: Any
    _patience: Patience | None = None
    _refused = False
    _leaving = False
    _lingering: IDelayedCall | None = None
    _turn: IDelayedCall | None = None

    def refuse(self, error: ErrorBody) -> None:
        """Answer the request that is arriving with `error` now, take no more of it, and close."""
        if self._refused:
            return
        self._refused = True
        if self._handlingRequest:
            # An earlier request is being answered: there is no place for this answer but after it.
            self.loseConnection()
            return
        request: Any = self.requests[-1] if self.requests else self._new_request()
        self.persistent = False
        request.method = getattr(self, "_command", b"GET")
        request.clientproto = getattr(self, "_version", b"HTTP/1.1")
        request.refuse(error, getattr(self, "_path", b""))

    def connectionMade(self) -> None:
        """See `IProtocol`. From now on the client has the header deadline to say something."""
        super().connectionMade()
        if not self.site.connections.opened(self):
            self._refused = True
            self.transport.abortConnection()
            return
        self._patience = Patience(
            self.site.limits,
            self.site.reactor,
            expired=self._expired,
            stalled=self._stalled,
            taken=self._taken,
        )
        self._patience.await_(Awaited.HEADERS)

    def dataReceived(self, data: bytes) -> None:
        """See `IProtocol`. What follows a refusal is read and forgotten."""
        if self._refused:
            return
        if self._patience is not None and self._patience.awaited is Awaited.REQUEST:
            self._patience.await_(Awaited.HEADERS)
        super().dataReceived(data)
        waiting = self._busyReceiving or self.paused or not self.line_mode
        if not waiting and b"\n" in self._buffer:
            # A whole line would have been taken out: this one ends in LF alone (RFC 9112 section 2.2).
            self._bad("A line ends in LF without CR.")

    def lineReceived(self, line: bytes) -> None:
        """A request line or a line of header fields."""
        if self._refused:
            return
        if b"\n" in line:
            self._bad("A line ends in LF without CR.")
            return
        if self._in_fields and line[:1] in {b" ", b"\t"}:
            self._bad("A header field is folded over two lines (RFC 9112 section 5.2).")
            return
        super().lineReceived(line)

    def headerReceived(self, line: bytes) -> bool:
        """A whole header field; whether it can be accepted."""
        if self._refused:
            return False
        name, _colon, value = line.partition(b":")
        if name.lower() == b"content-length" and len(value.strip()) > MAX_LENGTH_DIGITS:
            self._bad("The Content-Length is no length.")
            return False
        accepted: bool = super().headerReceived(line)
        return accepted

    def allHeadersReceived(self) -> None:
        """The header fields are complete."""
        if self._refused:
            return
        problem = problem_of(self.requests[-1].requestHeaders, self._path, self._version)
        if problem is not None:
            self._bad(problem)
            return
        try:
            self._admit(self.requests[-1])
        except Refusal as refusal:
            self.refuse(refusal.body)
            return
        if self._patience is not None:
            self._patience.await_(Awaited.BODY)
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """The request is complete."""
        if self._refused:
            return
        if self._leaving:
            self._make_last()
        if self._patience is not None:
            self._patience.await_(Awaited.NOTHING)
        super().allContentReceived()

    def writeHeaders(self, *head: Any) -> None:
        """The head of an answer, which is sent together with the beginning of its body."""
        transport = self.transport
        with transport.holding() if isinstance(transport, EagerServer) else nullcontext():
            super().writeHeaders(*head)

    def requestDone(self, request: Any) -> None:
        """An answer is complete; the next request may be waiting already.

        Not while the client does not read: thousands of small requests fit into one segment, and
        their answers would all pile up in the transport.
        """
        if isinstance(self.transport, EagerServer):
            self.transport.release()
        full = bool(self._waitingForTransport)
        more = self._buffer or any(self._dataBuffer)
        self.paused = bool(self.persistent and (full or more))
        if self._patience is not None and self.persistent and not self.paused:
            self._patience.await_(Awaited.REQUEST)
        super().requestDone(request)
        if self.paused:
            # Nor is more taken in, which would pile up just the same; the stall limit goes on.
            self._networkProducer.pauseProducing()
            if not full:
                self._turn = self.callLater(0, self._next_turn)

    def _next_turn(self) -> None:
        """Others have had their turn: on to what the client has sent together with the last request."""
        self._turn = None
        if not self._waitingForTransport:
            self._networkProducer.resumeProducing()
            self._go_on()

    def _go_on(self) -> None:
        if self.paused:
            self.paused = False
            if self._patience is not None:
                self._patience.await_(Awaited.REQUEST)
            super().dataReceived(b"")

    def pauseProducing(self) -> None:
        """The client does not read what is there for it."""
        super().pauseProducing()
        if self._patience is not None:
            self._patience.reading(stopped=True)

    def resumeProducing(self) -> None:
        """The client reads again: go on with what it had sent before."""
        if self._patience is not None:
            self._patience.reading(stopped=False)
        super().resumeProducing()
        self._go_on()

    def rawDataReceived(self, data: bytes) -> None:
        """A part of a body, or bytes of a next request while one is being answered."""
        if self._refused:
            return
        super().rawDataReceived(data)
        if self._handlingRequest and sum(map(len, self._dataBuffer)) > (
            self._optimisticEagerReadSize
        ):
            # Twisted would stop reading, and then nobody would notice that the client has left.
            self.transport.abortConnection()

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002 - LineReceiver's signature
        """A line is longer than 16 KiB."""
        self._too_long()

    def loseConnection(self) -> None:
        """Close after what was written; after a refusal, give the client time to read it."""
        if not self._refused or not ITCPTransport.providedBy(self.transport):
            if self._patience is not None:
                # A close waits for what is still to be read, and a client may never read it.
                self._patience.reading(stopped=True)
            super().loseConnection()
        elif self._lingering is None:
            self._networkProducer.unregisterProducer()
            self._lingering = self.callLater(LINGER_SECONDS, self._linger_expired)
            self.transport.loseWriteConnection()

    def close_idle(self) -> None:
        """See `Connection`.

        A request that is arriving has its deadline, and the grace, like those that are answered.
        """
        self._leaving = True
        if not self._handlingRequest:
            if not (self.requests or self._buffer):
                self.loseConnection()
        elif self.requests:
            self._make_last()

    def break_off(self) -> None:
        """See `Connection`."""
        answer = self.requests[0].downstream if self.requests else None
        if answer is None or not self._handlingRequest:
            self.cut()
            return
        answer.lost_as = End.SHUTDOWN
        if answer.begun:
            answer.break_off()
        else:
            answer.give_up()

    def cut(self) -> None:
        """See `Connection`."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `IProtocol`."""
        self.site.connections.closed(self)
        if self._patience is not None:
            self._patience.end()
        for timer in (self._lingering, self._turn):
            if timer is not None and timer.active():
                timer.cancel()
        super().connectionLost(reason)

    @property
    def _in_fields(self) -> bool:
        """Whether the request line has been read, and the body not begun."""
        return hasattr(self, "_version") and bool(self.requests) and not self._handlingRequest

    def _make_last(self) -> None:
        """Close after the answer to the request that is here, and say so where that is possible still."""
        self.persistent = False
        if not self.requests[0].startedWriting:
            self.requests[0].setHeader(b"connection", b"close")

    def _new_request(self) -> Any:
        factory: Any = self.requestFactory
        request = factory(self)
        self.requests.append(request)
        return request

    def _bad(self, message: str) -> None:
        self.refuse(Refusal(Code.BAD_REQUEST, message).body)

    def _too_long(self) -> None:
        if self._in_fields:
            code, message = Code.HEADERS_TOO_LARGE, "The header fields are too large or too many."
        else:
            code, message = Code.URI_TOO_LONG, "The request line is too long."
        self.refuse(Refusal(code, message).body)

    def _admit(self, request: Any) -> None:
        """Let a request in that will be routed.

        Raises:
            Refusal: it has no token and needs one, or there is no room.
        """
        if unquote_to_bytes(path_of(self._path)) not in ROUTED_PATHS:
            return
        authorization = request.requestHeaders.getRawHeaders(b"authorization", [])
        if self.site.limits.require_authorization and bearer_token(authorization) is None:
            raise Refusal(
                Code.MISSING_AUTHORIZATION,
                "This router takes requests with 'Authorization: Bearer ...' only.",
            )
        connections = self.site.connections
        connections.admit(self)
        request.notifyFinish().addBoth(lambda _result: connections.released())

    def _expired(self, awaited: Awaited) -> None:
        begun = self.requests or self._buffer
        if awaited is Awaited.REQUEST or not begun:
            self.loseConnection()
            return
        what = "header fields" if awaited is Awaited.HEADERS else "body"
        message = f"The request's {what} did not arrive in time."
        self.refuse(Refusal(Code.REQUEST_TIMEOUT, message).body)

    def _stalled(self) -> None:
        answer = self.requests[0].downstream if self.requests else None
        if answer is not None:
            answer.lost_as = End.CLIENT_STALLED
        self.cut()

    def _taken(self) -> int:
        known = ITCPTransport.providedBy(self.transport)
        return acknowledged_bytes(self.transport.getHandle()) if known else 0

    def _linger_expired(self) -> None:
        self.transport.abortConnection()

    def _send100Continue(self) -> None:
        if not self._refused:
            super()._send100Continue()

    def _respondToBadRequestAndDisconnect(self) -> None:
        if (
            self._receivedHeaderCount > self.maxHeaders
            or self._receivedHeaderSize > self.totalHeadersSize
        ):
            self._too_long()
        else:
            self._bad("The request is not valid HTTP/1.1.")
