"""The story of one exchange, told once to the metrics and once to the log.

Models appear as catalogue ids, or as `other`: a name that only the client knows is part of its body.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.logger import Logger

from autopilot.dataplane.account import Account
from autopilot.dataplane.counting import never_raises
from autopilot.dataplane.decisions import Decisions
from autopilot.interfaces import Seconds
from autopilot.labels import OTHER, Mode, Phase
from autopilot.logs import say
from autopilot.metrics import Metrics
from autopilot.policy.affinity import Place
from autopilot.policy.ending import End
from autopilot.policy.errors import ErrorBody
from autopilot.policy.failover import ORIGIN_OUTCOMES, Outcome
from autopilot.policy.headers import ATTEMPTS, SERVER_TIMING, Fields
from autopilot.policy.trail import attempts_value, timing_value

_log = Logger(namespace="autopilot.access")

CLIENT_GONE_STATUS = "client_gone"

_ROUTED = frozenset({Mode.ALIAS, Mode.LIST})

Label = Callable[[str], str | None]
"""The catalogue id behind a model's name, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One attempt as the log shows it."""

    model: str
    outcome: Outcome
    seconds: float
    rest: float | None


class Journal:
    """Open from the moment the whole request is in until `close`, which must be called once.

    `received_at` is that moment by `clock`, where it is not now. `decisions` keeps the story, if anybody
    may ask for it.
    """

    def __init__(
        self,
        *,
        request_id: str,
        metrics: Metrics,
        clock: Seconds,
        received_at: float | None = None,
        decisions: Decisions | None = None,
    ) -> None:
        self.mode = Mode.NONE
        self.label: Label = lambda _name: None
        self._candidates = 0
        self._place: Place | None = None
        self._request_id = request_id
        self._metrics = metrics
        self._clock = clock
        self._started = clock() if received_at is None else received_at
        self._waited = 0.0
        self._decisions = decisions
        self._decision: Account = {}
        self._attempts: list[AttemptRecord] = []
        self._selected: str | None = None
        self._status: int | None = None
        self._code: str | None = None
        self._end: End | None = None
        self._bytes = 0
        metrics.in_progress.inc()

    @never_raises
    def chosen(self, candidates: Sequence[str], place: Place | None) -> None:
        """`candidates` are to be asked; `place` is what became of the client's, if it may have one."""
        self._candidates = len(candidates)
        self._place = place
        if place is not None:
            self._metrics.places[place].inc()

    @property
    def is_kept(self) -> bool:
        """Whether anybody may ask for this story later."""
        return self._decisions is not None

    @never_raises
    def decided(self, decision: Callable[[], Account]) -> None:
        """What was chosen, for who asks later; see `autopilot.dataplane.account`."""
        self._decision = decision()

    @never_raises
    def attempted(
        self,
        model: str,
        outcome: Outcome,
        seconds: float,
        *,
        rest: float | None = None,
        waited: float = 0.0,
    ) -> None:
        """An attempt came to `outcome`; `rest` is for how many seconds the model now rests.

        `waited` of its `seconds` were spent waiting for upstream.
        """
        self._waited += waited
        label = self.label(model) or OTHER
        self._attempts.append(
            AttemptRecord(model=label, outcome=outcome, seconds=seconds, rest=rest)
        )
        self._metrics.attempts[outcome].inc()
        if rest is not None:
            self._metrics.rests.labels(reason=outcome.value).inc()
        if outcome in ORIGIN_OUTCOMES:
            self._metrics.origin_failures.labels(reason=outcome.value).inc()

    @never_raises
    def failed_over(self, outcome: Outcome) -> None:
        """The next candidate is tried because of `outcome`."""
        self._metrics.failovers.labels(reason=outcome.value).inc()

    @never_raises
    def client_left(self, phase: Phase) -> None:
        """The client went away while it was waiting for `phase`."""
        self._metrics.clients_gone.labels(phase=phase.value).inc()

    @never_raises
    def began(self, model: str, status: int, *, success: bool) -> None:
        """The client is being sent the answer of `model`."""
        self._status = status
        self._selected = self.label(model)
        if success:
            self._metrics.selected(self.mode, self._selected)
        self._metrics.first_byte[self.mode].observe(self._clock() - self._started)

    @never_raises
    def ended(self, end: End, sent: int) -> None:
        """That answer ended after `sent` bytes of body."""
        self._end = end
        self._bytes = sent
        self._metrics.stream_ends[end].inc()

    def told(self) -> Fields:
        """What the client is told of the attempts so far, and of whose the time was.

        Nothing where the client named its one model, or nobody was asked. Our own share is all the
        time since the whole request was in that was not spent waiting for an answer's first content:
        choosing, a shared store's answer, sending, and going on to a next candidate. What is done
        while that content arrives cannot be told from waiting and counts as it, and so does what a
        busy process does for others meanwhile: our share is a lower bound.
        """
        if not self._attempts or self.mode not in _ROUTED:
            return ()
        own = self._clock() - self._started - self._waited
        attempts = [(each.model, each.outcome.value) for each in self._attempts]
        return (
            (ATTEMPTS, attempts_value(attempts)),
            (SERVER_TIMING, timing_value(own=own, upstream=self._waited)),
        )

    def refused(self, status: int, code: str) -> None:
        """The client was sent a refusal of our own."""
        self._status = status
        self._code = code

    @never_raises
    def close(self) -> None:
        """Count and log the exchange. Without a status the client left before it could get one."""
        duration = self._clock() - self._started
        status = CLIENT_GONE_STATUS if self._status is None else str(self._status)
        self._metrics.in_progress.dec()
        self._metrics.requests.labels(mode=self.mode.value, status=status).inc()
        self._metrics.duration[self.mode].observe(duration)
        say(
            _log,
            "request",
            request_id=self._request_id,
            mode=self.mode.value,
            candidates=self._candidates,
            place=self._place.value if self._place is not None else None,
            selected=self._selected,
            attempts=[
                {
                    "model": attempt.model,
                    "outcome": attempt.outcome.value,
                    "ms": _milliseconds(attempt.seconds),
                    **({} if attempt.rest is None else {"rest_s": round(attempt.rest, 1)}),
                }
                for attempt in self._attempts
            ],
            status=self._status,
            code=self._code,
            end=self._end.value if self._end is not None else None,
            bytes=self._bytes,
            ms=_milliseconds(duration),
        )
        if self._decisions is not None:
            self._decisions.keep(self._request_id, self._whole(duration))

    def _whole(self, seconds: float) -> Account:
        return {
            "mode": self.mode.value,
            **self._decision,
            "attempts": [
                {
                    "model": attempt.model,
                    "outcome": attempt.outcome.value,
                    "seconds": round(attempt.seconds, 6),
                    "rest_s": None if attempt.rest is None else round(attempt.rest, 3),
                }
                for attempt in self._attempts
            ],
            "selected": self._selected,
            "status": self._status,
            "code": self._code,
            "end": None if self._end is None else self._end.value,
            "seconds": round(seconds, 6),
        }


def refusal_recorder(metrics: Metrics, clock: Seconds) -> Callable[[bytes, ErrorBody], None]:
    """What counts and logs a request that was refused while it arrived, by its id and the refusal."""

    def refused(request_id: bytes, error: ErrorBody) -> None:
        journal = Journal(request_id=request_id.decode("ascii"), metrics=metrics, clock=clock)
        journal.refused(error.status, error.code)
        journal.close()

    return refused


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
