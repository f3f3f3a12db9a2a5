"""The top-level members of a JSON object, each with the place in the text where it stands.

Whoever asks says how each value is to be read; all others are checked and let go at once, so that no
object of a prompt outlives the reading of its member.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

MAX_MEMBERS = 1_000
"""Most top-level members: no API has a hundred, and each costs a turn of a Python loop."""

Reader = Callable[[str, int], tuple[object, int]]
"""Reads the value that begins at a place of a text: what is to be kept of it, and where it ends."""

_SPACE = re.compile(r"[ \t\n\r]*")
_COLON = re.compile(r"[ \t\n\r]*:[ \t\n\r]*")
_AFTER_MEMBER = re.compile(r"[ \t\n\r]*(?:,[ \t\n\r]*|(\}))")


class TooManyMembersError(Exception):
    """The object has more than `MAX_MEMBERS` members."""


@dataclass(slots=True, kw_only=True)
class Member:
    """A member that was asked for; places are indexes of the text.

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


def _refuse_constant(_constant: str) -> NoReturn:
    raise ValueError


# float() takes integers of any length, where int() refuses 5,000 digits; no integer is read here.
read_value: Reader = json.JSONDecoder(parse_int=float, parse_constant=_refuse_constant).raw_decode
"""Reads a value whole. Raises ValueError for what is no JSON, RecursionError for deep nesting."""


def read_members(text: str, readers: Mapping[str, Reader]) -> list[Member] | None:
    """The members named in `readers` of the one object that `text` is; None if it is another value.

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
    members: list[Member] = []
    at = _skip(text, at + 1)
    if text.startswith("}", at):
        _expect_end(text, at + 1)
        return members
    before: int | None = None
    latest: Member | None = None
    for number in range(MAX_MEMBERS):
        if not text.startswith('"', at):
            raise ValueError
        name, end = read_value(text, at)
        colon = _COLON.match(text, end)
        if colon is None:
            raise ValueError
        start = colon.end()
        reader = readers.get(name)  # type: ignore[call-overload]  # a value that begins with a quote
        if reader is None:
            end = read_value(text, start)[1]
        else:
            value, end = reader(text, start)
            latest = Member(
                name=name,  # type: ignore[arg-type]  # as above
                value=value,
                number=number,
                key=at,
                start=start,
                end=end,
                before=before,
            )
            members.append(latest)
        after = _AFTER_MEMBER.match(text, end)
        if after is None:
            raise ValueError
        at = after.end()
        if after[1]:
            _expect_end(text, at)
            return members
        if latest is not None and latest.number == number:
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


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect_end(text: str, at: int) -> None:
    if _skip(text, at) != len(text):
        raise ValueError
