"""The HTTP channel: strict about request syntax, and able to refuse at any point of a request's arrival.

Twisted's own channel accepts what RFC 9112 tells a server to reject, closes without a word on long
lines, and answers the rest with a bare status line. Here each of these is refused in OpenAI's error
shape, and the connection is closed with the client given time to read why. Routing and framing stay
Twisted's.
"""

import re
from typing import Any

from twisted.internet.interfaces import IDelayedCall, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

from autopilot.policy.errors import Code, ErrorBody, Refusal

LINGER_SECONDS = 2.0
"""How long a refused client may go on sending, so that it reads the refusal and not a reset."""

MAX_LENGTH_DIGITS = 100
"""Longest Content-Length read, to be refused as too large; Python does not convert 5,000 digits."""

_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_TARGET = re.compile(rb"[\x21-\x7e]+")


class AutopilotChannel(http.HTTPChannel):
    """One client connection. See RFC 9112 for every rule without another source."""

    # Several times what any SDK sends; the sum of 16 KiB is Twisted's.
    maxHeaders = 100

    transport: Any
    _networkProducer: Any
    _refused = False
    _lingering: IDelayedCall | None = None

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

    def dataReceived(self, data: bytes) -> None:
        """See `IProtocol`. What follows a refusal is read and forgotten."""
        if not self._refused:
            super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        """A request line or a line of header fields."""
        if self._refused:
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
        problem = self._problem()
        if problem is not None:
            self._bad(problem)
        else:
            super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """The request is complete."""
        if not self._refused:
            super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        """An answer is complete; the next request may be waiting already.

        Not while the client does not read: thousands of small requests fit into one segment, and
        their answers would all pile up in the transport.
        """
        self.paused = bool(self.persistent and self._waitingForTransport)
        super().requestDone(request)

    def resumeProducing(self) -> None:
        """The client reads again: go on with what it had sent before."""
        super().resumeProducing()
        if self.paused:
            self.paused = False
            super().dataReceived(b"")

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
            super().loseConnection()
        elif self._lingering is None:
            self.setTimeout(None)
            self._networkProducer.unregisterProducer()
            self._lingering = self.callLater(LINGER_SECONDS, self._linger_expired)
            self.transport.loseWriteConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `IProtocol`."""
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        super().connectionLost(reason)

    @property
    def _in_fields(self) -> bool:
        """Whether the request line has been read, and the body not begun."""
        return hasattr(self, "_version") and bool(self.requests) and not self._handlingRequest

    def _new_request(self) -> Any:
        factory: Any = self.requestFactory
        request = factory(self)
        self.requests.append(request)
        return request

    def _problem(self) -> str | None:
        headers = self.requests[-1].requestHeaders
        hosts = headers.getRawHeaders(b"host", [])
        codings = headers.getRawHeaders(b"transfer-encoding", [])
        current = self._version == b"HTTP/1.1"
        if len(hosts) > 1 or (current and not hosts):
            return "Exactly one Host is expected (RFC 9112 section 3.2)."
        if hosts and not _HOST.fullmatch(hosts[0]):
            return "The Host is no host."
        if codings and (not current or [coding.lower() for coding in codings] != [b"chunked"]):
            return "The only transfer coding accepted is chunked, in HTTP/1.1."
        if not _TARGET.fullmatch(self._path):
            return "The request target has bytes that are not visible ASCII."
        return None

    def _bad(self, message: str) -> None:
        self.refuse(Refusal(Code.BAD_REQUEST, message).body)

    def _too_long(self) -> None:
        if self._in_fields:
            code, message = Code.HEADERS_TOO_LARGE, "The header fields are too large or too many."
        else:
            code, message = Code.URI_TOO_LONG, "The request line is too long."
        self.refuse(Refusal(code, message).body)

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
