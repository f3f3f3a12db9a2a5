"""What a client saw on its socket, judged from the bytes alone: an answer, how far it came, its end."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_END_OF_HEAD = b"\r\n\r\n"
_NO_BODY = frozenset({204, 304})
_FIRST_FINAL = 200


class Close(StrEnum):
    """How the peer closed the connection, if it did."""

    NOT = "open"
    FIN = "fin"
    RST = "rst"


class End(StrEnum):
    """How an answer ended, as a careful client has to see it."""

    CLEAN = "clean"
    """As its framing promised, and nothing after it."""
    UNFRAMED = "close-delimited"
    """There was no framing, and the connection was closed in order: clean, for who cannot know better."""
    CUT_FIN = "cut by FIN"
    CUT_RST = "cut by RST"
    OPEN = "not ended"
    """Neither complete nor closed in the time it was given."""
    SILENT_FIN = "closed without a byte"
    SILENT_RST = "reset without a byte"
    EXTRA = "clean, then more bytes"
    GARBAGE = "not HTTP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer as far as it came. `body` is without its framing; `rest` came after it."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    complete: bool
    framed: bool
    chunked: bool
    rest: bytes

    def values(self, name: str) -> list[str]:
        """The values of a field."""
        low = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.fields if key.lower() == low]

    def value(self, name: str) -> str | None:
        """The first value of a field."""
        return next(iter(self.values(name)), None)

    @property
    def error(self) -> dict[str, Any] | None:
        """The error object of a refusal in OpenAI's shape, with all four keys."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return None
        error = document.get("error") if isinstance(document, dict) else None
        if isinstance(error, dict) and set(error) == {"message", "type", "param", "code"}:
            return error
        return None


class NotHttpError(ValueError):
    """The bytes are no HTTP answer."""


def read_answer(data: bytes, *, head_only: bool = False) -> Answer | None:
    """The first final answer in `data`; None while its head is not complete.

    `head_only`: the answer to a HEAD, which has no body whatever it says.

    Raises:
        NotHttpError: it is none.
    """
    while True:
        head, separator, rest = data.partition(_END_OF_HEAD)
        if not separator:
            if data and not b"HTTP/1.1 "[: len(data)].startswith(data[:9]):
                raise NotHttpError
            return None
        line, *lines = head.split(b"\r\n")
        parts = line.split(b" ", 2)
        if not parts[0].startswith(b"HTTP/1.") or len(parts) < 2 or not parts[1].isdigit():  # noqa: PLR2004
            raise NotHttpError
        status = int(parts[1])
        if status >= _FIRST_FINAL:
            break
        data = rest
    fields = tuple(_field(each) for each in lines)
    low = {name.lower(): value for name, value in fields}
    chunked = low.get(b"transfer-encoding", b"").lower() == b"chunked"
    length = low.get(b"content-length")
    framed = True
    if status in _NO_BODY or head_only:
        body, complete, left = b"", True, rest
    elif chunked:
        body, complete, left = unchunked(rest)
    elif length is not None:
        wanted = int(length)
        body, left = rest[:wanted], rest[wanted:]
        complete = len(body) == wanted
    else:
        body, complete, left, framed = rest, False, b"", False
    return Answer(
        status=status,
        fields=fields,
        body=body,
        complete=complete,
        framed=framed,
        chunked=chunked,
        rest=left,
    )


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon:
        raise NotHttpError
    return name, value.strip()


def unchunked(data: bytes) -> tuple[bytes, bool, bytes]:
    """The body in chunked `data`, whether its last chunk is whole, and what follows it.

    A chunk that is cut counts as far as it came.
    """
    parts: list[bytes] = []
    at = 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return b"".join(parts), False, b""
        try:
            size = int(data[at:end].partition(b";")[0], 16)
        except ValueError:
            raise NotHttpError from None
        at = end + 2
        if size == 0:
            complete = data.startswith(b"\r\n", at)
            return b"".join(parts), complete, data[at + 2 :] if complete else b""
        parts.append(data[at : at + size])
        at += size
        if at + 2 > len(data):
            return b"".join(parts), False, b""
        if not data.startswith(b"\r\n", at):
            raise NotHttpError
        at += 2


def end_of(data: bytes, close: Close, *, head_only: bool = False) -> End:
    """How the answer in `data` ended, when the connection was closed like that."""
    if not data:
        silent = {Close.FIN: End.SILENT_FIN, Close.RST: End.SILENT_RST, Close.NOT: End.OPEN}
        return silent[close]
    try:
        answer = read_answer(data, head_only=head_only)
    except NotHttpError:
        return End.GARBAGE
    if answer is not None and answer.complete:
        return End.EXTRA if answer.rest else End.CLEAN
    if answer is not None and not answer.framed and close is Close.FIN:
        return End.UNFRAMED
    return {Close.FIN: End.CUT_FIN, Close.RST: End.CUT_RST, Close.NOT: End.OPEN}[close]


def without_event(body: bytes) -> tuple[bytes, str | None]:
    """`body` without the router's own error event at its end, and the event's code.

    An event counts only where an event may begin, and with all of its four keys.
    """
    if not body.endswith(b"\n\n"):
        return body, None
    at = body.rfind(b"data: ", 0, len(body))
    if at < 0 or (at > 0 and not body[:at].endswith(b"\n\n")):
        return body, None
    try:
        document = json.loads(body[at + len(b"data: ") :])
    except ValueError:
        return body, None
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict) or set(error) != {"message", "type", "param", "code"}:
        return body, None
    code = error["code"]
    if not (isinstance(code, str) and code.startswith("upstream_")):
        return body, None
    return body[:at], code
