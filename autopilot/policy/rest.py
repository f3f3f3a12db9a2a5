"""What is learned from failures: a model that failed rests, and meanwhile is asked last.

Rule 1: a resting model goes to the back of the order, never out of it.
Rule 2: of an old and a new deadline the later one is kept. A failure after a rest doubles the next, up
        to `MAX_REST`; failures during a rest do not, or a burst would count as a history.
Rule 3: when a rest is over one request probes the model; to the others it rests until the probe has
        come back, or been silent for `PROBE_SECONDS`.
Rule 4: a success ends it all.

Moments are seconds of one monotonic clock.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from autopilot.policy.failover import Outcome, detail_of

BRIEF_SECONDS = 2.0
"""First rest after a capacity refusal, a 5xx, silence or a broken answer: instances come and go."""

COLD_SECONDS = 30.0
"""First rest of a model without an instance: starting one takes minutes to hours."""

MAX_REST = 300.0
"""Longest rest: a model that stays away costs one probe in five minutes."""

PROBE_SECONDS = 30.0
"""After this, a probe that has not come back no longer holds the others off."""

MAX_MODELS = 1_000
"""Models remembered; those that failed longest ago are forgotten first. A catalogue has about 60."""

COLD_PREFIX = "No instances available"
DISABLED_DETAIL = "This chute is currently disabled."

_LEAST_RETRY_AFTER = 1
_MOST_RETRY_AFTER = 30


class Cause(Enum):
    """Why a model rests, by the length of its first rest in seconds."""

    BRIEF = BRIEF_SECONDS
    COLD = COLD_SECONDS
    UNTIL_CATALOG = MAX_REST
    """Disabled or vanished: the next catalogue decides, or the longest rest has passed."""


CAUSES: Mapping[Outcome, Cause] = {
    Outcome.CAPACITY: Cause.BRIEF,
    Outcome.INTERNAL_ERROR: Cause.BRIEF,
    Outcome.UNAVAILABLE: Cause.BRIEF,
    Outcome.SERVER_ERROR: Cause.BRIEF,
    Outcome.CONNECTION_LOST: Cause.BRIEF,
    Outcome.PROTOCOL_ERROR: Cause.BRIEF,
    Outcome.HEADER_TIMEOUT: Cause.BRIEF,
    Outcome.FIRST_BYTE_TIMEOUT: Cause.BRIEF,
    Outcome.EMPTY_BODY: Cause.BRIEF,
    Outcome.BROKEN_BODY: Cause.BRIEF,
    Outcome.ERROR_FIRST: Cause.BRIEF,
    Outcome.NO_CONTENT: Cause.BRIEF,
    Outcome.MODEL_NOT_FOUND: Cause.UNTIL_CATALOG,
}
"""Which outcomes rest a model. Those that blame the caller or the origin are not among them."""


def cause_in(body: bytes) -> Cause | None:
    """What the body of a 503 adds to its status; None if nothing."""
    detail = detail_of(body)
    if not isinstance(detail, str):
        return None
    if detail.startswith(COLD_PREFIX):
        return Cause.COLD
    return Cause.UNTIL_CATALOG if detail == DISABLED_DETAIL else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """One model's state: it rests until `until`; `probed_at` is when a probe was sent, if one was."""

    cause: Cause
    until: float
    length: float
    probed_at: float | None = None

    def resting(self, now: float) -> bool:
        """Whether the model is to be asked last at `now`."""
        if now < self.until:
            return True
        return self.probed_at is not None and now < self.probed_at + PROBE_SECONDS


Told = Callable[[str, Rest | None], None]
"""Told of a model whose state has changed here, and of its new state."""


def _nobody(_model: str, _rest: Rest | None) -> None:
    pass


class RestTable:
    """The rests of all models. Whoever shares them is `told` of each change, and has ours `adopt` his."""

    def __init__(self, *, told: Told = _nobody) -> None:
        self._rests: OrderedDict[str, Rest] = OrderedDict()
        self._told = told

    def failed(self, model: str, cause: Cause, *, now: float) -> float:
        """`model` failed at `now`; the seconds that it rests from now on."""
        old = self._rests.pop(model, None)
        length, until = cause.value, now + cause.value
        if old is not None:
            resting = now < old.until
            # Only a failure after the rest shows that the rest was too short.
            length = min(max(old.length if resting else old.length * 2, length), MAX_REST)
            until = max(old.until, now + (cause.value if resting else length))
            if resting and old.cause is Cause.UNTIL_CATALOG:
                cause = old.cause
        self._set(model, Rest(cause=cause, until=until, length=length))
        return min(until - now, MAX_REST)

    def succeeded(self, model: str) -> None:
        """`model` answered."""
        if model in self._rests:
            self._set(model, None)

    def asked(self, model: str, *, now: float) -> bool:
        """A request is sent to `model`; whether it is the probe after its rest."""
        rest = self._rests.get(model)
        if rest is None or rest.resting(now):
            return False
        self._set(model, replace(rest, probed_at=now))
        return True

    def returned(self, model: str) -> None:
        """The probe ended without saying anything of the model: another may probe."""
        rest = self._rests.get(model)
        if rest is not None:
            self._set(model, replace(rest, probed_at=None))

    def catalog_changed(self, *, at: float | None = None) -> None:
        """A new catalogue is here, fetched `at`: those that waited for it are as good as any.

        Not those that began to rest later, of whom somebody else may have told who has seen it already.
        """
        for model, rest in tuple(self._rests.items()):
            waited = at is None or rest.until - rest.length <= at
            if rest.cause is Cause.UNTIL_CATALOG and waited:
                self._set(model, None)

    def adopt(self, model: str, rest: Rest | None) -> None:
        """Somebody who shares the table has found this out."""
        if rest is None:
            self._rests.pop(model, None)
            return
        self._rests[model] = rest
        if len(self._rests) > MAX_MODELS:
            self._rests.popitem(last=False)

    def items(self) -> tuple[tuple[str, Rest], ...]:
        """All that is known."""
        return tuple(self._rests.items())

    def resting(self, model: str, *, now: float) -> bool:
        """Whether `model` is to be asked last."""
        rest = self._rests.get(model)
        return rest is not None and rest.resting(now)

    def arrange(
        self, candidates: Sequence[str], *, now: float, model_of: Callable[[str], str] = str
    ) -> tuple[str, ...]:
        """The candidates with the resting ones last; each group keeps its order.

        `model_of` gives the model behind a candidate's name.
        """
        resting = {model for model, rest in self._rests.items() if rest.resting(now)}
        if not resting:
            return tuple(candidates)
        return tuple(sorted(candidates, key=lambda name: model_of(name) in resting))

    def retry_after(self, candidates: Iterable[str], *, now: float) -> int:
        """Whole seconds until the first of `candidates` may recover, 1 to 30."""
        rests = (self._rests.get(model) for model in candidates)
        soonest = min(
            (rest.until - now if rest is not None else 0.0 for rest in rests), default=0.0
        )
        return min(max(math.ceil(soonest), _LEAST_RETRY_AFTER), _MOST_RETRY_AFTER)

    def count(self, *, now: float) -> int:
        """How many models rest."""
        return sum(rest.resting(now) for rest in self._rests.values())

    def _set(self, model: str, rest: Rest | None) -> None:
        self.adopt(model, rest)
        self._told(model, rest)
