"""The request body: what it asks for, and where its `model` stands in the bytes.

The body goes upstream with only that value replaced. A round trip through objects could not promise
that: `1e400`, 60-digit integers, white space and duplicate keys below the top level would change, and
the platform bills byte-equal bodies cheaper (`research/PLATFORM.md`, "Requests").
"""

import json
import re
from dataclasses import dataclass
from typing import NoReturn

from autopilot.policy.errors import Code, Refusal

MAX_MODEL_CHARS = 1024
"""Longest `model`: some twenty names of the usual 45 characters, whatever MAX_MODEL_LIST_ITEMS says."""

MAX_MEMBERS = 1_000
"""Most top-level members: no API has a hundred, and each costs a turn of a Python loop."""

_SPACE = re.compile(r"[ \t\n\r]*")
_ASKED_FOR = frozenset({"model", "stream"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatBody:
    """A well-formed body. `start` and `end` bound the top-level `model` value in `raw`, in bytes."""

    raw: bytes
    model: str
    stream: bool
    start: int
    end: int

    def with_model(self, name: str) -> bytes:
        """`raw` with `name` as its model and every other byte as it was."""
        return b"".join((self.raw[: self.start], json.dumps(name).encode(), self.raw[self.end :]))


def parse_body(raw: bytes) -> ChatBody:
    """The body of a chat or completion request.

    Raises:
        Refusal: `invalid_json`, `invalid_body` or `missing_model`. No message holds a byte of `raw`.
    """
    text, members = _read(raw)
    if members is None:
        raise Refusal(Code.INVALID_BODY, "The request body is not a JSON object.")
    models = [member for member in members if member.key == "model"]
    if len(models) > 1:
        raise Refusal(
            Code.INVALID_BODY, "The request body has more than one 'model'.", param="model"
        )
    if not models or models[0].value is None:
        raise Refusal(
            Code.MISSING_MODEL,
            "The request names no 'model'. Use the alias, one model id, or a comma-separated list.",
            param="model",
        )
    found = models[0]
    streams = [member.value for member in members if member.key == "stream"]
    return ChatBody(
        raw=raw,
        model=_checked_model(found.value),
        stream=bool(streams) and streams[-1] is True,
        start=_byte_offset(text, found.start),
        end=_byte_offset(text, found.end),
    )


def _read(raw: bytes) -> tuple[str, "list[_Member] | None"]:
    # Raised outside of the except clauses: the errors caught there hold the whole body, and would
    # travel on as the context of the refusal.
    try:
        text = raw.decode("utf-8")
        return text, _top_level(text)
    except RecursionError:
        refusal = Refusal(Code.INVALID_BODY, "The request body is nested too deeply.")
    except _TooManyMembersError:
        refusal = Refusal(
            Code.INVALID_BODY, f"The request body has more than {MAX_MEMBERS} top-level members."
        )
    except ValueError:
        refusal = Refusal(
            Code.INVALID_JSON,
            "The request body is not valid JSON: one object in UTF-8, without a byte order mark, NaN "
            "or Infinity, is expected.",
        )
    raise refusal


class _TooManyMembersError(Exception):
    """The object has more than `MAX_MEMBERS` members."""


@dataclass(frozen=True, slots=True)
class _Member:
    key: str
    value: object
    start: int
    end: int


def _refuse_constant(_constant: str) -> NoReturn:
    raise ValueError


# float() takes integers of any length, where int() refuses 5,000 digits; no number is read here.
_DECODER = json.JSONDecoder(parse_int=float, parse_constant=_refuse_constant)


def _top_level(text: str) -> list[_Member] | None:
    """The members of the one object that `text` is, with the span of each value; None if no object."""
    at = _skip(text, 0)
    if not text.startswith("{", at):
        _value, at = _DECODER.raw_decode(text, at)
        _expect_end(text, at)
        return None
    members: list[_Member] = []
    seen = 0
    at = _skip(text, at + 1)
    if text.startswith("}", at):
        _expect_end(text, at + 1)
        return members
    while True:
        _expect(text, at, '"')
        key, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at)
        _expect(text, at, ":")
        start = _skip(text, at + 1)
        value, end = _DECODER.raw_decode(text, start)
        # Only what is asked for below is kept: the prompt's objects are let go at once.
        if key in _ASKED_FOR:
            members.append(_Member(key, value, start, end))
        seen += 1
        if seen > MAX_MEMBERS:
            raise _TooManyMembersError
        at = _skip(text, end)
        if text.startswith("}", at):
            _expect_end(text, at + 1)
            return members
        _expect(text, at, ",")
        at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, character: str) -> None:
    if not text.startswith(character, at):
        raise ValueError


def _expect_end(text: str, at: int) -> None:
    if _skip(text, at) != len(text):
        raise ValueError


def _byte_offset(text: str, at: int) -> int:
    return at if text.isascii() else len(text[:at].encode())


def _checked_model(value: object) -> str:
    if not isinstance(value, str):
        problem = "is not a string"
    elif not value:
        problem = "is empty"
    elif len(value) > MAX_MODEL_CHARS:
        problem = f"is longer than {MAX_MODEL_CHARS} characters"
    elif _CONTROL.search(value):
        problem = "holds control characters"
    else:
        return value
    raise Refusal(Code.INVALID_BODY, f"The request's 'model' {problem}.", param="model")
