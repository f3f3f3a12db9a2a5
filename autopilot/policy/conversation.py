"""What the members of a body show of a request's needs, without keeping anything of the prompt.

A prompt is measured in bytes of the body and divided by `BYTES_A_TOKEN`: no tokenizer is asked, and the
estimate is generous on purpose. Pictures in data URLs are not counted, as they are not read as text.
"""

from collections.abc import Mapping
from typing import NamedTuple

from autopilot.policy.jsonspans import Member, Reader, byte_length, read_value
from autopilot.policy.needs import Needs

BYTES_A_TOKEN = 3
"""English text has about four and a half, code and JSON about three and a half."""

MAX_SESSION_CHARS = 512
"""Longest key of a session; a longer one is none."""

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
    """What `messages` show besides their length, in bytes.

    `since` is what was said after the last answer, None if there was none; `inlined` the pictures in
    data URLs.
    """

    since: int | None
    images: bool
    inlined: int


def _read_messages(text: str, at: int) -> tuple[Conversation | None, int]:
    messages, end = read_value(text, at)
    if not isinstance(messages, list):
        return None, end
    images = answered = False
    inlined = since = 0
    for message in reversed(messages):
        if isinstance(message, dict):
            content = message.get("content")
            if not answered:
                answered = message.get("role") == "assistant"
                since += 0 if answered else _said(content)
            if isinstance(content, list):
                for part in content:
                    if isinstance(part, dict) and _is_image(part):
                        images = True
                        inlined += _inlined(part)
    return Conversation(since if answered else None, images, inlined), end


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


def _read_filled(text: str, at: int) -> tuple[bool, int]:
    value, end = read_value(text, at)
    return isinstance(value, list) and bool(value), end


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
    "prompt": _read_whether,
    "tools": _read_filled,
    "functions": _read_filled,
    "response_format": _read_kind,
    "max_tokens": _read_count,
    "max_completion_tokens": _read_count,
    **dict.fromkeys(SESSION_KEYS, _read_session),
    **dict.fromkeys(SAMPLING, _read_whether),
}
"""How to read the members that show what a request needs."""


def needs_in(members: list[Member], text: str, size: int) -> Needs:
    """The needs that `members` of `text`, read by `READERS`, show; `size` is that of `text` in bytes.

    Of repeated members the last counts.
    """
    read = {member.name: member for member in members}
    # What comes before the conversation: a model reads the definitions of tools as well.
    before = sum(_length(read[name], text, size) for name in _BEFORE if name in read)
    length = prefix = 0
    images = False
    if (messages := read.get("messages")) is not None:
        said = messages.value
        conversed = _length(messages, text, size)
        if isinstance(said, Conversation):
            images = said.images
            conversed = max(conversed - said.inlined, 0)
            prefix = 0 if said.since is None else max(conversed - said.since, 0)
        length = conversed
    kind = _value(read, "response_format")
    most = _value(read, "max_tokens")
    answer = _value(read, "max_completion_tokens")
    return Needs(
        prompt_tokens=(before + length) // BYTES_A_TOKEN,
        prefix_tokens=(before + prefix if prefix else 0) // BYTES_A_TOKEN,
        completion_tokens=max(
            most if isinstance(most, int) else 0, answer if isinstance(answer, int) else 0
        ),
        images=images,
        tools=bool(_value(read, "tools") or _value(read, "functions")),
        structured=kind == "json_schema",
        json_mode=kind == "json_object",
        parameters=frozenset([name for name in read if name in SAMPLING and read[name].value]),
    )


def session_in(members: list[Member]) -> str | None:
    """The first key of a session that `members`, read by `READERS`, hold."""
    keys = {member.name: member.value for member in members if member.name in SESSION_KEYS}
    found = (keys.get(key) for key in SESSION_KEYS)
    return next((key for key in found if isinstance(key, str)), None) if keys else None


def _value(read: Mapping[str, Member], name: str) -> object:
    member = read.get(name)
    return None if member is None else member.value


def _length(member: Member, text: str, size: int) -> int:
    """The bytes of a value. The prompt is most of a body: it is quicker to count what is around it."""
    inside = member.end - member.start
    if 2 * inside < len(text):
        return byte_length(text, member.start, member.end)
    before = byte_length(text, 0, member.start)
    return size - before - byte_length(text, member.end, len(text))
