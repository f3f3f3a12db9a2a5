"""What the members of a body show of a request's needs, without keeping anything of the prompt.

A prompt is measured in bytes of the body and divided by `BYTES_A_TOKEN`: no tokenizer is asked, and the
estimate is generous on purpose. Pictures in data URLs are not counted, as they are not read as text.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from autopilot.policy.jsonspans import Reader, byte_length, read_value
from autopilot.policy.needs import Needs

BYTES_A_TOKEN = 3
"""English text has about four and a half, code and JSON about three and a half."""

MAX_SESSION_CHARS = 512
"""Longest key of a session; a longer one is none."""

MOST_READ = 10_000
"""Messages, and parts of messages, that are looked at, the last ones first: a body of the largest size
holds millions, each costs a turn of a Python loop, and meanwhile nobody else is served."""

MOST_TOKENS = 1 << 40
"""Where counting ends: a body may write any number at all."""

SAMPLING = frozenset(
    {
        "frequency_penalty",
        "ignore_eos",
        "length_penalty",
        "logit_bias",
        "logprobs",
        "min_p",
        "min_tokens",
        "n",
        "presence_penalty",
        "repetition_penalty",
        "seed",
        "stop",
        "stop_token_ids",
        "temperature",
        "top_a",
        "top_k",
        "top_logprobs",
        "top_p",
    }
)
"""Members that are sampling parameters, by the names they have in OpenAI's API and the engines."""

SESSION_KEYS = ("prompt_cache_key", "session_id", "user")
"""Members that tell one conversation or person from others, most telling first."""

_BEFORE = ("tools", "functions", "prompt")


class Conversation(NamedTuple):
    """What `messages` show besides their length, in bytes, and where in the text they stand.

    `since` is what was said after the last answer, None if there was none; `inlined` the pictures in
    data URLs.
    """

    start: int
    end: int
    since: int | None = None
    images: bool = False
    inlined: int = 0


class Part(NamedTuple):
    """Where in the text a part of the prompt stands, and whether there is anything in it."""

    start: int
    end: int
    filled: bool


def _read_messages(text: str, at: int) -> tuple[Conversation, int]:
    messages, end = read_value(text, at)
    if not isinstance(messages, list):
        return Conversation(at, end), end
    images = answered = False
    inlined = since = 0
    room = MOST_READ
    for message in reversed(messages):
        room -= 1
        if room < 0:
            break
        if isinstance(message, dict):
            content = message.get("content")
            if isinstance(content, list):
                content = content[:room]
                room -= len(content)
            if not answered:
                answered = message.get("role") == "assistant"
                since += 0 if answered else _said(content)
            if isinstance(content, list):
                for part in content:
                    if isinstance(part, dict) and _is_image(part):
                        images = True
                        inlined += _inlined(part)
    return Conversation(at, end, since if answered else None, images, inlined), end


def _said(content: object) -> int:
    """About how many bytes of text a message has: what is around its texts is little beside them."""
    if isinstance(content, str):
        return _bytes(content)
    if not isinstance(content, list):
        return 0
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return sum(_bytes(text) for text in texts if isinstance(text, str))


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _is_image(part: Mapping[str, object]) -> bool:
    kind = part.get("type")
    return isinstance(kind, str) and "image" in kind


def _inlined(part: Mapping[str, object]) -> int:
    """How many characters of an image are in its data URL."""
    url = part.get("image_url")
    if isinstance(url, dict):
        url = url.get("url")
    return len(url) if isinstance(url, str) and url.startswith("data:") else 0


def _read_whether(text: str, at: int) -> tuple[bool, int]:
    value, end = read_value(text, at)
    return value is not None, end


def _read_part(text: str, at: int) -> tuple[Part, int]:
    value, end = read_value(text, at)
    return Part(at, end, isinstance(value, list) and bool(value)), end


def _read_kind(text: str, at: int) -> tuple[object, int]:
    value, end = read_value(text, at)
    return (value.get("type") if isinstance(value, dict) else None), end


def _read_count(text: str, at: int) -> tuple[int, int]:
    value, end = read_value(text, at)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0, end
    return int(min(max(value, 0), MOST_TOKENS)), end


def _read_session(text: str, at: int) -> tuple[str | None, int]:
    value, end = read_value(text, at)
    return (value if isinstance(value, str) and 0 < len(value) <= MAX_SESSION_CHARS else None), end


READERS: Mapping[str, Reader] = {
    "messages": _read_messages,
    "prompt": _read_part,
    "tools": _read_part,
    "functions": _read_part,
    "response_format": _read_kind,
    "max_tokens": _read_count,
    "max_completion_tokens": _read_count,
    **dict.fromkeys(SESSION_KEYS, _read_session),
    **dict.fromkeys(SAMPLING, _read_whether),
}
"""How to read the members that show what a request needs."""


def needs_in(values: Mapping[str, Any], text: str, size: int) -> Needs:
    """The needs that `values`, read by `READERS` in `text`, show; `size` is that of `text` in bytes."""
    # What comes before the conversation: a model reads the definitions of tools as well.
    before = length = prefix = 0
    for name in _BEFORE:
        if name in values:
            before += _length(values[name], text, size)
    said: Conversation | None = values.get("messages")
    if said is not None:
        length = max(_length(said, text, size) - said.inlined, 0)
        prefix = 0 if said.since is None else max(length - said.since, 0)
    tools, functions = values.get("tools"), values.get("functions")
    kind = values.get("response_format")
    return Needs(
        prompt_tokens=(before + length) // BYTES_A_TOKEN,
        prefix_tokens=(before + prefix if prefix else 0) // BYTES_A_TOKEN,
        completion_tokens=max(values.get("max_tokens", 0), values.get("max_completion_tokens", 0)),
        images=said is not None and said.images,
        tools=(tools is not None and tools.filled) or (functions is not None and functions.filled),
        structured=kind == "json_schema",
        json_mode=kind == "json_object",
        parameters=frozenset([name for name in values if name in SAMPLING and values[name]]),
    )


def session_in(values: Mapping[str, Any]) -> str | None:
    """The first key of a session that `values`, read by `READERS`, hold."""
    for key in SESSION_KEYS:
        session: str | None = values.get(key)
        if session is not None:
            return session
    return None


def _length(part: Conversation | Part, text: str, size: int) -> int:
    """The bytes of a value. The prompt is most of a body: it is quicker to count what is around it."""
    if text.isascii():
        return part.end - part.start
    if 2 * (part.end - part.start) < len(text):
        return byte_length(text, part.start, part.end)
    before = byte_length(text, 0, part.start)
    return size - before - byte_length(text, part.end, len(text))
