"""Carries one body from upstream to the client: held until the engine commits, untouched after that.

Rule 1: bytes leave in the order in which they came, each once, as they are.
Rule 2: what is held is bounded by the gate that watches it.
Rule 3: a body that was not whole never ends cleanly downstream; an event stream says so in its own
        words, where there is room for them.
Rule 4: the client's pace is upstream's pace; nothing piles up in between.
"""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from autopilot.interfaces import IDownstream, IUpstreamBody, IUpstreamResponse
from autopilot.policy.ending import BodyEnd, End, StreamWatch, Watch, error_event, watch_for
from autopilot.policy.gate import Gate


@implementer(IUpstreamBody, IPushProducer)
class Relay:
    """The body of `response`, first held, then flowing.

    While it flows, `idle` seconds without a byte from upstream end it; the time in which the client
    does not read is not upstream's.
    """

    def __init__(self, response: IUpstreamResponse, *, clock: IReactorTime, idle: float) -> None:
        self.response = response
        self.bytes_sent = 0
        self._clock = clock
        self._idle = idle
        self._held: list[bytes] = []
        self._framing: BodyEnd | None = None
        self._gate: Gate | None = None
        self._opening: Deferred[None] | None = None
        self._watch: Watch = watch_for(response.status, response.fields, response.length)
        self._downstream: IDownstream | None = None
        self._timer: IDelayedCall | None = None
        self._heard_at = 0.0
        self._end: Deferred[End] = Deferred(self._cancelled)
        self._delivering = False
        self._over = False
        self._waited = False

    @property
    def held(self) -> bytes:
        """What has arrived and not been sent."""
        return b"".join(self._held)

    @property
    def framing(self) -> BodyEnd | None:
        """How the body ended; None while it has not."""
        return self._framing

    @property
    def told_error(self) -> bool:
        """Whether the upstream told the client itself, in the stream, that the answer failed."""
        return self._watch.told_error

    @property
    def at_upstreams_pace(self) -> bool:
        """Whether this is a stream that the client took as fast as it came."""
        return not self._waited and isinstance(self._watch, StreamWatch)

    def hold(self, gate: Gate) -> Deferred[None]:
        """Fires when `gate` opens or the body is over. Cancelling it leaves both as they are."""
        self._gate = gate
        opening: Deferred[None] = Deferred()
        self._opening = opening
        self._start()
        return opening

    def flow_to(self, downstream: IDownstream) -> Deferred[End]:
        """Send what is held, then the rest as it comes; fires with how it ended.

        To be called after `IDownstream.begin`. Cancelling it means that the client is gone: the
        upstream connection is closed.
        """
        self._downstream = downstream
        # Registered before the body is asked for, so that a client that is slow already is heeded.
        downstream.register_producer(self)
        held, self._held = self._held, []
        self._listen()
        for data in held:
            self._send(downstream, data)
        if self._framing is not None:
            self._finish()
        else:
            self._start()
        return self._end

    def stop(self, end: End) -> None:
        """End the answer now, as `end` says, and close the upstream connection."""
        if not self._over:
            self.response.abort()
            self._finish(end)

    def received(self, data: bytes) -> None:
        """See `IUpstreamBody`."""
        if self._over:
            return
        try:
            self._take(data)
        except Exception:  # noqa: BLE001 - whatever it is
            self._fail()

    def ended(self, end: BodyEnd) -> None:
        """See `IUpstreamBody`."""
        self._framing = end
        if self._downstream is None:
            self._open()
        elif not self._over:
            self._finish()

    def pauseProducing(self) -> None:
        """See `IPushProducer`."""
        self._waited = True
        self._cancel_timer()
        self.response.pause()

    def resumeProducing(self) -> None:
        """See `IPushProducer`."""
        if not self._over and self._timer is None:
            self._listen()
        self.response.resume()

    def stopProducing(self) -> None:
        """See `IPushProducer`: the client is gone, and whoever carries this will be cancelled.

        Not by us: Twisted says it here before it says it to the request, which would be finished as
        if the answer were whole if the exchange ended in between.
        """
        self.abort()

    def abort(self) -> None:
        """Nobody wants the rest: close the upstream connection."""
        self._over = True
        self._cancel_timer()
        self.response.abort()

    def _take(self, data: bytes) -> None:
        if self._downstream is not None:
            self._heard_at = self._clock.seconds()
            self._send(self._downstream, data)
            return
        self._held.append(data)
        if self._gate is not None and self._gate.feed(data):
            self._open()

    def _fail(self) -> None:
        """Give the exception that is being handled to whoever waits for this body.

        Those who call would take it for upstream's fault, or only log it, and nobody would end the
        exchange.
        """
        self.abort()
        waiting: Deferred[End] | Deferred[None] | None = self._end
        if self._downstream is None:
            waiting, self._opening = self._opening, None
        if waiting is not None and not waiting.called:
            waiting.errback()

    def _start(self) -> None:
        if not self._delivering:
            self._delivering = True
            self.response.deliver(self)

    def _open(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None and not opening.called:
            opening.callback(None)

    def _send(self, downstream: IDownstream, data: bytes) -> None:
        self.bytes_sent += len(data)
        self._watch.feed(data)
        downstream.write(data)

    def _listen(self) -> None:
        """Begin to count the silence. A timer that each chunk had to move would cost each chunk."""
        self._heard_at = self._clock.seconds()
        self._timer = self._clock.callLater(self._idle, self._look)

    def _look(self) -> None:
        self._timer = None
        left = self._heard_at + self._idle - self._clock.seconds()
        if left > 0:
            # Never longer than `idle`: the clock may have been set back.
            self._timer = self._clock.callLater(min(left, self._idle), self._look)
        else:
            self.stop(End.UPSTREAM_STALLED)

    def _cancelled(self, _end: Deferred[End]) -> None:
        self.abort()

    def _finish(self, end: End | None = None) -> None:
        """End the answer as `end` says, or as the watch does of a body that is over."""
        self._over = True
        self._cancel_timer()
        if self._downstream is None:
            return
        try:
            ended = self._close(self._downstream, end)
        except Exception:  # noqa: BLE001 - as above
            self._fail()
        else:
            self._end.callback(ended)

    def _close(self, downstream: IDownstream, end: End | None) -> End:
        if end is None:
            end = self._watch.end(self._framing or BodyEnd.BROKEN)
        if end is End.COMPLETE:
            downstream.finish()
        else:
            if self._watch.takes_event:
                downstream.write(error_event(end))
            downstream.break_off()
        return end

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
