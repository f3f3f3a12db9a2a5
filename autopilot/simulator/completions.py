"""Completions: what stands between a request and its answer, in the order the platform checks it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal
from uuid import uuid4

from twisted.web.server import Request

from autopilot.simulator.answers import Ask
from autopilot.simulator.catalogue import Model
from autopilot.simulator.delivery import Delivery
from autopilot.simulator.faults import (
    BAD_TOKEN,
    CAPACITY,
    COLD,
    MODEL_NOT_FOUND,
    NO_TOKEN,
    REFUSALS,
    Fault,
    Refusal,
)
from autopilot.simulator.journal import LONGEST_NAME, Entry, Outcome
from autopilot.simulator.load import Load
from autopilot.simulator.plans import Headers, answer, fail, refuse
from autopilot.simulator.script import Script
from autopilot.simulator.world import World

Kind = Literal["chat", "text"]

REFUSED_TOKEN = "invalid"  # noqa: S105 - the one token that is no good
_BEARER = "bearer "
_BYTES_PER_TOKEN = 4
_QUOTA = 5000
_PROMPT_FIELD: Mapping[Kind, str] = {"chat": "messages", "text": "prompt"}
_NO_CHUTE = Refusal(status=404, detail="No matching chute found!")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """A script, and the slot it holds while it plays."""

    script: Script
    load: Load | None = None


class _RefusedError(Exception):
    """The request ends here, with this refusal."""

    def __init__(self, refusal: Refusal, *, model: str = "", chute_id: str = "") -> None:
        super().__init__(refusal.status)
        self.script = refuse(refusal, model=model, chute_id=chute_id)


class Completions:
    """Answers `POST /v1/chat/completions` and `POST /v1/completions`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._quota_used = 0

    def take(self, request: Request, kind: Kind) -> None:
        """Answer one request, in its own time."""
        content = request.content
        body = content.read() if content is not None else b""
        wanted = _parsed(body)
        entry = _entry(request, body, wanted)
        journal = self._world.journal
        journal.open(entry)
        try:
            self._check_token(_header(request, b"Authorization"))
            planned = self._plan(wanted, kind, len(body), entry)
        except _RefusedError as refused:
            planned = _Planned(script=refused.script)
        load = planned.load

        def ended(outcome: Outcome) -> None:
            if load is not None:
                load.leave()
            journal.close(entry, outcome)

        if load is not None:
            load.enter()
        Delivery(
            request=request, script=planned.script, clock=self._world.clock, ended=ended
        ).start()

    def _check_token(self, header: str | None) -> None:
        if header is None or not header.lower().startswith(_BEARER):
            raise _RefusedError(NO_TOKEN)
        token = header[len(_BEARER) :].strip()
        if not token:
            raise _RefusedError(NO_TOKEN)
        if token == REFUSED_TOKEN:
            raise _RefusedError(BAD_TOKEN)

    def _plan(
        self, wanted: Mapping[str, Any] | None, kind: Kind, size: int, entry: Entry
    ) -> _Planned:
        if wanted is None:
            raise _invalid("the body is not a JSON object")
        if wanted.get("stream", False) is None:
            raise _RefusedError(_NO_CHUTE)
        model = self._model(wanted.get("model"))
        load = self._world.feed.load(model)
        fault = entry.fault = self._world.faults.take(model.id)
        if fault is not None and fault in REFUSALS:
            if fault is Fault.CAPACITY_429:
                load.refuse()
            raise _RefusedError(REFUSALS[fault], model=model.id, chute_id=model.chute_id)
        ask = self._ask(wanted, kind, size, model, entry.invocation_id)
        extra = self._headers(entry.invocation_id)
        if fault is not None:
            return _Planned(script=fail(fault, ask, self._world.pace, extra), load=load)
        if load.cold:
            raise _RefusedError(COLD, chute_id=model.chute_id)
        if load.full:
            load.refuse()
            raise _RefusedError(CAPACITY)
        return _Planned(script=answer(ask, self._world.pace, extra), load=load)

    def _model(self, spec: object) -> Model:
        model = self._world.catalogue.resolve(spec) if isinstance(spec, str) else None
        if model is None:
            raise _RefusedError(MODEL_NOT_FOUND, model=str(spec)[:LONGEST_NAME])
        return model

    def _ask(
        self, wanted: Mapping[str, Any], kind: Kind, size: int, model: Model, invocation_id: str
    ) -> Ask:
        stream = wanted.get("stream", False)
        if not isinstance(stream, bool):
            raise _invalid("stream must be a boolean")
        if not wanted.get(_PROMPT_FIELD[kind]):
            raise _invalid(f"{_PROMPT_FIELD[kind]} is required")
        limit = wanted.get("max_completion_tokens", wanted.get("max_tokens"))
        if limit is not None and (type(limit) is not int or limit < 1):
            raise _invalid("max_tokens must be a positive integer")
        # No tokenizer: the body's size is near enough to tell too long from fitting.
        prompt_tokens = size // _BYTES_PER_TOKEN
        if prompt_tokens > model.context:
            raise _invalid(
                f"this model's maximum context length is {model.context} tokens, "
                f"the request has {prompt_tokens}"
            )
        return Ask(
            model=model,
            kind=kind,
            stream=stream,
            prompt_tokens=prompt_tokens,
            max_tokens=limit,
            invocation_id=invocation_id,
            created=int(self._world.now().timestamp()),
        )

    def _headers(self, invocation_id: str) -> Headers:
        self._quota_used += 1
        return (
            ("X-Chutes-InvocationID", invocation_id),
            ("X-Chutes-Quota-Total", str(_QUOTA)),
            ("X-Chutes-Quota-Used", str(self._quota_used)),
            ("X-Chutes-Quota-Remaining", str(max(0, _QUOTA - self._quota_used))),
            ("X-Chutes-RL-User", "60"),
        )


def _invalid(reason: str) -> _RefusedError:
    return _RefusedError(Refusal(status=400, detail=f"Invalid request: {reason}"))


def _parsed(body: bytes) -> Mapping[str, Any] | None:
    try:
        wanted = json.loads(body)
    # Nesting without end and numbers without end are neither of them a JSONDecodeError.
    except (ValueError, RecursionError):
        return None
    return wanted if isinstance(wanted, dict) else None


def _header(request: Request, name: bytes) -> str | None:
    # Asked for as text, Twisted decodes as UTF-8 and raises on what is none.
    value = request.getHeader(name)
    return None if value is None else value.decode("latin-1")


def _entry(request: Request, body: bytes, wanted: Mapping[str, Any] | None) -> Entry:
    model = None if wanted is None else wanted.get("model")
    request_id = _header(request, b"X-Request-ID")
    return Entry(
        path=request.path.decode("latin-1"),
        model=model[:LONGEST_NAME] if isinstance(model, str) else None,
        stream=wanted is not None and wanted.get("stream") is True,
        request_id=None if request_id is None else request_id[:LONGEST_NAME],
        invocation_id=str(uuid4()),
        body_sha256=sha256(body).hexdigest(),
    )
