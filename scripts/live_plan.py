"""The plan of a live run: what is asked, of whom, with which key, and in which order.

Rule 1: what needs no key comes first, what the platform punishes comes last: without a key its edge
        answers 429, and a run ends at its first 429.
Rule 2: nothing is asked twice, and no answer makes the plan longer.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from autopilot.controlplane.evidence import new_nonce
from autopilot.policy.catalog import (
    PRIVATE_NAME,
    Catalog,
    FeedError,
    parse_catalog,
    parse_utilization,
)
from autopilot.policy.ranking import rank

CATALOGUE = "catalogue"
UTILIZATION = "utilization"

_CHAT = "/v1/chat/completions"
_SHORT_NONCE = "abcde"
_EXCERPT_MODELS = 12
_EXCERPT_PRIVATE = 6


class Key(StrEnum):
    """Whose key goes along."""

    NONE = "no"
    WRONG = "wrong"
    OURS = "ours"


class Face(StrEnum):
    """The platform's two hosts."""

    LLM = "llm"
    API = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request. For evidence `chute` and `nonce` are set, for chat `model`."""

    name: str
    face: Face
    path: str
    key: Key = Key.NONE
    model: str | None = None
    stream: bool = False
    chute: str | None = None
    nonce: str | None = None

    @property
    def method(self) -> str:
        """POST for chat, GET for everything else."""
        return "GET" if self.model is None else "POST"

    def body(self) -> bytes | None:
        """The request body of chat: as short a question as there is."""
        if self.model is None:
            return None
        messages = [{"role": "user", "content": "Say hello."}]
        asked = {
            "model": self.model,
            "stream": self.stream,
            "max_tokens": 8,
            "messages": messages,
        }
        return json.dumps(asked).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subjects:
    """Whom the run asks: the model for chat, a chute with TEE and one without, where there are such."""

    model: str | None = None
    tee: str | None = None
    other: str | None = None


OPENING = (
    Step(name=CATALOGUE, face=Face.LLM, path="/v1/models"),
    Step(name=UTILIZATION, face=Face.API, path="/chutes/utilization"),
)


def later_steps(subjects: Subjects) -> tuple[Step, ...]:
    """What is asked once the catalogue and the feed are known."""
    steps = []
    if subjects.tee is not None:
        steps += [
            _evidence("evidence of a TEE chute, no nonce", subjects.tee, None),
            _evidence("evidence of a TEE chute, short nonce", subjects.tee, _SHORT_NONCE),
            _evidence("evidence of a TEE chute", subjects.tee, new_nonce()),
        ]
    if subjects.other is not None:
        steps.append(_evidence("evidence of a chute without TEE", subjects.other, new_nonce()))
    if subjects.model is not None:
        steps += [
            _chat("chat, one document", subjects.model, Key.OURS),
            _chat("chat, streamed", subjects.model, Key.OURS, stream=True),
            _chat("chat, wrong key", subjects.model, Key.WRONG),
            _chat("chat, no key", subjects.model, Key.NONE),
        ]
    return tuple(steps)


def _evidence(name: str, chute: str, nonce: str | None) -> Step:
    return Step(name=name, face=Face.API, path="/chutes/{id}/evidence", chute=chute, nonce=nonce)


def _chat(name: str, model: str, key: Key, *, stream: bool = False) -> Step:
    return Step(name=name, face=Face.LLM, path=_CHAT, key=key, model=model, stream=stream)


def subjects_in(catalogue: bytes, utilization: bytes, wanted: str | None) -> Subjects:
    """Whom to ask: of each kind the one with the most free capacity, whom it costs the least.

    `wanted` takes the place of the model for chat. Where every model has TEE, the feed's other chutes
    serve as those without.
    """
    try:
        catalog = parse_catalog(catalogue).catalog
    except FeedError:
        catalog = Catalog()
    try:
        feed = parse_utilization(utilization).utilization
    except FeedError:
        return Subjects(model=wanted)
    ranked = [candidate.name for candidate in rank(feed, catalog)]
    tee = [name for name in ranked if _is_tee(catalog, name)]
    other = [name for name in ranked if name not in tee]
    other += [
        chute.name
        for chute in feed.chutes
        if chute.name != PRIVATE_NAME and chute.name not in catalog.by_id
    ]
    chute_ids = {chute.name: chute.chute_id for chute in feed.chutes}
    first: Callable[[Sequence[str]], str | None] = lambda names: next(iter(names), None)  # noqa: E731
    return Subjects(
        model=wanted or first(ranked),
        tee=first([chute_ids[name] for name in tee if chute_ids[name]]),
        other=first([chute_ids[name] for name in other if chute_ids[name]]),
    )


def _is_tee(catalog: Catalog, name: str) -> bool:
    model = catalog.by_id.get(name)
    if model is None:
        return name.endswith("-TEE")
    return json.loads(model.document).get("confidential_compute") is True


def excerpt(name: str, body: bytes, catalogue: bytes) -> bytes:
    """Of a catalogue its first models, of a feed their rows and a few private ones; else `body`.

    Other public rows are left out: their names are their owners' choice.
    """
    try:
        value = json.loads(body)
        listed = json.loads(catalogue)["data"][:_EXCERPT_MODELS]
        if name == CATALOGUE:
            value["data"] = listed
        elif name == UTILIZATION:
            value = _rows(value, {model["id"] for model in listed})
        return json.dumps(value, separators=(",", ":")).encode()
    except (ValueError, RecursionError, KeyError, TypeError):
        return body


def _rows(rows: list[dict[str, Any]], names: set[str]) -> list[dict[str, Any]]:
    public = [row for row in rows if row["name"] in names]
    private = [row for row in rows if row["name"] == PRIVATE_NAME]
    return public + private[:_EXCERPT_PRIVATE]
