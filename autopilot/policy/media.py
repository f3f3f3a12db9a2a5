"""What kind of body an answer's header fields announce, as far as it matters here."""

from enum import Enum, auto

from autopilot.policy.headers import Fields


class Media(Enum):
    """Kinds of bodies."""

    EVENTS = auto()
    """An event stream."""
    JSON = auto()
    """A JSON document."""
    PAGE = auto()
    """An HTML page: of an edge or a proxy, and never an answer of a model."""
    OPAQUE = auto()
    """Anything else, and anything that is encoded: its bytes say nothing to us."""


def media_of(fields: Fields) -> Media:
    """The kind that `Content-Type` names; OPAQUE if a `Content-Encoding` is in force."""
    content_type = b""
    for name, value in fields:
        low = name.lower()
        if low == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            return Media.OPAQUE
        if low == b"content-type":
            content_type = value.partition(b";")[0].strip().lower()
    if content_type == b"text/event-stream":
        return Media.EVENTS
    if content_type == b"application/json" or content_type.endswith(b"+json"):
        return Media.JSON
    return Media.PAGE if content_type == b"text/html" else Media.OPAQUE
