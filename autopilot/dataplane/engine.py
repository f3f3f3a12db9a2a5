"""Tries candidates in order until one answers, then carries its answer: obeys, and decides nothing.

The verdicts come from `autopilot.policy.failover`. Commit is one visible call, `IDownstream.begin`,
in `_give`; nothing after it can lead back to another candidate.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from autopilot.dataplane.exchange import Attempt, Exchange, Turn
from autopilot.dataplane.journal import Journal
from autopilot.dataplane.learning import Learned
from autopilot.dataplane.relay import Relay
from autopilot.dataplane.upstream import AttemptFailed
from autopilot.interfaces import IDownstream, IUpstream, IUpstreamResponse, Seconds
from autopilot.labels import Phase
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
from autopilot.policy.headers import downstream_fields
from autopilot.policy.rest import CAUSES

_UPSTREAMS_FAULT = {End.UPSTREAM_BROKEN, End.UPSTREAM_STALLED, End.UPSTREAM_TRUNCATED}
# Not a 404, which waiting will not mend, nor a 500, which may be the request's own.
_WORTH_WAITING = CAUSES.keys() - {Outcome.MODEL_NOT_FOUND, Outcome.INTERNAL_ERROR}
_TOO_LATE = {Outcome.HEADER_TIMEOUT, Outcome.FIRST_BYTE_TIMEOUT}
_CLOCKS_APART = 0.005
"""Seconds by which a timer may seem to fire early: another clock runs it than the one that measures."""

_SUSPECT_CONNECTION = {*ORIGIN_OUTCOMES, Outcome.CONNECTION_LOST}


class Engine:
    """Carries exchanges over one `IUpstream`, and tells `learned` what came of each attempt.

    `clock` runs the timers; `monotonic` measures, where the clock is one that may be set.
    """

    def __init__(
        self,
        upstream: IUpstream,
        *,
        clock: IReactorTime,
        deadlines: Deadlines,
        learned: Learned,
        monotonic: Seconds | None = None,
    ) -> None:
        self._now = clock.seconds if monotonic is None else monotonic
        self._upstream = upstream
        self._learned = learned
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
            model = exchange.model_of(name)
            turn = Turn(
                name=name,
                model=model,
                remaining=position + 1 < len(exchange.candidates),
                deadline=deadline,
                left=deadline - self._now(),
                fresh=previous in _SUSPECT_CONNECTION,
            )
            under_way = self._learned.in_flight
            epoch = under_way.began(model)
            try:
                outcome = await self._take(exchange, turn, previous, downstream, journal)
            finally:
                under_way.ended(model, epoch)
            if outcome is None:
                return
            journal.failed_over(outcome)
            previous = outcome

    async def _take(
        self,
        exchange: Exchange,
        turn: Turn,
        previous: Outcome | None,
        downstream: IDownstream,
        journal: Journal,
    ) -> Outcome | None:
        """Take one candidate's turn: None if the client has its answer, else why another is next.

        Raises:
            Refusal, CancelledError: see `carry`.
        """
        name, model, began = turn.name, turn.model, self._now()
        rests = self._learned.rests
        probing = rests.asked(model, now=began)
        try:
            attempt = await self._attempt(exchange, turn, downstream, journal)
        except CancelledError:
            if probing:
                rests.returned(model)
            left = downstream.lost_as is not End.SHUTDOWN
            outcome = Outcome.CLIENT_GONE if left else Outcome.SHUTDOWN
            waited = self._now() - began
            journal.attempted(name, outcome, waited, waited=waited)
            raise
        outcome, relay = attempt.outcome, attempt.relay
        now = self._now()
        over = now >= turn.deadline - _CLOCKS_APART
        if over and outcome in _TOO_LATE:
            # It was our patience that ended, not the model's time.
            rest = None
        else:
            rest = self._learn(exchange, turn, outcome, now - began, probing=probing)
        journal.attempted(name, outcome, now - began, rest=rest, waited=now - attempt.sent_at)
        verdict = decide(outcome, remaining=turn.remaining and not over, previous=previous)
        if relay is not None and verdict in {Verdict.COMMIT, Verdict.PASS_THROUGH}:
            exchange.body = None
            try:
                with self._bounded(relay, turn.deadline - now):
                    end = await self._give(outcome, name, relay, exchange, downstream, journal)
            except BaseException:
                relay.abort()
                raise
            self._judge_end(exchange, turn, relay, end, since=now)
            return None
        if relay is not None:
            relay.response.discard(self._learned.listener(model, outcome))
        if verdict is not Verdict.NEXT:
            raise self._refusal(exchange, outcome)
        return outcome

    def _learn(
        self, exchange: Exchange, turn: Turn, outcome: Outcome, seconds: float, *, probing: bool
    ) -> float | None:
        """Keep what `outcome` says of the model; the seconds that it rests now, if it does."""
        if exchange.affinity is not None:
            if outcome is Outcome.SUCCESS:
                exchange.affinity.served(turn.name)
            elif RULES[outcome].blames_model:
                exchange.affinity.failed(turn.name)
        streams = exchange.body is not None and exchange.body.stream
        return self._learned.attempted(
            turn.model,
            outcome,
            probing=probing,
            seconds=seconds if streams else None,
            needs=exchange.needs,
        )

    def _retry_after(self, exchange: Exchange, outcome: Outcome) -> int | None:
        """The soonest recovery in seconds, if waiting for one is what the client should do."""
        if outcome not in _WORTH_WAITING:
            return None
        now = self._now()
        models = [exchange.model_of(name) for name in exchange.candidates]
        rests = self._learned.rests
        if outcome is Outcome.CAPACITY or all(rests.resting(model, now=now) for model in models):
            return rests.retry_after(models, now=now)
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
        self, exchange: Exchange, turn: Turn, downstream: IDownstream, journal: Journal
    ) -> Attempt:
        answering = self._headers(exchange, turn)
        sent_at = self._now()
        try:
            response = await answering
        except AttemptFailed as failed:
            return Attempt(outcome=failed.outcome, sent_at=sent_at)
        except CancelledError:
            note_left(downstream, journal, Phase.HEADERS)
            raise
        try:
            return await self._judge(response, turn, sent_at)
        except CancelledError:
            note_left(downstream, journal, Phase.FIRST_BYTE)
            response.abort()
            raise
        except BaseException:
            response.abort()
            raise

    def _headers(self, exchange: Exchange, turn: Turn) -> Deferred[IUpstreamResponse]:
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

    async def _judge(self, response: IUpstreamResponse, turn: Turn, sent_at: float) -> Attempt:
        outcome = judge_status(response.status)
        relay = Relay(response, clock=self._clock, idle=self._deadlines.idle)
        if outcome is None:
            await self._held(relay, FirstBytes(JUDGED_BODY_BYTES), turn.within(JUDGED_BODY_SECONDS))
            outcome = judge_body(response.status, relay.held[:JUDGED_BODY_BYTES])
        elif outcome is Outcome.SUCCESS:
            gate = gate_for(response.fields, remaining=turn.remaining)
            await self._held(relay, gate, turn.within(self._deadlines.first_body_byte))
            outcome = gate.outcome(relay.held, relay.framing)
        return Attempt(outcome=outcome, relay=relay, sent_at=sent_at)

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
            told=journal.told(),
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

    def _judge_end(
        self, exchange: Exchange, turn: Turn, relay: Relay, end: End, *, since: float
    ) -> None:
        """Keep what the end of the answer that was given `since` says of the model."""
        now, model = self._now(), turn.model
        if end not in _UPSTREAMS_FAULT and not relay.told_error:
            if end is End.COMPLETE and relay.at_upstreams_pace:
                self._learned.streamed(model, relay.bytes_sent, now - since)
            return
        if now >= turn.deadline - _CLOCKS_APART:
            # The whole request took too long, which may be the client's own doing.
            return
        self._learned.disappointed(model)
        if exchange.affinity is not None:
            exchange.affinity.failed(turn.name)


def note_left(downstream: IDownstream, journal: Journal, phase: Phase) -> None:
    """The exchange was cancelled while the client waited for `phase`: count it, if it was the client."""
    if downstream.lost_as is not End.SHUTDOWN:
        journal.client_left(phase)
