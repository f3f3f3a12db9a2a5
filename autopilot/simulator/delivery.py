"""Delivery: plays one script to one client, at the client's speed, until either side ends it."""

from collections.abc import Callable
from functools import partial
from typing import cast

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from autopilot.simulator.journal import Outcome
from autopilot.simulator.script import End, Script
from autopilot.simulator.wire import phrase


@implementer(IPushProducer)
class Delivery:
    """The performance of a script; `ended` is called exactly once, whoever ends it.

    Twisted's request raises when it is finished or unregistered after the client has left, so every
    touch of it comes before `_over` is set, and the notification alone sets that.
    """

    def __init__(
        self,
        *,
        request: Request,
        script: Script,
        clock: IReactorTime,
        ended: Callable[[Outcome], None],
    ) -> None:
        self._request = request
        self._script = script
        self._pieces = iter(script.pieces)
        self._clock = clock
        self._ended = ended
        self._timer: IDelayedCall | None = None
        self._due: Callable[[], None] | None = None
        self._paused = False
        self._ending = False
        self._over = False
        self._outcome = Outcome.CLIENT_GONE

    def start(self) -> None:
        """Begin; nothing is on the wire before the first piece is due."""
        self._request.notifyFinish().addBoth(self._finished)
        self._request.setResponseCode(self._script.status, phrase(self._script.status))
        for name, value in self._script.headers:
            self._request.responseHeaders.addRawHeader(name, value)
        self._request.registerProducer(self, True)
        self._run()

    def pauseProducing(self) -> None:
        """The client's transport is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The client's transport has drained."""
        self._paused = False
        if self._timer is None:
            self._run()

    def stopProducing(self) -> None:
        """The connection is lost; the notification follows."""
        self._cancel()

    def _run(self) -> None:
        # A loop, not a chain of calls: an answer without delays may have any number of pieces.
        while not self._over and not self._paused:
            if self._due is None:
                delay = self._prepare()
                if delay > 0:
                    self._timer = self._clock.callLater(delay, self._timed)
                    return
            step, self._due = self._due, None
            if step is None:
                return
            step()

    def _timed(self) -> None:
        self._timer = None
        self._run()

    def _prepare(self) -> float:
        if self._ending:
            return 0.0
        piece = next(self._pieces, None)
        if piece is not None:
            self._due = partial(self._request.write, piece.data)
            return piece.after
        if self._script.end is End.STALL:
            return 0.0
        self._due = self._end
        return self._script.end_after

    def _end(self) -> None:
        self._ending = True
        self._outcome = self._script.outcome
        self._request.unregisterProducer()
        match self._script.end:
            case End.CLEAN:
                self._request.finish()
            case End.FIN:
                self._request.loseConnection()
            case _:
                cast("ITCPTransport", self._request.transport).abortConnection()

    def _finished(self, result: Failure | None) -> None:
        # The reason is of no interest: either this object ended it, or the client left.
        del result
        self._over = True
        self._cancel()
        self._ended(self._outcome)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
