"""What the events of a stream say: is this content yet, is it an error.

Events are those of the WHATWG HTML standard, "Server-sent events"; what they hold is in
`research/PLATFORM.md`, "Streams".
"""

import json
import re
from enum import Enum, auto

_LINE_END = re.compile(rb"\r\n|\n|\r")
_DATA = b"data:"
_DONE = b"[DONE]"
_CONTENT_KEYS = (
    "content",
    "reasoning",
    "reasoning_content",
    "refusal",
    "tool_calls",
    "function_call",
)


class Sign(Enum):
    """What an event says about the answer."""

    NOTHING = auto()
    """A role, a comment, an empty event: no reason to commit."""
    CONTENT = auto()
    """A part of an answer, or its end."""
    ERROR = auto()
    """An error where an answer should be."""


class OpeningScanner:
    """Reads the beginning of a stream until it says something.

    `feed` takes the bytes as they come, in any split, and gives the first sign other than NOTHING.
    `events` counts the events that said nothing. Keeps one unfinished line and event, no more.
    """

    def __init__(self) -> None:
        self.events = 0
        self._line_parts: list[bytes] = []
        self._after_cr = False
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> Sign:
        """The first sign in what has arrived, up to and with `data`."""
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
        start = 0
        for match in _LINE_END.finditer(data):
            self._line_parts.append(data[start : match.start()])
            line, self._line_parts = b"".join(self._line_parts), []
            start = match.end()
            sign = self._line(line)
            if sign is not Sign.NOTHING:
                return sign
        if data:
            # A CR that ends the bytes may be half of a CRLF, whose LF would be an empty line.
            self._after_cr = data.endswith(b"\r")
        if start < len(data):
            self._line_parts.append(data[start:])
        return Sign.NOTHING

    def end(self) -> Sign:
        """Whether what is left at the end of the stream is an error, which may lack its line end.

        An event that was not finished is no event, and so no content.
        """
        line, self._line_parts = b"".join(self._line_parts), []
        signs = (self._line(line), self._dispatch())
        return Sign.ERROR if Sign.ERROR in signs else Sign.NOTHING

    def _line(self, line: bytes) -> Sign:
        if not line:
            return self._dispatch()
        if line.startswith(_DATA):
            self._data.append(line[len(_DATA) :].removeprefix(b" "))
        elif line.startswith(b"{") and is_error_object(line):
            # The platform's own late errors are bare objects, no event at all.
            return Sign.ERROR
        return Sign.NOTHING

    def _dispatch(self) -> Sign:
        if not self._data:
            return Sign.NOTHING
        payload, self._data = b"\n".join(self._data), []
        sign = sign_of(payload)
        self.events += sign is Sign.NOTHING
        return sign


def sign_of(payload: bytes) -> Sign:
    """What the data of one event says. `[DONE]` alone is nothing: an empty answer is no answer."""
    if payload.strip() == _DONE:
        return Sign.NOTHING
    event = _parsed(payload)
    if _is_error(event):
        return Sign.ERROR
    choices = event.get("choices") if isinstance(event, dict) else None
    if isinstance(choices, list) and any(_has_content(choice) for choice in choices):
        return Sign.CONTENT
    return Sign.NOTHING


def is_error_object(body: bytes) -> bool:
    """Whether a whole JSON document is an error where an answer should be."""
    return sign_of_document(body) is Sign.ERROR


def sign_of_document(body: bytes) -> Sign:
    """What a body that should be a JSON document says; NOTHING if it is none, or null."""
    document = _parsed(body)
    if document is None:
        return Sign.NOTHING
    return Sign.ERROR if _is_error(document) else Sign.CONTENT


def _parsed(text: bytes) -> object:
    try:
        return json.loads(text.decode("utf-8"), parse_int=float)
    except (ValueError, RecursionError):
        return None


def _is_error(event: object) -> bool:
    if not isinstance(event, dict):
        return False
    return bool(event.get("error")) or ("detail" in event and "choices" not in event)


def _has_content(choice: object) -> bool:
    if not isinstance(choice, dict):
        return False
    if choice.get("finish_reason") is not None or choice.get("text"):
        return True
    delta = choice.get("delta")
    return isinstance(delta, dict) and any(delta.get(key) for key in _CONTENT_KEYS)
