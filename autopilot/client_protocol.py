"""HTTP/1.1 towards an upstream, stricter than Twisted's: a doubtful response is none.

Both classes override few methods of `twisted.web._newclient`, which is private; tests pin them to the
Twisted that is installed. Law of the module: no error made here carries a byte of the peer's.
"""

import re
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import (
    BODY,
    HTTP11ClientProtocol,
    HTTPClientParser,
    ParseError,
    Request,
)
from twisted.web.iweb import IResponse
from zope.interface import implementer

from autopilot.policy.headers import nominated

MAX_HEAD_BYTES = 64 * 1024
"""Longest status line and header fields together. Twisted bounds each line alone, not their number."""

MAX_HEAD_LINES = 200
"""Most lines of it: ten times what an answer of the platform has."""

MAX_INTERIM = 16
"""Most 1xx before an answer. Twisted takes any number, one of which may come every few seconds."""

_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL = 200
_HTTP_1_0 = (b"HTTP", 1, 0)
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] [1-5][0-9]{2}(?: .*)?", re.DOTALL)


class HandshakeFailed(error.ConnectError):
    """TLS could not be agreed on: the certificate, the name, or the peer hung up.

    `reason` is what ended the connection; its text may hold words of the peer's.
    """

    def __init__(self, reason: Failure = connectionDone) -> None:
        super().__init__()
        self.reason = reason


class ResponseParser(HTTPClientParser):
    """Reads one response; whatever RFC 9112 calls invalid, or Twisted would wait on, is a `ParseError`.

    Errors that Twisted finds by itself are of other classes (`ValueError` for a bad Content-Length);
    all end in a `ResponseFailed`, and in a closed connection.
    """

    # RFC 9110, sections 6.6.2, 7.6.1 and 11.7: Twisted lets these cross.
    CONNECTION_CONTROL_HEADERS = HTTPClientParser.CONNECTION_CONTROL_HEADERS | {
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"trailer",
    }

    def __init__(
        self, request: Request, finisher: Callable[[bytes], None], response: Deferred[IResponse]
    ) -> None:
        super().__init__(request, finisher)
        self._responseDeferred = response
        self._interim = 0
        self._lines = 0

    def connectionMade(self) -> None:
        """See `HTTPParser`, which calls it again after each 1xx."""
        super().connectionMade()
        self._lines = 0
        # LineReceiver holds a line against this before it is whole. What is left of the head's room
        # is the room of the next line, whose LF LineReceiver does not count.
        self.MAX_LENGTH = MAX_HEAD_BYTES - 1

    def dataReceived(self, data: bytes) -> None:
        """See `IProtocol`. What comes of a body once it has begun needs no looking for lines."""
        if self.state == BODY:
            cast("Any", self.bodyDecoder).dataReceived(data)
        else:
            super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        """See `HTTPParser`: one line of the head, less its LF."""
        self._lines += 1
        self.MAX_LENGTH -= len(line) + 1
        if self._lines > MAX_HEAD_LINES:
            raise ParseError("too many lines in the head", b"")
        # RFC 9110, section 5.5. The last byte may be the CR of a CRLF.
        if b"\0" in line or b"\r" in line[:-1]:
            raise ParseError("NUL or CR in the head", b"")
        super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002 - see LineReceiver
        """See `LineReceiver`, where it is a loseConnection, which TLS may never finish."""
        raise ParseError("head too long", b"")

    def statusReceived(self, status: bytes) -> None:
        """See `HTTPClientParser`, which takes any protocol name and any integer for a status."""
        if _STATUS_LINE.fullmatch(status) is None:
            raise ParseError("not a status line", b"")
        super().statusReceived(status)

    def allHeadersReceived(self) -> None:
        """See `HTTPClientParser`: judge the head, keep back what belongs to this hop, go on."""
        if self.response.code < _FIRST_FINAL:
            self._interim += 1
            # We never ask for an upgrade; what follows a 101 would not be HTTP.
            if self.response.code == _SWITCHING_PROTOCOLS or self._interim > MAX_INTERIM:
                raise ParseError("unexpected 1xx", b"")
        elif not self._bodiless():
            self._check_framing()
        here = self._nominated()
        for name, _values in tuple(self.headers.getAllRawHeaders()):
            if name.lower() in here:
                self.headers.removeHeader(name)
        super().allHeadersReceived()

    def reusable(self) -> bool:
        """Whether the connection may carry another request after this response."""
        return (
            self.response.version != _HTTP_1_0
            and b"close" not in self._nominated()
            # A body that must not be there may still be on its way.
            and not self._bodiless()
        )

    def _bodiless(self) -> bool:
        return self.response.code in self.NO_BODY_CODES or self.request.method == b"HEAD"

    def _nominated(self) -> frozenset[bytes]:
        return nominated(self.connHeaders.getRawHeaders(b"connection") or ())

    def _check_framing(self) -> None:
        # RFC 9112, sections 6.1 and 6.3. Twisted looks at the first Transfer-Encoding only.
        codings = self.connHeaders.getRawHeaders(b"transfer-encoding")
        if codings is not None and (
            [coding.lower() for coding in codings] != [b"chunked"]
            or self.connHeaders.hasHeader(b"content-length")
            or self.response.version == _HTTP_1_0
        ):
            raise ParseError("contradictory or unknown framing", b"")


@implementer(IHandshakeListener)
class ClientProtocol(HTTP11ClientProtocol):
    """One connection. It tells when its TLS handshake is over and when it can serve no longer.

    `unusable` is called then; a pool sets it.
    """

    def __init__(self, quiescent: Any) -> None:
        super().__init__(quiescent)
        self.unusable: Callable[[], None] = _nobody_cares
        self._secured = False
        self._handshake: Deferred[ClientProtocol] | None = None

    def request(self, request: Request) -> Deferred[IResponse]:
        """See `HTTP11ClientProtocol`, which makes its parser by name."""
        ready = self._state == "QUIESCENT"
        answer = super().request(request)
        if ready and self._parser is not None and self._responseDeferred is not None:
            # Ours takes its place before a byte can have come.
            self._parser = ResponseParser(request, self._finishResponse, self._responseDeferred)
            self._parser.makeConnection(cast("Any", self._transportProxy))
        return answer

    def handshakeCompleted(self) -> None:
        """See `IHandshakeListener`."""
        self._secured = True
        if self._handshake is not None:
            self._handshake.callback(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `IProtocol`."""
        super().connectionLost(reason)
        self.unusable()
        if self._handshake is not None and not self._handshake.called:
            self._handshake.errback(HandshakeFailed(reason))

    def secured(self) -> "Deferred[ClientProtocol]":
        """Fires with this protocol after the handshake. Cancelling it closes the connection."""
        self._handshake = Deferred(self._abandon)
        if self._secured:
            self._handshake.callback(self)
        return self._handshake

    def abort(self) -> Deferred[None]:
        """See `HTTP11ClientProtocol`, which over TLS waits for the peer's close_notify."""
        closed: Deferred[None] = super().abort()
        if not closed.called:
            self._cut()
        return closed

    def _finishResponse(self, rest: bytes) -> None:
        # Twisted compares whole values of Connection with "close" and nothing else. Saying it in the
        # words it knows leaves the two endings to it.
        parser = cast("ResponseParser | None", self._parser)
        # Whoever wanted no more of this body may have closed the connection while its last bytes were
        # being parsed: the next request would be written to it, and lost.
        closing = _is_closing(self.transport)
        if parser is not None and (rest or closing or not parser.reusable()):
            parser.connHeaders.setRawHeaders(b"connection", [b"close"])
        super()._finishResponse(rest)

    def _giveUp(self, reason: Failure) -> None:
        # Reached after a response that ends the connection, after one that cannot be parsed, and when
        # bytes come that nobody asked for (there is no parser then): the next request must not see
        # those, so the connection leaves the pool before it is closed.
        self.unusable()
        self._cut()
        self._disconnectParser(reason)

    def _cut(self) -> None:
        # Not loseConnection: a peer that reads nothing, or keeps back its close_notify, holds it up.
        cast("Any", self.transport).abortConnection()

    def _abandon(self, _handshake: object) -> None:
        self._cut()


def _is_closing(transport: Any) -> bool:
    """Whether `transport`, or one that it wraps as TLS does, has been told to close."""
    beneath = getattr(transport, "transport", None)
    return bool(
        getattr(transport, "disconnecting", False) or getattr(beneath, "disconnecting", False)
    )


def _nobody_cares() -> None:
    pass
