"""Tries candidates in order until one answers, then carries its answer: obeys, and decides nothing.

The verdicts come from `autopilot.policy.failover`. Commit is one visible call, `IDownstream.begin`,
in `_give`; nothing after it can lead back to another candidate.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from autopilot.dataplane.journal import Journal
from autopilot.dataplane.relay import Relay
from autopilot.dataplane.sticky import Affinity
from autopilot.dataplane.upstream import AttemptFailed
from autopilot.interfaces import IDownstream, IUpstream, IUpstreamResponse, Seconds
from autopilot.metrics import Phase
from autopilot.policy.chatbody import ChatBody
from autopilot.policy.deadlines import Deadlines
from autopilot.policy.ending import End
from autopilot.policy.errors import Refusal
from autopilot.policy.failover import (
    JUDGED_BODY_BYTES,
    JUDGED_BODY_SECONDS,
    ORIGIN_OUTCOMES,
    RULES,
    Outcome,
    Verdict,
    decide,
    judge_body,
    judge_status,
)
from autopilot.policy.gate import FirstBytes, Gate, gate_for
from autopilot.policy.headers import Fields, downstream_fields
from autopilot.policy.rest import CAUSES, Cause, RestTable, cause_in

_UPSTREAMS_FAULT = {End.UPSTREAM_BROKEN, End.UPSTREAM_STALLED, End.UPSTREAM_TRUNCATED}
# Not a 404, which waiting will not mend, nor a 500, which may be the request's own.
_WORTH_WAITING = CAUSES.keys() - {Outcome.MODEL_NOT_FOUND, Outcome.INTERNAL_ERROR}
_TOO_LATE = {Outcome.HEADER_TIMEOUT, Outcome.FIRST_BYTE_TIMEOUT}
_CLOCKS_APART = 0.005
"""Seconds by which a timer may seem to fire early: another clock runs it than the one that measures."""

_SUSPECT_CONNECTION = {*ORIGIN_OUTCOMES, Outcome.CONNECTION_LOST}


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A request ready to be sent: `body` is let go as soon as an answer is committed.

    `fields` are the header fields as they go upstream. `routed`: the body must name the candidate
    instead of what was asked for, and the client is told which model answered. `model_of` gives the
    model behind a candidate's name, which the client may have spelled in its own way.
    """

    path: str
    fields: Fields
    body: ChatBody | None
    candidates: tuple[str, ...]
    routed: bool
    affinity: Affinity | None = None
    model_of: Callable[[str], str] = str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """What one attempt came to; with `relay` where there is an answer, wanted or not."""

    outcome: Outcome
    relay: Relay | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """One candidate's turn.

    `remaining`: there is another; `left`: seconds of the whole request; `fresh`: the connection before
    failed, and another of the pool may have the same fault.
    """

    name: str
    remaining: bool
    left: float
    fresh: bool

    def within(self, seconds: float) -> float:
        """`seconds`, or what is left."""
        return max(min(seconds, self.left), 0.0)


class Engine:
    """Carries exchanges over one `IUpstream`.

    `clock` runs the timers; `monotonic` measures, where the clock is one that may be set.
    """

    def __init__(
        self,
        upstream: IUpstream,
        *,
        clock: IReactorTime,
        deadlines: Deadlines,
        rests: RestTable,
        monotonic: Seconds | None = None,
    ) -> None:
        self._now = clock.seconds if monotonic is None else monotonic
        self._upstream = upstream
        self._rests = rests
        self._clock = clock
        self._deadlines = deadlines

    async def carry(self, exchange: Exchange, downstream: IDownstream, journal: Journal) -> None:
        """Answer the client with what the candidates say.

        Cancelling means that the client is gone, or what `IDownstream.lost_as` says instead.

        Raises:
            Refusal: no candidate gave an answer that could be passed on; `begin` was not called.
            CancelledError: it was cancelled before `begin`.
        """
        started = self._now()
        total = self._deadlines.total
        deadline = math.inf if total is None else started + total
        previous: Outcome | None = None
        for position, name in enumerate(exchange.candidates):
            began = self._now()
            turn = _Turn(
                name=name,
                remaining=position + 1 < len(exchange.candidates),
                left=deadline - began,
                fresh=previous in _SUSPECT_CONNECTION,
            )
            probing = self._rests.asked(exchange.model_of(name), now=began)
            try:
                attempt = await self._attempt(exchange, turn, downstream, journal)
            except CancelledError:
                if probing:
                    self._rests.returned(exchange.model_of(name))
                left = downstream.lost_as is not End.SHUTDOWN
                outcome = Outcome.CLIENT_GONE if left else Outcome.SHUTDOWN
                journal.attempted(name, outcome, self._now() - began)
                raise
            outcome, relay = attempt.outcome, attempt.relay
            now = self._now()
            if outcome in _TOO_LATE and now >= deadline - _CLOCKS_APART:
                # It was our patience that ended, not the model's time.
                rest = None
            else:
                rest = self._learn(exchange, name, outcome, now, probing=probing)
            journal.attempted(name, outcome, now - began, rest=rest)
            remaining = turn.remaining and now < deadline - _CLOCKS_APART
            verdict = decide(outcome, remaining=remaining, previous=previous)
            if relay is not None and verdict in {Verdict.COMMIT, Verdict.PASS_THROUGH}:
                exchange.body = None
                try:
                    with self._bounded(relay, deadline - now):
                        end = await self._give(outcome, name, relay, exchange, downstream, journal)
                except BaseException:
                    relay.abort()
                    raise
                if end in _UPSTREAMS_FAULT or relay.told_error:
                    self._disappointed(exchange, name, deadline)
                return
            if relay is not None:
                relay.response.discard(self._listener(exchange.model_of(name), outcome))
            if verdict is not Verdict.NEXT:
                raise self._refusal(exchange, outcome)
            journal.failed_over(outcome)
            previous = outcome

    def _learn(
        self, exchange: Exchange, name: str, outcome: Outcome, now: float, *, probing: bool
    ) -> float | None:
        """Keep what `outcome` says of the model; the seconds that it rests now, if it does."""
        model = exchange.model_of(name)
        if exchange.affinity is not None:
            if outcome is Outcome.SUCCESS:
                exchange.affinity.served(name)
            elif RULES[outcome].blames_model:
                exchange.affinity.failed(name)
        cause = CAUSES.get(outcome)
        if cause is not None:
            return self._rests.failed(model, cause, now=now)
        if outcome is Outcome.SUCCESS:
            self._rests.succeeded(model)
        elif probing:
            self._rests.returned(model)
        return None

    def _listener(self, model: str, outcome: Outcome) -> Callable[[bytes], None] | None:
        """What learns from the unwanted body of a 503 how long the model should rest."""

        def heard(body: bytes) -> None:
            cause = cause_in(body)
            if cause is not None:
                self._rests.failed(model, cause, now=self._now())

        return heard if outcome is Outcome.UNAVAILABLE else None

    def _retry_after(self, exchange: Exchange, outcome: Outcome) -> int | None:
        """The soonest recovery in seconds, if waiting for one is what the client should do."""
        now = self._now()
        models = [exchange.model_of(name) for name in exchange.candidates]
        if outcome is Outcome.CAPACITY or (
            outcome in _WORTH_WAITING
            and all(self._rests.resting(model, now=now) for model in models)
        ):
            return self._rests.retry_after(models, now=now)
        return None

    def _refusal(self, exchange: Exchange, outcome: Outcome) -> Refusal:
        refusal = RULES[outcome].refusal
        if refusal is None:
            raise RuntimeError(f"{outcome.name} has neither an answer nor a refusal")
        code, message = refusal
        return Refusal(code, message, retry_after=self._retry_after(exchange, outcome))

    @contextmanager
    def _bounded(self, relay: Relay, seconds: float) -> Iterator[None]:
        """Within it, `relay` is stopped after `seconds`, which may be infinite."""
        if math.isinf(seconds):
            yield
            return
        timer = self._clock.callLater(max(seconds, 0.0), relay.stop, End.UPSTREAM_STALLED)
        try:
            yield
        finally:
            if timer.active():
                timer.cancel()

    async def _attempt(
        self, exchange: Exchange, turn: _Turn, downstream: IDownstream, journal: Journal
    ) -> _Attempt:
        try:
            response = await self._headers(exchange, turn)
        except AttemptFailed as failed:
            return _Attempt(outcome=failed.outcome)
        except CancelledError:
            note_left(downstream, journal, Phase.HEADERS)
            raise
        try:
            return await self._judge(response, turn)
        except CancelledError:
            note_left(downstream, journal, Phase.FIRST_BYTE)
            response.abort()
            raise
        except BaseException:
            response.abort()
            raise

    def _headers(self, exchange: Exchange, turn: _Turn) -> Deferred[IUpstreamResponse]:
        body = exchange.body
        if body is None:
            raise RuntimeError("an exchange was carried on after it had been committed")
        seconds = self._deadlines.until_headers(
            stream=body.stream, body_bytes=len(body.raw), last=not turn.remaining
        )
        sent = body.with_model(turn.name) if exchange.routed else body.raw
        answering = self._upstream.post(exchange.path, exchange.fields, sent, fresh=turn.fresh)

        def late(_result: object, _seconds: float) -> Failure:
            return Failure(AttemptFailed(Outcome.HEADER_TIMEOUT))

        return answering.addTimeout(turn.within(seconds), self._clock, onTimeoutCancel=late)

    async def _judge(self, response: IUpstreamResponse, turn: _Turn) -> _Attempt:
        outcome = judge_status(response.status)
        relay = Relay(response, clock=self._clock, idle=self._deadlines.idle)
        if outcome is None:
            await self._held(relay, FirstBytes(JUDGED_BODY_BYTES), turn.within(JUDGED_BODY_SECONDS))
            outcome = judge_body(response.status, relay.held[:JUDGED_BODY_BYTES])
        elif outcome is Outcome.SUCCESS:
            gate = gate_for(response.fields, remaining=turn.remaining)
            await self._held(relay, gate, turn.within(self._deadlines.first_body_byte))
            outcome = gate.outcome(relay.held, relay.framing)
        return _Attempt(outcome=outcome, relay=relay)

    def _held(self, relay: Relay, gate: Gate, seconds: float) -> Deferred[None]:
        def late(_result: object, _seconds: float) -> None:
            return

        return relay.hold(gate).addTimeout(seconds, self._clock, onTimeoutCancel=late)

    async def _give(  # noqa: PLR0917 - one call, and each argument is another thing
        self,
        outcome: Outcome,
        name: str,
        relay: Relay,
        exchange: Exchange,
        downstream: IDownstream,
        journal: Journal,
    ) -> End:
        success = outcome is Outcome.SUCCESS
        response = relay.response
        fields = downstream_fields(
            response.fields,
            selected=name if exchange.routed else None,
            stops_retries=RULES[outcome].stops_retries,
            retry_after=self._retry_after(exchange, outcome),
        )
        journal.began(name, response.status, success=success)
        downstream.begin(response.status, fields, response.length)
        end = End.INTERNAL_ERROR
        try:
            end = await relay.flow_to(downstream)
        except CancelledError:
            end = downstream.lost_as
            note_left(downstream, journal, Phase.STREAM)
        finally:
            journal.ended(end, relay.bytes_sent)
        return end

    def _disappointed(self, exchange: Exchange, name: str, deadline: float) -> None:
        """What looked like an answer was none in the end: others had better be asked first."""
        now = self._now()
        if now >= deadline - _CLOCKS_APART:
            # The whole request took too long, which may be the client's own doing.
            return
        self._rests.failed(exchange.model_of(name), Cause.BRIEF, now=now)
        if exchange.affinity is not None:
            exchange.affinity.failed(name)


def note_left(downstream: IDownstream, journal: Journal, phase: Phase) -> None:
    """The exchange was cancelled while the client waited for `phase`: count it, if it was the client."""
    if downstream.lost_as is not End.SHUTDOWN:
        journal.client_left(phase)
