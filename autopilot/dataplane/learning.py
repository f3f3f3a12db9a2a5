"""What this process learns from its own attempts: who rests, who is quick, and how much is under way."""

from collections.abc import Callable
from typing import Protocol

from autopilot.interfaces import Seconds
from autopilot.policy.failover import Outcome
from autopilot.policy.inflight import InFlight
from autopilot.policy.needs import Needs
from autopilot.policy.picture import Picture
from autopilot.policy.rest import CAUSES, Cause, RestTable, cause_in
from autopilot.policy.timings import Observations

SHORTEST_STREAM = 0.25
"""Seconds: of a shorter one the pace is that of a buffer, not of a model."""


class OnAttempt(Protocol):
    """Told of an attempt at `model` that says something of it.

    `seconds` is the time to the first byte, as in `Learned.attempted`.
    """

    def __call__(self, model: str, seconds: float | None, *, failed: bool) -> None:
        """The attempt has failed or begun to answer."""


def _nobody(model: str, seconds: float | None, *, failed: bool) -> None:
    pass


class Learned:
    """Models' rests, timings, and requests in flight. `now` is a monotonic clock.

    Rests may be shared with other processes; timings and requests in flight are this one's.
    `on_attempt` may be set to who wants to know of attempts too.
    """

    def __init__(self, rests: RestTable, *, now: Seconds) -> None:
        self.rests = rests
        self.observations = Observations()
        self.in_flight = InFlight()
        self.on_attempt: OnAttempt = _nobody
        self._now = now
        self._picture: Picture | None = None

    def see(self, picture: Picture) -> Picture:
        """Tell what waited for a new catalogue or feed if `picture` has one. Returns it."""
        if picture is not self._picture:
            before, self._picture = self._picture, picture
            if before is not None and before.catalog is not picture.catalog:
                self.rests.catalog_changed(at=picture.catalog_fetched_at)
            if picture.utilization is not None:
                self.in_flight.sampled(picture.utilization.timestamp)
        return picture

    def attempted(
        self, model: str, outcome: Outcome, *, probing: bool, seconds: float | None, needs: Needs
    ) -> float | None:
        """An attempt came to `outcome`; the seconds for which `model` rests now, if it does.

        `seconds` is the time to the first byte, where the answer is a stream that began: another
        answer comes when it is whole, which says something of its length only.
        """
        now = self._now()
        cause = CAUSES.get(outcome)
        if cause is not None:
            self.on_attempt(model, None, failed=True)
            self.observations.failed(model, now=now)
            return self.rests.failed(model, cause, now=now)
        if outcome is Outcome.SUCCESS:
            self.on_attempt(model, seconds, failed=False)
            self.rests.succeeded(model)
            if seconds is not None:
                tokens = needs.prompt_tokens
                self.observations.answered(model, seconds, prompt_tokens=tokens, now=now)
        elif probing:
            self.rests.returned(model)
        return None

    def streamed(self, model: str, sent: int, seconds: float) -> None:
        """`model` took `seconds` to stream `sent` bytes, all of its answer."""
        if seconds >= SHORTEST_STREAM:
            self.observations.streamed(model, sent, seconds, now=self._now())

    def disappointed(self, model: str) -> None:
        """What looked like an answer was none in the end: others had better be asked first."""
        now = self._now()
        self.observations.failed(model, now=now)
        self.rests.failed(model, Cause.BRIEF, now=now)

    def listener(self, model: str, outcome: Outcome) -> Callable[[bytes], None] | None:
        """What learns from the unwanted body of a 503 how long `model` should rest."""

        def heard(body: bytes) -> None:
            cause = cause_in(body)
            if cause is not None:
                self.rests.failed(model, cause, now=self._now())

        return heard if outcome is Outcome.UNAVAILABLE else None
