"""Carries one body from upstream to the client: held until the engine commits, untouched after that.

Rule 1: bytes leave in the order in which they came, each once, as they are.
Rule 2: what is held is bounded by who holds it: until the first byte, or until a refusal is judged.
Rule 3: a body that upstream did not complete never ends cleanly downstream.
Rule 4: the client's pace is upstream's pace; nothing piles up in between.
"""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from autopilot.interfaces import IDownstream, IUpstreamBody, IUpstreamResponse
from autopilot.metrics import End


@implementer(IUpstreamBody, IPushProducer)
class Relay:
    """The body of `response`, first held, then flowing."""

    def __init__(self, response: IUpstreamResponse) -> None:
        self.response = response
        self.bytes_sent = 0
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._complete: bool | None = None
        self._wanted = 0
        self._waiting: Deferred[None] | None = None
        self._downstream: IDownstream | None = None
        self._end: Deferred[End] = Deferred(lambda _end: self.abort())
        self._delivering = False
        self._abandoned = False

    @property
    def held(self) -> bytes:
        """What has arrived and not been sent."""
        return b"".join(self._held)

    @property
    def held_bytes(self) -> int:
        """How much that is."""
        return self._held_bytes

    @property
    def complete(self) -> bool | None:
        """Whether the body ended as its framing promised; None while it has not ended."""
        return self._complete

    def hold(self, until: int) -> Deferred[None]:
        """Fires when `until` bytes are held or the body is over. Cancelling it leaves both as is."""
        waiting: Deferred[None] = Deferred()
        self._wanted = until
        self._waiting = waiting
        self._start()
        self._wake()
        return waiting

    def flow_to(self, downstream: IDownstream) -> Deferred[End]:
        """Send what is held, then the rest as it comes; fires with how it ended.

        To be called after `IDownstream.begin`. Cancelling it means that the client is gone: the
        upstream connection is closed.
        """
        self._downstream = downstream
        # Registered before the body is asked for: Twisted resumes reading once more after replaying
        # what had arrived with the header fields, and a pause before that would be lost.
        downstream.register_producer(self)
        held, self._held = self._held, []
        self._held_bytes = 0
        for data in held:
            self._send(data)
        if self._complete is None:
            self._start()
        elif not self._end.called:
            self._finish(complete=self._complete)
        return self._end

    def received(self, data: bytes) -> None:
        """See `IUpstreamBody`."""
        if self._downstream is not None:
            self._send(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        self._wake()

    def ended(self, *, complete: bool) -> None:
        """See `IUpstreamBody`."""
        self._complete = complete
        if self._downstream is None:
            self._wake()
        elif not (self._end.called or self._abandoned):
            self._finish(complete=complete)

    def pauseProducing(self) -> None:
        """See `IPushProducer`."""
        self.response.pause()

    def resumeProducing(self) -> None:
        """See `IPushProducer`."""
        self.response.resume()

    def stopProducing(self) -> None:
        """See `IPushProducer`: the client is gone, and whoever carries this will be cancelled.

        Not by us: Twisted says it here before it says it to the request, which would be finished as
        if the answer were whole if the exchange ended in between.
        """
        self._abandoned = True
        self.abort()

    def abort(self) -> None:
        """Nobody wants the rest: close the upstream connection."""
        self.response.abort()

    def _start(self) -> None:
        if not self._delivering:
            self._delivering = True
            self.response.deliver(self)

    def _wake(self) -> None:
        waiting = self._waiting
        if waiting is None or waiting.called:
            return
        if self._held_bytes >= self._wanted or self._complete is not None:
            self._waiting = None
            waiting.callback(None)

    def _send(self, data: bytes) -> None:
        if self._downstream is not None:
            self.bytes_sent += len(data)
            self._downstream.write(data)

    def _finish(self, *, complete: bool) -> None:
        if self._downstream is None:
            return
        if complete:
            self._downstream.finish()
        else:
            self._downstream.break_off()
        self._end.callback(End.COMPLETE if complete else End.UPSTREAM_BROKEN)
