"""A live run: one request after another, spaced, each answer sanitised and stored, until a 429."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, cast

from live_findings import fixture_name
from live_plan import (
    CATALOGUE,
    OPENING,
    UTILIZATION,
    Face,
    Key,
    Step,
    excerpt,
    later_steps,
    subjects_in,
)
from live_sanitise import Sanitiser
from live_store import Fixture, Store
from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.iweb import IBodyProducer

from autopilot.controlplane.evidence import MAX_EVIDENCE_BYTES, evidence_question
from autopilot.controlplane.fetch import Answer, FetchError, Question, ask
from autopilot.dataplane.upstream import BytesProducer

WITHIN = 60.0
"""Seconds for one answer. A model that is busy may take long to its first token."""

WRONG_KEY = "invalid"

_LIMITED = 429


class Course(Enum):
    """How a run went."""

    WHOLE = auto()
    """All that was planned was asked and answered; the last answer is a 429, as it has to be."""
    LIMITED = auto()
    """A 429 ended it before."""
    UNANSWERED = auto()
    """Something was not answered, or there was nobody to ask."""


@dataclass(slots=True, kw_only=True)
class Run:
    """One run. `pause` is in seconds; `say` tells a person of each step, in words without any secret."""

    client: HTTPClient
    clock: IReactorTime
    urls: Mapping[Face, str]
    key: str
    model: str | None
    pause: float
    date: str
    store: Store
    sanitiser: Sanitiser
    say: Callable[[str], None]
    _seen: dict[str, bytes] = field(default_factory=dict)
    _asked: int = 0
    _unanswered: int = 0

    async def perform(self) -> Course:
        """Carry out the plan, as far as the first 429.

        Raises:
            LeakError: see `Store.put`.
        """
        if await self._until_429(OPENING) is not None:
            return Course.LIMITED
        catalogue, utilization = (self._seen.get(name, b"") for name in (CATALOGUE, UTILIZATION))
        steps = later_steps(subjects_in(catalogue, utilization, self.model))
        limited = await self._until_429(steps)
        if limited is not None and limited is not steps[-1]:
            return Course.LIMITED
        return Course.UNANSWERED if self._unanswered or not steps else Course.WHOLE

    async def _until_429(self, steps: Sequence[Step]) -> Step | None:
        """Ask one after the other; the one that was answered with 429, if any was."""
        for step in steps:
            if self._asked:
                await deferLater(self.clock, self.pause)
            self._asked += 1
            try:
                answer = await ask(
                    self.client,
                    self._question(step),
                    clock=self.clock,
                    within=WITHIN,
                    max_bytes=MAX_EVIDENCE_BYTES,
                )
            except FetchError as error:
                self.say(f"{step.name}: no answer ({error.fault})")
                self._unanswered += 1
                continue
            self._keep(step, answer)
            if answer.status == _LIMITED:
                return step
        return None

    def _question(self, step: Step) -> Question:
        base = self.urls[step.face]
        if step.chute is not None:
            return evidence_question(base, step.chute, step.nonce)
        body = step.body()
        if body is None:
            return Question(url=base + step.path)
        fields = [("Content-Type", "application/json")]
        if step.key is not Key.NONE:
            key = self.key if step.key is Key.OURS else WRONG_KEY
            fields.append(("Authorization", f"Bearer {key}"))
        producer = cast("IBodyProducer", BytesProducer(body))
        return Question(url=base + step.path, method=step.method, fields=fields, body=producer)

    def _keep(self, step: Step, answer: Answer) -> None:
        name = fixture_name(step, answer.status, answer.body)
        self._seen[step.name] = answer.body
        part = excerpt(step.name, answer.body, self._seen.get(CATALOGUE, b""))
        request: dict[str, Any] = {
            "method": step.method,
            "host": step.face.value,
            "path": step.path,
            "key": step.key.value,
        }
        if step.model is not None:
            request["stream"] = step.stream
        if step.chute is not None:
            request["nonce_characters"] = None if step.nonce is None else len(step.nonce)
        self.store.put(
            Fixture(
                name=name,
                request=request,
                status=answer.status,
                headers=self.sanitiser.headers(answer.fields),
                body=self.sanitiser.body(answer.status, part),
                captured_at=self.date,
            )
        )
        self.say(f"{step.name}: {answer.status}, kept as {name}")
