"""Answers: what a model says, as OpenAI-shaped documents and events with the platform's extras."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import cycle, islice
from typing import Any, Literal

from autopilot.simulator.catalogue import Model
from autopilot.simulator.wire import compact

_TEXT = "The simulated model answers at its own pace, one small piece after another."
_WORDS = _TEXT.split()

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long an answer is and how fast it comes; delays in seconds."""

    chunks: int = 24
    chunk_delay: float = 0.02
    first_chunk_delay: float = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What has to be answered, after everything that could be refused."""

    model: Model
    kind: Literal["chat", "text"]
    stream: bool
    prompt_tokens: int
    max_tokens: int | None
    invocation_id: str
    created: int

    @property
    def answer_id(self) -> str:
        """The id that every part of the answer carries."""
        prefix = "chatcmpl" if self.kind == "chat" else "cmpl"
        return f"{prefix}-{self.invocation_id.replace('-', '')}"


def event(payload: Any) -> bytes:
    """One server-sent event, written as compactly as the platform does."""
    return b"data: " + compact(payload) + b"\n\n"


def content_chunks(ask: Ask, pace: Pace) -> int:
    """How many content chunks the answer has."""
    return pace.chunks if ask.max_tokens is None else min(pace.chunks, ask.max_tokens)


def events(ask: Ask, pace: Pace) -> Iterator[bytes]:
    """The whole stream: a role for chat, the content, the finish reason, `[DONE]`."""
    if ask.kind == "chat":
        yield event(_chunk(ask, {"role": "assistant", "content": ""}, None, 0))
    count = content_chunks(ask, pace)
    for place, piece in enumerate(_pieces(count), start=1):
        delta = {"content": piece} if ask.kind == "chat" else {"text": piece}
        yield event(_chunk(ask, delta, None, place))
    last: dict[str, Any] = {} if ask.kind == "chat" else {"text": ""}
    yield event(_chunk(ask, last, _finish_reason(count, pace), count))
    yield DONE


def opening(ask: Ask, pace: Pace, content: int) -> Iterator[bytes]:
    """The stream up to so many content chunks, so without a finish reason."""
    return islice(events(ask, pace), content + (ask.kind == "chat"))


def document(ask: Ask, pace: Pace) -> bytes:
    """The answer in one piece."""
    count = content_chunks(ask, pace)
    text = "".join(_pieces(count))
    choice: dict[str, Any] = {"index": 0}
    if ask.kind == "chat":
        choice["message"] = {
            "role": "assistant",
            "content": text,
            "tool_calls": None,
            **_reasoning(ask),
        }
    else:
        choice["text"] = text
    choice |= {"logprobs": None, "finish_reason": _finish_reason(count, pace)}
    name = "chat.completion" if ask.kind == "chat" else "text_completion"
    return compact(_envelope(ask, name, choice, count))


def _pieces(count: int) -> Iterator[str]:
    for place, word in enumerate(islice(cycle(_WORDS), count)):
        yield word if place == 0 else f" {word}"


def _finish_reason(count: int, pace: Pace) -> str:
    return "stop" if count == pace.chunks else "length"


def _chunk(ask: Ask, delta: dict[str, Any], finish: str | None, tokens: int) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0}
    if ask.kind == "chat":
        choice["delta"] = delta | _reasoning(ask)
        name = "chat.completion.chunk"
    else:
        choice |= delta
        name = "text_completion"
    choice |= {"logprobs": None, "finish_reason": finish}
    return _envelope(ask, name, choice, tokens)


def _reasoning(ask: Ask) -> dict[str, None]:
    """Each engine has its own habit, and clients have to take all three."""
    match ask.model.owned_by:
        case "vllm":
            return {"reasoning": None, "reasoning_content": None}
        case "sglang":
            return {"reasoning_content": None}
        case _:
            return {}


def _envelope(ask: Ask, name: str, choice: dict[str, Any], tokens: int) -> dict[str, Any]:
    return {
        "id": ask.answer_id,
        "object": name,
        "created": ask.created,
        "model": ask.model.id,
        "choices": [choice],
        "usage": {
            "prompt_tokens": ask.prompt_tokens,
            "total_tokens": ask.prompt_tokens + tokens,
            "completion_tokens": tokens,
            "prompt_tokens_details": None,
        },
        "chutes_verification": sha256(f"{ask.answer_id}:{tokens}".encode()).hexdigest()[:32],
    }
