"""The commit gate: how much of a 2xx must be seen before it is believed to be an answer.

Rule 1: while another candidate is left, a stream is held until its first content, and a JSON document
        until it is whole; what shows to be no answer is a failed attempt, and so is a page of HTML.
Rule 2: the hold is bounded; at its bound the answer is believed.
Rule 3: the last candidate is never held: its first byte commits.
Rule 4: an encoded body is opaque: its first byte commits.
"""

from typing import Protocol

from autopilot.policy.ending import BodyEnd
from autopilot.policy.failover import Outcome
from autopilot.policy.headers import Fields
from autopilot.policy.media import Media, media_of
from autopilot.policy.sse import OpeningScanner, Sign, sign_of_document

HOLD_BYTES = 256 * 1024
"""Most that is held of one answer: a long prefill's worth of role events is below 64 KiB."""

HOLD_EVENTS = 64
"""Most events without content that are waited through."""


class Gate(Protocol):
    """Watches the beginning of one answer."""

    def feed(self, data: bytes) -> bool:
        """Take `data`; whether enough has been seen."""

    def outcome(self, held: bytes, end: BodyEnd | None) -> Outcome:
        """What was seen: all of it is in `held`, `end` is None if the time was over."""


class FirstBytes:
    """Open once `wanted` bytes are there."""

    def __init__(self, wanted: int) -> None:
        self._missing = wanted

    def feed(self, data: bytes) -> bool:
        """See `Gate`."""
        self._missing -= len(data)
        return self._missing <= 0

    def outcome(self, held: bytes, end: BodyEnd | None) -> Outcome:
        """See `Gate`."""
        return Outcome.SUCCESS if held else _without_content(end)


class Page:
    """Never opens on an answer: whatever the page says, no model has said it."""

    def feed(self, data: bytes) -> bool:  # noqa: ARG002 - see above
        """See `Gate`."""
        return True

    def outcome(self, held: bytes, end: BodyEnd | None) -> Outcome:
        """See `Gate`."""
        return Outcome.ERROR_FIRST if held else _without_content(end)


class StreamOpening:
    """Open at the first content or error of an event stream."""

    def __init__(self) -> None:
        self._scanner = OpeningScanner()
        self._sign = Sign.NOTHING
        self._bytes = 0

    def feed(self, data: bytes) -> bool:
        """See `Gate`."""
        self._bytes += len(data)
        if self._sign is Sign.NOTHING:
            self._sign = self._scanner.feed(data)
        return self._sign is not Sign.NOTHING or self._full

    def outcome(self, held: bytes, end: BodyEnd | None) -> Outcome:  # noqa: ARG002 - scanned already
        """See `Gate`."""
        if self._sign is Sign.NOTHING and end is not None:
            self._sign = self._scanner.end()
        if self._sign is Sign.ERROR:
            return Outcome.ERROR_FIRST
        if self._sign is Sign.CONTENT or self._full:
            return Outcome.SUCCESS
        return _without_content(end)

    @property
    def _full(self) -> bool:
        return self._bytes >= HOLD_BYTES or self._scanner.events >= HOLD_EVENTS


_BY_SIGN = {
    Sign.NOTHING: Outcome.BROKEN_BODY,
    Sign.ERROR: Outcome.ERROR_FIRST,
    Sign.CONTENT: Outcome.SUCCESS,
}


class WholeDocument:
    """Open at the end of a JSON document."""

    def __init__(self) -> None:
        self._bytes = 0

    def feed(self, data: bytes) -> bool:
        """See `Gate`."""
        self._bytes += len(data)
        return self._bytes >= HOLD_BYTES

    def outcome(self, held: bytes, end: BodyEnd | None) -> Outcome:
        """See `Gate`."""
        if self._bytes >= HOLD_BYTES:
            return Outcome.SUCCESS
        if not held or end is None or end is BodyEnd.BROKEN:
            return _without_content(end)
        return _BY_SIGN[sign_of_document(held)]


def gate_for(fields: Fields, *, remaining: bool) -> Gate:
    """The gate for a 2xx with these header fields; `remaining`: another candidate is left."""
    media = media_of(fields)
    if remaining and media is Media.EVENTS:
        return StreamOpening()
    if remaining and media is Media.JSON:
        return WholeDocument()
    if remaining and media is Media.PAGE:
        return Page()
    return FirstBytes(1)


def _without_content(end: BodyEnd | None) -> Outcome:
    if end is None:
        return Outcome.FIRST_BYTE_TIMEOUT
    return Outcome.BROKEN_BODY if end is BodyEnd.BROKEN else Outcome.EMPTY_BODY
