"""The upstream side of an attempt over treq: a request out, an answer or an `Outcome` back.

Every way in which Twisted says that there is no answer becomes an `AttemptFailed` here, and nowhere
else; see `outcome_of`.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self, cast

from hyperlink import EncodedURL
from OpenSSL.SSL import Error as TlsError
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from autopilot.connection_pool import HandshakeFailed
from autopilot.http_client import NEVER_ANSWERED, WireResponse, reasons_of
from autopilot.interfaces import IUpstream, IUpstreamBody, IUpstreamResponse
from autopilot.policy.ending import BodyEnd
from autopilot.policy.failover import JUDGED_BODY_BYTES, Outcome

DRAIN_BYTES = 64 * 1024
"""How much of an unwanted body is read to keep the connection: more than any error page."""

DRAIN_SECONDS = 1.0
"""How long that may take; a new connection costs less."""

_FINAL_STATUSES = range(200, 600)
_CONNECTION_ENDED = (error.ConnectionDone, error.ConnectionLost)


class ReadyURL(EncodedURL):
    """A URL that is in its ASCII form already: treq would have its host encoded for each request."""

    def to_uri(self) -> Self:
        """Itself. See `hyperlink.EncodedURL`."""
        return self


def _ready(url: str) -> EncodedURL:
    return ReadyURL.from_text(EncodedURL.from_text(url).to_uri().to_text())


class AttemptFailed(Exception):  # noqa: N818 - an outcome, not a fault of the program
    """There is no answer; `outcome` says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.value)
        self.outcome = outcome


@implementer(IUpstream)
class Upstream:
    """Sends requests to one base URL.

    Within the context that `only_fresh` gives, the client makes new connections.
    """

    def __init__(
        self,
        client: HTTPClient,
        base_url: str,
        *,
        clock: IReactorTime,
        only_fresh: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._client = client
        self._only_fresh = only_fresh
        self._base_url = base_url
        # By path, of which there are as many as routes.
        self._urls: dict[str, EncodedURL] = {}
        self._clock = clock
        self._drains: set[_Drain] = set()

    def post(
        self, path: str, fields: Sequence[tuple[bytes, bytes]], body: bytes, *, fresh: bool
    ) -> Deferred[IUpstreamResponse]:
        """See `IUpstream`."""
        headers = Headers()
        for name, value in fields:
            headers.addRawHeader(name, value)
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = _ready(self._base_url + path)
        producer = BytesProducer(body)
        with self._only_fresh() if fresh else nullcontext():
            requesting: Deferred[Any] = self._client.request(
                "POST",
                url,
                headers=headers,
                data=cast("bytes", producer),
                allow_redirects=False,
                unbuffered=True,
            )
        requesting.addBoth(producer.release)
        return requesting.addCallbacks(self._answered, _failed)

    def close(self) -> None:
        """Cut what is still being drained."""
        for drain in tuple(self._drains):
            drain.cut()

    def _answered(self, response: Any) -> IUpstreamResponse:
        wire: WireResponse = response.original
        answer = UpstreamResponse(wire, clock=self._clock, drains=self._drains)
        if answer.status not in _FINAL_STATUSES or any(b"\0" in v for _n, v in answer.fields):
            answer.abort()
            raise AttemptFailed(Outcome.PROTOCOL_ERROR)
        return cast("IUpstreamResponse", answer)


def _failed(failure: Failure) -> Failure:
    return Failure(AttemptFailed(outcome_of(failure)))


def outcome_of(failure: Failure) -> Outcome:
    """What a failure of `Agent.request` means.

    Raises:
        CancelledError: it was cancelled by us.
        Exception: the failure's own, if it is none that an upstream can cause.
    """
    reasons = reasons_of(failure) or (failure,)
    if any(reason.check(CancelledError, error.ConnectingCancelledError) for reason in reasons):
        raise CancelledError
    if any(reason.check(TlsError, VerificationError, HandshakeFailed) for reason in reasons):
        return Outcome.TLS_FAILED
    if failure.check(error.TimeoutError, error.TCPTimedOutError):
        return Outcome.CONNECT_TIMEOUT
    if failure.check(error.DNSLookupError):
        return Outcome.DNS_FAILED
    if failure.check(error.ConnectError):
        return Outcome.CONNECT_FAILED
    if failure.check(*NEVER_ANSWERED):
        return Outcome.CONNECTION_LOST
    if failure.check(ResponseFailed):
        cut = all(reason.check(*_CONNECTION_ENDED) for reason in reasons)
        return Outcome.CONNECTION_LOST if cut else Outcome.PROTOCOL_ERROR
    raise cast("Exception", failure.value)


@implementer(IBodyProducer)
class BytesProducer:
    """A body that is in memory already: written at once, and again if the request is sent again.

    The client library keeps the producer for as long as the answer streams; `release` lets go of the
    body when it can no longer be wanted.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def release(self, result: Any) -> Any:
        """Let go of the body; a callback that passes `result` on."""
        self._body = b""
        return result

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """See `IBodyProducer`."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """See `IBodyProducer`: there is nothing left to hold back."""

    def resumeProducing(self) -> None:
        """See `IBodyProducer`."""

    def stopProducing(self) -> None:
        """See `IBodyProducer`."""


@implementer(IUpstreamResponse)
class UpstreamResponse:
    """An answer over treq."""

    def __init__(self, wire: WireResponse, *, clock: IReactorTime, drains: set["_Drain"]) -> None:
        self._wire = wire
        self._clock = clock
        self._drains = drains
        self._protocol: _BodyProtocol | None = None
        self._paused = False
        self.status: int = wire.code
        self.fields: Sequence[tuple[bytes, bytes]] = [
            (name, value)
            for name, values in wire.wire_headers.getAllRawHeaders()
            for value in values
        ]
        self.length: int | None = None if wire.length is UNKNOWN_LENGTH else wire.length

    def deliver(self, body: IUpstreamBody) -> None:
        """See `IUpstreamResponse`."""
        self._protocol = _BodyProtocol(body)
        self._wire.deliverBody(self._protocol)
        if self._paused:
            # Asked for before or during that call, at the end of which Twisted resumes reading.
            self._protocol.pause()

    def pause(self) -> None:
        """See `IUpstreamResponse`."""
        self._paused = True
        if self._protocol is not None:
            self._protocol.pause()

    def resume(self) -> None:
        """See `IUpstreamResponse`."""
        self._paused = False
        if self._protocol is not None:
            self._protocol.resume()

    def abort(self) -> None:
        """See `IUpstreamResponse`."""
        if self._protocol is None:
            self.deliver(cast("IUpstreamBody", _Nobody()))
        if self._protocol is not None:
            self._protocol.cut()

    def discard(self, heard: Callable[[bytes], None] | None) -> None:
        """See `IUpstreamResponse`."""
        if self._protocol is not None:
            # Part of it has been read and judged already: what is left is not worth the wait.
            self._protocol.cut()
            return
        drain = _Drain(self.abort, heard, clock=self._clock, drains=self._drains)
        self.deliver(cast("IUpstreamBody", drain))


class _BodyProtocol(Protocol):
    """Hands a body to an `IUpstreamBody`, and its transport's controls to the response."""

    def __init__(self, body: IUpstreamBody) -> None:
        self._body = body
        self._live = True

    def dataReceived(self, data: bytes) -> None:
        self._body.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._live = False
        if reason.check(ResponseDone):
            self._body.ended(BodyEnd.COMPLETE)
        elif reason.check(PotentialDataLoss):
            self._body.ended(BodyEnd.UNFRAMED)
        else:
            self._body.ended(BodyEnd.BROKEN)

    def pause(self) -> None:
        if self._live and self.transport is not None:
            self.transport.pauseProducing()  # type: ignore[attr-defined]

    def resume(self) -> None:
        if self._live and self.transport is not None:
            self.transport.resumeProducing()  # type: ignore[attr-defined]

    def cut(self) -> None:
        # Not loseConnection: over TLS that waits for the peer's close_notify, perhaps for ever.
        if self._live and self.transport is not None:
            self.transport.stopProducing()  # type: ignore[attr-defined]


@implementer(IUpstreamBody)
class _Nobody:
    """Wants nothing of a body."""

    def received(self, data: bytes) -> None:
        pass

    def ended(self, end: BodyEnd) -> None:
        pass


@implementer(IUpstreamBody)
class _Drain:
    """Reads the rest of an unwanted body, as long as that is cheaper than a new connection."""

    def __init__(
        self,
        abort: Callable[[], None],
        heard: Callable[[bytes], None] | None,
        *,
        clock: IReactorTime,
        drains: set["_Drain"],
    ) -> None:
        self._abort = abort
        self._heard = heard
        self._parts: list[bytes] = []
        self._read = 0
        self._drains = drains
        self._timer: IDelayedCall | None = clock.callLater(DRAIN_SECONDS, self._expired)
        drains.add(self)

    def received(self, data: bytes) -> None:
        if self._heard is not None and self._read < JUDGED_BODY_BYTES:
            self._parts.append(data[: JUDGED_BODY_BYTES - self._read])
        self._read += len(data)
        if self._read > DRAIN_BYTES:
            self.cut()

    def ended(self, end: BodyEnd) -> None:  # noqa: ARG002 - however it ended
        self._stop()

    def cut(self) -> None:
        self._stop()
        self._abort()

    def _expired(self) -> None:
        self._timer = None
        self.cut()

    def _stop(self) -> None:
        self._drains.discard(self)
        heard, self._heard = self._heard, None
        if heard is not None and self._parts:
            heard(b"".join(self._parts))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
