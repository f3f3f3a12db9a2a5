"""The client's side of an exchange over a twisted.web request: where a byte becomes irrevocable."""

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.web.http import NO_BODY_CODES, toChunk
from zope.interface import implementer

from autopilot.interfaces import IDownstream
from autopilot.policy.ending import End
from autopilot.policy.headers import REQUEST_ID
from autopilot.web.cors import PREFIX as CORS_PREFIX
from autopilot.web.reset import ResetWhenFlushed
from autopilot.web.server import AutopilotRequest, reason_phrase


@implementer(IDownstream)
class RequestDownstream:
    """Answers `request`. `begun` and `broken` tell the handler what it may still do."""

    def __init__(self, request: AutopilotRequest, *, clock: IReactorTime) -> None:
        self.begun = False
        self.broken = False
        self.lost_as = End.CLIENT_GONE
        request.downstream = self
        request.notifyFinish().addBoth(self._finished)
        self._request = request
        self._clock = clock
        self._open = True
        self._send: Callable[[bytes], None] | None = None
        self._exchange: Deferred[None] | None = None
        self._producer: IPushProducer | None = None
        self._reset: ResetWhenFlushed | None = None

    def carries(self, exchange: Deferred[None]) -> Deferred[None]:
        """`exchange` is what `give_up` cancels. Returns it."""
        self._exchange = exchange
        return exchange

    def give_up(self) -> None:
        """Have the exchange end before it has an answer."""
        if self._exchange is not None:
            self._exchange.cancel()

    def begin(self, status: int, fields: Sequence[tuple[bytes, bytes]], length: int | None) -> None:
        """See `IDownstream`."""
        if not self._open:
            return
        self.begun = True
        request = self._request
        request.setResponseCode(status, reason_phrase(status))
        headers = request.responseHeaders
        ours = {REQUEST_ID}
        if request.channel.site.cors.enabled:
            fields = [pair for pair in fields if not pair[0].lower().startswith(CORS_PREFIX)]
            ours.add(b"vary")
        for name in {name.lower() for name, _value in fields} - ours:
            headers.removeHeader(name)
        for name, value in fields:
            headers.addRawHeader(name, value)
        # The client library gives a 204 the length 0, which it must not have (RFC 9110 section 8.6).
        if length is not None and status not in NO_BODY_CODES:
            headers.setRawHeaders(b"content-length", [b"%d" % length])

    def write(self, data: bytes) -> None:
        """See `IDownstream`."""
        if not (data and self._open) or self.broken:
            # As a chunk, no data would be the last one.
            return
        if self._send is not None:
            self._send(b"".join(toChunk(data)))
            return
        self._request.write(data)
        if self._request.chunked:
            # Past the request and its channel, which have seen the head leave: a stream comes here a
            # hundred times more often than anywhere else.
            self._send = self._request.channel.transport.write

    def register_producer(self, producer: IPushProducer) -> None:
        """See `IDownstream`."""
        if self._open:
            self._producer = producer
            self._request.registerProducer(producer, True)

    def finish(self) -> None:
        """See `IDownstream`."""
        if self._open and not self.broken:
            self._release()
            self._request.finish()

    def break_off(self) -> None:
        """See `IDownstream`."""
        if not self._open or self.broken:
            return
        self.broken = True
        producer = self._producer
        self._release()
        if producer is not None:
            # Whoever broke it off: nothing more is to come from upstream.
            producer.stopProducing()
        request = self._request
        if not request.startedWriting:
            # The status line is still to be sent: without it the client would see no answer at all.
            request.write(b"")
        if request.clientproto == b"HTTP/1.1":
            request.loseConnection()
        else:
            limit = request.channel.site.limits.stall
            self._reset = ResetWhenFlushed(request.transport, clock=self._clock, limit=limit)
            self._reset.start()

    def _release(self) -> None:
        if self._producer is not None:
            self._producer = None
            self._request.unregisterProducer()

    def _finished(self, _result: object) -> None:
        self._open = False
        if self._reset is not None:
            self._reset.cancel()
