"""Was it whole: how an answer that the client is receiving ended, judged by as little as that takes.

Rule 1: a body whose framing was broken is never whole.
Rule 2: a stream is whole only if it has shown `[DONE]`, a `finish_reason`, or an error event, which a
        client cannot overlook; a clean end without any is a truncation.
Rule 3: a body without framing ends like one that was cut: an event stream is then judged by rule 2, a
        JSON document by whether it parses, a refusal is believed, anything else is not.
"""

import json
import re
from enum import Enum, StrEnum, auto
from typing import Protocol

from autopilot.policy.headers import Fields
from autopilot.policy.media import Media, media_of

PARSED_BYTES = 256 * 1024
"""Longest unframed JSON document that is kept to be parsed at its end."""

_FIRST_REFUSAL_STATUS = 300


class BodyEnd(Enum):
    """How the framing of a body ended."""

    COMPLETE = auto()
    """As it promised."""
    UNFRAMED = auto()
    """There was none: the connection closed, which is all that can be said."""
    BROKEN = auto()
    """Before it should."""


class End(StrEnum):
    """How a committed answer ended. The values are metric labels and log words."""

    COMPLETE = "complete"
    UPSTREAM_BROKEN = "upstream_broken"
    UPSTREAM_STALLED = "upstream_stalled"
    UPSTREAM_TRUNCATED = "upstream_truncated"
    CLIENT_GONE = "client_gone"
    CLIENT_STALLED = "client_stalled"
    SHUTDOWN = "shutdown"
    """Broken off by us, at the end of a drain."""
    INTERNAL_ERROR = "internal_error"
    """Broken off by a fault of our own."""


_MEANING = {
    End.UPSTREAM_BROKEN: "The upstream broke off in the middle of its answer.",
    End.UPSTREAM_STALLED: "The upstream fell silent in the middle of its answer.",
    End.UPSTREAM_TRUNCATED: "The upstream ended its answer without finishing it.",
}


class Watch(Protocol):
    """Follows one body to its end."""

    def feed(self, data: bytes) -> None:
        """Some bytes were sent to the client."""

    def end(self, framing: BodyEnd) -> End:
        """What the end of the framing means."""

    @property
    def takes_event(self) -> bool:
        """Whether an event of our own may be appended now."""

    @property
    def told_error(self) -> bool:
        """Whether the answer has said itself that it failed."""


class PlainWatch:
    """Judges by framing alone. `unframed_is_whole` is for refusals, which nobody takes for answers."""

    takes_event = False
    told_error = False

    def __init__(self, *, unframed_is_whole: bool) -> None:
        self._unframed = End.COMPLETE if unframed_is_whole else End.UPSTREAM_BROKEN

    def feed(self, data: bytes) -> None:
        """See `Watch`."""

    def end(self, framing: BodyEnd) -> End:
        """See `Watch`."""
        if framing is BodyEnd.COMPLETE:
            return End.COMPLETE
        return self._unframed if framing is BodyEnd.UNFRAMED else End.UPSTREAM_BROKEN


class DocumentWatch:
    """Keeps the beginning of a JSON document whose length is not known, to parse it at need."""

    takes_event = False
    told_error = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._room = PARSED_BYTES

    def feed(self, data: bytes) -> None:
        """See `Watch`."""
        if self._room < 0:
            return
        self._room -= len(data)
        if self._room < 0:
            self._parts.clear()
        else:
            self._parts.append(data)

    def end(self, framing: BodyEnd) -> End:
        """See `Watch`."""
        if framing is BodyEnd.COMPLETE:
            return End.COMPLETE
        whole = framing is BodyEnd.UNFRAMED and self._room >= 0 and self._parses()
        return End.COMPLETE if whole else End.UPSTREAM_BROKEN

    def _parses(self) -> bool:
        try:
            json.loads(b"".join(self._parts).decode("utf-8"), parse_int=float)
        except (ValueError, RecursionError):
            return False
        return True


_TAIL_BYTES = 64
_BATCH_BYTES = 4096
_BATCH_PIECES = 64
_BOUNDARIES = (b"\n\n", b"\r\n\r\n", b"\r\r")
# A quote or a line end inside a JSON string is escaped, so that no text of a model can look like these.
_CONCLUSION = re.compile(
    rb'"finish_reason"[ \t]*:[ \t]*"'
    rb"|[\r\n]data:[ ]?\[DONE\]"
    # An error that is null, false or 0 is none, as in `policy.sse`.
    rb'|(?P<error>[\r\n]data:[ ]?\{[ \t]*"error"[ \t]*:[ \t]*[^ \t\r\nnf0])'
)


def _may_conclude(window: bytes) -> bool:
    """Whether a conclusion can be in `window`, at a tenth of the cost of looking for it.

    Every event of a stream names its `finish_reason`, which is null until the last.
    """
    return (
        window.count(b'"finish_reason"') != window.count(b'"finish_reason":null')
        or b"[DONE]" in window
        or b'"error"' in window
    )


class StreamWatch:
    """Follows an event stream: what is sent is put by, and read a batch at a time, or when it is asked.

    `framed_by_length`: the answer has a Content-Length, beyond which nothing may be appended.
    """

    def __init__(self, *, framed_by_length: bool) -> None:
        self._told_error = False
        self._concluded = False
        self._appendable = not framed_by_length
        # As if a line had just ended: so it is at the beginning of a stream.
        self._tail = b"\n\n"
        self._unread: list[bytes] = []
        self._unread_bytes = 0

    def feed(self, data: bytes) -> None:
        """See `Watch`."""
        self._unread.append(data)
        self._unread_bytes += len(data)
        if self._unread_bytes >= _BATCH_BYTES or len(self._unread) >= _BATCH_PIECES:
            self._read()

    def end(self, framing: BodyEnd) -> End:
        """See `Watch`."""
        if framing is BodyEnd.BROKEN:
            return End.UPSTREAM_BROKEN
        self._read()
        if self._concluded:
            return End.COMPLETE
        truncated = framing is BodyEnd.COMPLETE
        return End.UPSTREAM_TRUNCATED if truncated else End.UPSTREAM_BROKEN

    @property
    def told_error(self) -> bool:
        """See `Watch`."""
        self._read()
        return self._told_error

    @property
    def takes_event(self) -> bool:
        """See `Watch`: at the end of an event, or before the first."""
        self._read()
        return self._appendable and self._tail.endswith(_BOUNDARIES)

    def _read(self) -> None:
        window = b"".join((self._tail, *self._unread))
        self._unread.clear()
        self._unread_bytes = 0
        self._tail = window[-_TAIL_BYTES:]
        if self._concluded or not _may_conclude(window):
            return
        conclusion = _CONCLUSION.search(window)
        if conclusion is not None:
            self._concluded = True
            self._told_error = conclusion["error"] is not None


def watch_for(status: int, fields: Fields, length: int | None) -> Watch:
    """What follows an answer with this status and these header fields; `length` is None if unknown."""
    if status >= _FIRST_REFUSAL_STATUS:
        return PlainWatch(unframed_is_whole=True)
    media = media_of(fields)
    if media is Media.EVENTS:
        return StreamWatch(framed_by_length=length is not None)
    if media is Media.JSON and length is None:
        return DocumentWatch()
    return PlainWatch(unframed_is_whole=False)


def error_event(end: End) -> bytes:
    """The event that tells a client in its own stream that the answer broke."""
    error = {"message": _MEANING[end], "type": "server_error", "param": None, "code": end.value}
    return b"data: " + json.dumps({"error": error}).encode("ascii") + b"\n\n"
