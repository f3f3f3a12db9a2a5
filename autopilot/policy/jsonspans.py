"""The top-level members of a JSON object, each with the place in the text where it stands.

Whoever asks says how each value is to be read; all others are checked and let go at once, so that no
object of a prompt outlives the reading of its member.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

MAX_MEMBERS = 1_000
"""Most top-level members: no API has a hundred, and each costs a turn of a Python loop."""

Reader = Callable[[str, int], tuple[object, int]]
"""Reads the value that begins at a place of a text: what is to be kept of it, and where it ends."""

_SPACE = re.compile(r"[ \t\n\r]*")
_COLON = re.compile(r"[ \t\n\r]*:[ \t\n\r]*")
_AFTER_MEMBER = re.compile(r"[ \t\n\r]*(?:,[ \t\n\r]*|(\}))")


class TooManyMembersError(Exception):
    """The object has more than `MAX_MEMBERS` members."""


@dataclass(slots=True)
class Member:
    """A member whose place was asked for; places are indexes of the text.

    It stands from `key` to `end`, its value from `start`. The one before it ended at `before`, the one
    after it begins at `after`; None where there is none. `number` counts the members from 0.
    """

    name: str
    value: object
    number: int
    key: int
    start: int
    end: int
    before: int | None
    after: int | None = None


class Members(NamedTuple):
    """What was asked for of an object: the places of some, and the last value of the others."""

    placed: list[Member]
    values: dict[str, Any]


def _refuse_constant(_constant: str) -> NoReturn:
    raise ValueError


# float() takes integers of any length, where int() refuses 5,000 digits; no integer is read here.
read_value: Reader = json.JSONDecoder(parse_int=float, parse_constant=_refuse_constant).raw_decode
"""Reads a value whole. Raises ValueError for what is no JSON, RecursionError for deep nesting."""


def read_members(
    text: str, readers: Mapping[str, Reader], placed: Collection[str]
) -> Members | None:
    """The members named in `readers` of the one object that `text` is; None if it is another value.

    Of those in `placed` each occurrence is told with its place.

    Raises:
        ValueError: the text is not one JSON value.
        RecursionError: it is nested too deeply.
        TooManyMembersError: see there.
    """
    at = _skip(text, 0)
    if not text.startswith("{", at):
        _value, at = read_value(text, at)
        _expect_end(text, at)
        return None
    members = Members([], {})
    at = _skip(text, at + 1)
    if text.startswith("}", at):
        _expect_end(text, at + 1)
        return members
    before: int | None = None
    for number in range(MAX_MEMBERS):
        if not text.startswith('"', at):
            raise ValueError
        name, end = read_value(text, at)
        start = _matched(_COLON, text, end).end()
        latest: Member | None = None
        reader = readers.get(name)  # type: ignore[call-overload]  # a value that begins with a quote
        if reader is None:
            end = read_value(text, start)[1]
        else:
            value, end = reader(text, start)
            if name in placed:
                latest = Member(name, value, number, at, start, end, before)  # type: ignore[arg-type]
                members.placed.append(latest)
            else:
                members.values[name] = value  # type: ignore[index]  # as above
        after = _matched(_AFTER_MEMBER, text, end)
        at = after.end()
        if after[1]:
            _expect_end(text, at)
            return members
        if latest is not None:
            latest.after = at
        before = end
    raise TooManyMembersError


def cuts(members: list[Member]) -> list[tuple[int, int]]:
    """Spans without which the text is the same object less `members`, of which others remain.

    Each member goes with one comma beside it and the white space around that.
    """
    spans: list[tuple[int, int]] = []
    run: list[Member] = []
    for member in sorted(members, key=lambda each: each.number):
        if run and member.number != run[-1].number + 1:
            spans.append(_cut(run))
            run = []
        run.append(member)
    return [*spans, _cut(run)] if run else spans


def _cut(run: list[Member]) -> tuple[int, int]:
    first, last = run[0], run[-1]
    if last.after is not None:
        return first.key, last.after
    return (first.key if first.before is None else first.before), last.end


def byte_offsets(text: str, places: list[int]) -> list[int]:
    """Where `places`, which ascend, are in the UTF-8 of `text`."""
    if text.isascii():
        return places
    offsets: list[int] = []
    at = offset = 0
    for place in places:
        offset += byte_length(text, at, place)
        at = place
        offsets.append(offset)
    return offsets


def byte_length(text: str, start: int, end: int) -> int:
    """How many bytes of UTF-8 a part of `text` has."""
    return end - start if text.isascii() else len(text[start:end].encode())


def _matched(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    match = pattern.match(text, at)
    if match is None:
        raise ValueError
    return match


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect_end(text: str, at: int) -> None:
    if _skip(text, at) != len(text):
        raise ValueError
