"""The `Site` family: bodies bounded while they are read, refusals in JSON, nothing on disk.

Twisted's own channel takes a body of any length and answers what it cannot parse with a bare status
line; here both are refused in OpenAI's error shape, and the connection is closed with the client
given time to read why.
"""

from http import HTTPStatus
from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IDelayedCall, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from autopilot.policy.errors import Code, ErrorBody, Refusal
from autopilot.policy.headers import REQUEST_ID, request_id
from autopilot.web.cors import Cors

LINGER_SECONDS = 2.0
"""How long a refused client may go on sending, so that it reads the refusal and not a reset."""

IDLE_SECONDS = 75
"""How long a connection may be silent between requests."""

SERVER_NAME = b"chutes-autopilot"


def reason_phrase(status: int) -> bytes:
    """The registered phrase of `status`; Twisted's own table lacks 429 and others (RFC 6585)."""
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b"Unknown"


class AutopilotRequest(Request):
    """A request whose body is kept in memory, up to the site's limit."""

    # Twisted would call an answer without a Content-Type HTML.
    defaultContentType = None
    # Twisted leaves these to be found out, or names an interface narrower than what it puts there.
    channel: Any
    content: Any
    transport: Any
    refused = False
    _received = 0

    @property
    def request_id(self) -> bytes:
        """The id under which this request goes upstream and into the log."""
        values = self.responseHeaders.getRawHeaders(REQUEST_ID)
        if not values:
            offered = self.requestHeaders.getRawHeaders(REQUEST_ID, [])
            values = [request_id(offered)]
            self.responseHeaders.setRawHeaders(REQUEST_ID, values)
        return bytes(values[0])

    def gotLength(self, length: int | None) -> None:
        """The header fields are in; `length` is what the client declares. Called by the channel."""
        self.content = BytesIO()
        if length is not None and length > self.channel.site.max_body_bytes:
            self._too_large()

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body. Called by the channel."""
        if self.refused:
            return
        self._received += len(data)
        if self._received > self.channel.site.max_body_bytes:
            self._too_large()
        else:
            self.content.write(data)

    def take_body(self) -> bytes:
        """The body, which the request keeps no longer: it must not live as long as the answer."""
        content, self.content = self.content, BytesIO()
        body: bytes = content.getvalue()
        content.close()
        return body

    def begin_answer(self) -> None:
        """Set the fields that every answer has."""
        self.setHeader(b"server", SERVER_NAME)
        self.channel.site.cors.allow(self)
        _ = self.request_id

    def answer(
        self, status: int, body: bytes, *, content_type: bytes = b"application/json"
    ) -> None:
        """Send a whole answer of our own, unless the client is gone."""
        if self.finished or self._disconnected:
            return
        self.setResponseCode(status, reason_phrase(status))
        self.setHeader(b"content-type", content_type)
        self.setHeader(b"content-length", b"%d" % len(body))
        self.write(body)
        self.finish()

    def _too_large(self) -> None:
        limit = self.channel.site.max_body_bytes
        message = f"The request body is larger than the {limit} bytes that are accepted."
        self.channel.refuse(self, Refusal(Code.REQUEST_TOO_LARGE, message).body)


class AutopilotChannel(http.HTTPChannel):
    """A channel that can refuse a request at any point of its arrival."""

    transport: Any
    _networkProducer: Any
    _refused = False
    _lingering: IDelayedCall | None = None

    def refuse(self, request: AutopilotRequest, error: ErrorBody) -> None:
        """Answer `request` with `error` now, take no more of it, and close."""
        self._refused = True
        request.refused = True
        self.persistent = False
        request.method = getattr(self, "_command", b"GET")
        request.clientproto = getattr(self, "_version", b"HTTP/1.1")
        request.setHeader(b"connection", b"close")
        request.begin_answer()
        request.answer(error.status, error.render())

    def dataReceived(self, data: bytes) -> None:
        """See `IProtocol`. What follows a refusal is read and forgotten."""
        if not self._refused:
            super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        """See `LineReceiver`."""
        if not self._refused:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """See `LineReceiver`."""
        if not self._refused:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """See `HTTPChannel`."""
        if not self._refused:
            super().allContentReceived()

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

    def _linger_expired(self) -> None:
        self.transport.abortConnection()

    def _send100Continue(self) -> None:
        if not self._refused:
            super()._send100Continue()

    def _respondToBadRequestAndDisconnect(self) -> None:
        if self.requests and not self._refused:
            error = Refusal(Code.BAD_REQUEST, "The request is not valid HTTP/1.1.").body
            self.refuse(self.requests[-1], error)
        elif not self._refused:
            self.loseConnection()


class AutopilotSite(Site):
    """Serves `resource` with bodies of at most `max_body_bytes`."""

    noisy = False
    protocol: Any = AutopilotChannel
    requestFactory = AutopilotRequest

    def __init__(
        self, resource: IResource, *, max_body_bytes: int, cors: Cors, reactor: Any
    ) -> None:
        super().__init__(
            resource, timeout=IDLE_SECONDS, reactor=reactor, parsePOSTFormSubmission=False
        )
        self.max_body_bytes = max_body_bytes
        self.cors = cors

    def getResourceFor(self, request: AutopilotRequest) -> IResource:
        """The resource that answers `request`; Twisted has just set its own `Server` field."""
        request.begin_answer()
        return self.cors.preflight(request) or super().getResourceFor(request)

    def log(self, request: Any) -> None:
        """Twisted's access log names the client's address; the router has its own log."""
