"""Tries candidates in order until one answers, then carries its answer: obeys, and decides nothing.

The verdicts come from `autopilot.policy.failover`. Commit is one visible call, `IDownstream.begin`,
in `_give`; nothing after it can lead back to another candidate.
"""

from dataclasses import dataclass

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from autopilot.dataplane.journal import Journal
from autopilot.dataplane.relay import Relay
from autopilot.dataplane.upstream import AttemptFailed
from autopilot.interfaces import IDownstream, IUpstream, IUpstreamResponse
from autopilot.metrics import End
from autopilot.policy.chatbody import ChatBody
from autopilot.policy.deadlines import Deadlines
from autopilot.policy.errors import Refusal
from autopilot.policy.failover import (
    JUDGED_BODY_BYTES,
    JUDGED_BODY_SECONDS,
    RULES,
    Outcome,
    Verdict,
    decide,
    judge_body,
    judge_status,
)
from autopilot.policy.headers import Fields, downstream_fields
from autopilot.policy.stickiness import Affinity


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A request ready to be sent: `body` is let go as soon as an answer is committed.

    `fields` are the header fields as they go upstream. `routed`: the body must name the candidate
    instead of what was asked for, and the client is told which model answered.
    """

    path: str
    fields: Fields
    body: ChatBody | None
    candidates: tuple[str, ...]
    routed: bool
    affinity: Affinity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """What one attempt came to; with `relay` where there is an answer, wanted or not."""

    outcome: Outcome
    relay: Relay | None = None


class Engine:
    """Carries exchanges over one `IUpstream`."""

    def __init__(self, upstream: IUpstream, *, clock: IReactorTime, deadlines: Deadlines) -> None:
        self._upstream = upstream
        self._clock = clock
        self._deadlines = deadlines

    async def carry(self, exchange: Exchange, downstream: IDownstream, journal: Journal) -> None:
        """Answer the client with what the candidates say. Cancelling means that the client is gone.

        Raises:
            Refusal: no candidate gave an answer that could be passed on; `begin` was not called.
            CancelledError: the client went away before `begin`.
        """
        previous: Outcome | None = None
        final = len(exchange.candidates) - 1
        for position, name in enumerate(exchange.candidates):
            started = self._clock.seconds()
            try:
                attempt = await self._attempt(exchange, name, last=position == final)
            except CancelledError:
                journal.attempted(name, Outcome.CLIENT_GONE, self._clock.seconds() - started)
                raise
            outcome = attempt.outcome
            journal.attempted(name, outcome, self._clock.seconds() - started)
            rule = RULES[outcome]
            if rule.blames_model and exchange.affinity is not None:
                exchange.affinity.failed(name)
            verdict = decide(outcome, remaining=position < final, previous=previous)
            if attempt.relay is not None and verdict in {Verdict.COMMIT, Verdict.PASS_THROUGH}:
                exchange.body = None
                try:
                    await self._give(outcome, name, attempt.relay, exchange, downstream, journal)
                except BaseException:
                    attempt.relay.abort()
                    raise
                return
            if attempt.relay is not None:
                attempt.relay.response.discard()
            if verdict is not Verdict.NEXT:
                raise _refusal(outcome)
            journal.failed_over(outcome)
            previous = outcome

    async def _attempt(self, exchange: Exchange, name: str, *, last: bool) -> _Attempt:
        try:
            response = await self._headers(exchange, name, last=last)
        except AttemptFailed as failed:
            return _Attempt(outcome=failed.outcome)
        try:
            return await self._judge(response)
        except BaseException:
            # The client is gone, or we are wrong: either way nobody will read this answer.
            response.abort()
            raise

    def _headers(self, exchange: Exchange, name: str, *, last: bool) -> Deferred[IUpstreamResponse]:
        body = exchange.body
        if body is None:
            raise RuntimeError("an exchange was carried on after it had been committed")
        seconds = self._deadlines.until_headers(
            stream=body.stream, body_bytes=len(body.raw), last=last
        )
        sent = body.with_model(name) if exchange.routed else body.raw
        answering = self._upstream.post(exchange.path, exchange.fields, sent)

        def late(_result: object, _seconds: float) -> Failure:
            return Failure(AttemptFailed(Outcome.HEADER_TIMEOUT))

        return answering.addTimeout(seconds, self._clock, onTimeoutCancel=late)

    async def _judge(self, response: IUpstreamResponse) -> _Attempt:
        outcome = judge_status(response.status)
        relay = Relay(response)
        if outcome is None:
            await self._held(relay, JUDGED_BODY_BYTES, JUDGED_BODY_SECONDS)
            outcome = judge_body(response.status, relay.held[:JUDGED_BODY_BYTES])
        elif outcome is Outcome.SUCCESS:
            await self._held(relay, 1, self._deadlines.first_body_byte)
            if relay.held_bytes == 0:
                outcome = {
                    None: Outcome.FIRST_BYTE_TIMEOUT,
                    True: Outcome.EMPTY_BODY,
                    False: Outcome.BROKEN_BODY,
                }[relay.complete]
        return _Attempt(outcome=outcome, relay=relay)

    def _held(self, relay: Relay, until: int, seconds: float) -> Deferred[None]:
        def late(_result: object, _seconds: float) -> None:
            return

        return relay.hold(until).addTimeout(seconds, self._clock, onTimeoutCancel=late)

    async def _give(  # noqa: PLR0917 - one call, and each argument is another thing
        self,
        outcome: Outcome,
        name: str,
        relay: Relay,
        exchange: Exchange,
        downstream: IDownstream,
        journal: Journal,
    ) -> None:
        success = outcome is Outcome.SUCCESS
        response = relay.response
        if success and exchange.affinity is not None:
            exchange.affinity.served(name, now=self._clock.seconds())
        fields = downstream_fields(
            response.fields,
            selected=name if exchange.routed else None,
            stops_retries=RULES[outcome].stops_retries,
        )
        journal.began(name, response.status, success=success)
        downstream.begin(response.status, fields, response.length)
        end = End.CLIENT_GONE
        try:
            end = await relay.flow_to(downstream)
        except CancelledError:
            pass
        finally:
            journal.ended(end, relay.bytes_sent)


def _refusal(outcome: Outcome) -> Refusal:
    refusal = RULES[outcome].refusal
    if refusal is None:
        raise RuntimeError(f"{outcome.name} has neither an answer nor a refusal")
    code, message = refusal
    return Refusal(code, message)
