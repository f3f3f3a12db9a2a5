"""Answers: heads, chunks, events and whole good answers, as the bytes that scripts send."""

import json
from collections.abc import Iterable

EVENTS = b"text/event-stream; charset=utf-8"
JSON = b"application/json"
HTML = b"text/html"
LAST_CHUNK = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
_CREATED = 1771393340


def head(
    status: bytes | int = b"200 OK",
    *fields: bytes,
    media: bytes | None = EVENTS,
    length: int | None = None,
    chunked: bool = False,
) -> bytes:
    """The head of an answer."""
    line = b"%d Status" % status if isinstance(status, int) else status
    lines = [b"HTTP/1.1 " + line, *fields]
    if media is not None:
        lines.append(b"Content-Type: " + media)
    if length is not None:
        lines.append(b"Content-Length: %d" % length)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunks(parts: Iterable[bytes], *, last: bool = True) -> bytes:
    """Each part in a chunk of its own, and the last chunk."""
    return b"".join(map(chunk, parts)) + (LAST_CHUNK if last else b"")


def event(payload: object) -> bytes:
    """One event."""
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"


def delta(*, finish: str | None = None, **content: str) -> bytes:
    """One event of a chat answer."""
    choice = {"index": 0, "delta": content, "finish_reason": finish}
    return event(
        {
            "id": "chatcmpl-lab",
            "object": "chat.completion.chunk",
            "created": _CREATED,
            "model": "lab",
            "choices": [choice],
        }
    )


def stream(words: Iterable[str]) -> list[bytes]:
    """The events of a good stream: the role, each word, the reason of its end, and the end."""
    return [
        delta(role="assistant"),
        *(delta(content=word) for word in words),
        delta(finish="stop"),
        DONE,
    ]


def document(text: str) -> bytes:
    """A good answer that is not streamed."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    return json.dumps(
        {
            "id": "chatcmpl-lab",
            "object": "chat.completion",
            "created": _CREATED,
            "model": "lab",
            "choices": [choice],
        }
    ).encode()


def whole(
    body: bytes, *fields: bytes, status: bytes | int = b"200 OK", media: bytes = JSON
) -> bytes:
    """A whole answer with its length."""
    return head(status, *fields, media=media, length=len(body)) + body


def streamed(events: Iterable[bytes], *fields: bytes) -> bytes:
    """A whole stream, each event in a chunk."""
    return head(200, *fields, chunked=True) + chunks(events)


def refusal(
    status: int, detail: object, *fields: bytes, media: bytes = JSON, length: bool = True
) -> bytes:
    """A whole refusal in the platform's shape; without a length it ends with the connection."""
    body = json.dumps({"detail": detail}).encode()
    return head(status, *fields, media=media, length=len(body) if length else None) + body
