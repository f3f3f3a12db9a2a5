"""The `Site` and its requests: bodies bounded while they are read, nothing on disk, one way to answer."""

from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from autopilot.interfaces import Seconds
from autopilot.policy.ending import End
from autopilot.policy.errors import Code, ErrorBody, Refusal
from autopilot.policy.headers import REQUEST_ID, RETRY_AFTER, request_id
from autopilot.web.channel import AutopilotChannel
from autopilot.web.connections import Connections
from autopilot.web.cors import Cors
from autopilot.web.limits import ClientLimits
from autopilot.web.paths import ROUTED_PATHS, path_of, routable

RefusalRecorder = Callable[[bytes, ErrorBody], None]
"""Told the request id and the refusal of a request that is refused while it arrives."""

SERVER_NAME = b"chutes-autopilot"

NOTHING_HERE = "There is nothing at this path."


def reason_phrase(status: int) -> bytes:
    """The registered phrase of `status`; Twisted's own table lacks 429 and others (RFC 6585)."""
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b"Unknown"


class Breakable(Protocol):
    """An answer under way that the server may have to cut."""

    lost_as: End
    begun: bool

    def break_off(self) -> None:
        """End it visibly."""

    def give_up(self) -> None:
        """End it before it has begun."""


class AutopilotRequest(Request):
    """A request whose body is kept in memory, up to the site's limit."""

    # Twisted would call an answer without a Content-Type HTML.
    defaultContentType = None
    # Twisted leaves these to be found out, or names an interface narrower than what it puts there.
    channel: Any
    content: Any
    transport: Any
    refused = False
    received_at: float | None = None
    downstream: "Breakable | None" = None
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
        if length is not None and length > self.channel.site.limits.body_bytes:
            self._too_large()

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body. Called by the channel."""
        if self.refused:
            return
        self._received += len(data)
        if self._received > self.channel.site.limits.body_bytes:
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
        if self.clientproto != b"HTTP/1.1":
            self.setHeader(b"connection", b"close")
        self.channel.site.cors.allow(self)
        _ = self.request_id

    def prepare(
        self, status: int, body: bytes, *, content_type: bytes = b"application/json"
    ) -> bytes:
        """Set status and fields for `body`, and return it to be written."""
        self.setResponseCode(status, reason_phrase(status))
        self.setHeader(b"content-type", content_type)
        self.setHeader(b"content-length", b"%d" % len(body))
        return body

    def answer(self, error: ErrorBody) -> None:
        """Send a whole refusal, unless the client is gone."""
        if not (self.finished or self._disconnected):
            if error.retry_after is not None:
                self.setHeader(RETRY_AFTER, b"%d" % error.retry_after)
            self.write(self.prepare(error.status, error.render()))
            self.finish()

    def refuse(self, error: ErrorBody, target: bytes) -> None:
        """Answer before the request is complete. Called by the channel, which closes afterwards."""
        self.refused = True
        self.setHeader(b"connection", b"close")
        self.begin_answer()
        if error.code == Code.MISSING_AUTHORIZATION.text:
            self.setHeader(b"www-authenticate", b"Bearer")
        if unquote_to_bytes(path_of(target)) in ROUTED_PATHS:
            self.channel.site.refused(self.request_id, error)
        self.answer(error)

    def getRequestHostname(self) -> bytes:
        """A constant: no route depends on the host, and none may lead to what a client wrote there."""
        return b"autopilot"

    def process(self) -> None:
        """Route the request. Called when it is complete."""
        self.received_at = self.channel.site.monotonic()
        if self.path == b"*":
            # Twisted would answer for the server itself (RFC 9110 section 9.3.7): to us it is a path.
            self.path = b"/*"
        else:
            self.path = path_of(self.path)
        super().process()

    def _too_large(self) -> None:
        limit = self.channel.site.limits.body_bytes
        message = f"The request body is larger than the {limit} bytes that are accepted."
        self.channel.refuse(Refusal(Code.REQUEST_TOO_LARGE, message).body)


class Refused(Resource):
    """Answers every request with one refusal."""

    isLeaf = True

    def __init__(self, refusal: Refusal) -> None:
        super().__init__()
        self._error = refusal.body

    def render(self, request: AutopilotRequest) -> bytes:
        """See `IResource`."""
        return request.prepare(self._error.status, self._error.render())


class AutopilotSite(Site):
    """Serves `resource` within `limits`; `refused` is told of requests that never become complete.

    `monotonic` dates requests, by the clock that measures them.
    """

    noisy = False
    protocol: Any = AutopilotChannel
    requestFactory = AutopilotRequest

    def __init__(
        self,
        resource: IResource,
        *,
        limits: ClientLimits,
        connections: Connections,
        cors: Cors,
        refused: RefusalRecorder,
        reactor: Any,
        monotonic: Seconds,
    ) -> None:
        # No timeout of Twisted's: its only one is reset by every byte, and off during an answer.
        super().__init__(resource, timeout=None, reactor=reactor, parsePOSTFormSubmission=False)
        self.limits = limits
        self.connections = connections
        self.cors = cors
        self.refused = refused
        self.monotonic = monotonic

    def getResourceFor(self, request: AutopilotRequest) -> IResource:
        """The resource that answers `request`; Twisted has just set its own `Server` field."""
        request.begin_answer()
        preflight = self.cors.preflight(request)
        if preflight is not None:
            return preflight
        if not routable(request.path):
            return Refused(Refusal(Code.NOT_FOUND, NOTHING_HERE))
        resource: IResource = super().getResourceFor(request)
        return resource

    def log(self, request: Any) -> None:
        """Twisted's access log names the client's address; the router has its own log."""
