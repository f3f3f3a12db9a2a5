"""Which header fields cross the proxy, in each direction; one pass over precomputed sets.

Fields are `(name, value)` pairs of bytes, repeated ones included, in their order. Sources: RFC 9110
section 7.6.1 (connection fields), and `X-Forwarded-*`, `Forwarded` and `X-Real-IP` because they carry
the client's address, which is nobody's business upstream. What is said to the router stays here.
"""

import re
from collections.abc import Iterable, Sequence
from uuid import uuid4

Fields = Sequence[tuple[bytes, bytes]]

REQUEST_ID = b"x-request-id"
OWN_PREFIX = b"x-chutes-autopilot-"
"""How the names of the router's own fields begin: what is asked of it, and what it tells."""

SELECTED = OWN_PREFIX + b"selected"
ATTEMPTS = OWN_PREFIX + b"attempts"
SERVER_TIMING = b"server-timing"
SHOULD_RETRY = b"x-should-retry"
RETRY_AFTER = b"retry-after"
EXPLAIN_FOR = b"x-chutes-autopilot-explain-for"

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"trailers",
        b"transfer-encoding",
        b"upgrade",
    }
)
_REQUEST_DROPPED = _HOP_BY_HOP | {
    b"accept-encoding",
    b"content-length",
    b"expect",
    b"forwarded",
    b"host",
    b"x-real-ip",
    REQUEST_ID,
}
_RESPONSE_DROPPED = _HOP_BY_HOP | {b"content-length", REQUEST_ID, SELECTED, ATTEMPTS}
_REQUEST_DROPPED_PREFIXES = (b"x-forwarded-", OWN_PREFIX)
_USABLE_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")


def upstream_fields(fields: Fields, *, request_id: bytes) -> list[tuple[bytes, bytes]]:
    """The client's fields as they go upstream, never decoded or compressed on the way back."""
    dropped = _REQUEST_DROPPED | nominated(
        value for name, value in fields if name.lower() == b"connection"
    )
    crossing = [
        (name, value)
        for name, value in fields
        if (low := name.lower()) not in dropped and not low.startswith(_REQUEST_DROPPED_PREFIXES)
    ]
    crossing.append((b"Accept-Encoding", b"identity"))
    crossing.append((REQUEST_ID, request_id))
    return crossing


def downstream_fields(
    fields: Fields,
    *,
    selected: str | None,
    stops_retries: bool = False,
    retry_after: int | None = None,
    told: Fields = (),
) -> list[tuple[bytes, bytes]]:
    """Upstream's fields as the client gets them.

    `selected` is named in routed modes only; `retry_after`, in seconds, counts only where upstream
    gave none; `told` is what else the router says of the answer, beside what upstream says.
    """
    crossing = [(name, value) for name, value in fields if name.lower() not in _RESPONSE_DROPPED]
    if stops_retries:
        crossing = [(name, value) for name, value in crossing if name.lower() != SHOULD_RETRY]
        crossing.append((SHOULD_RETRY, b"false"))
    if retry_after is not None and not any(
        name.lower() == RETRY_AFTER for name, _value in crossing
    ):
        crossing.append((RETRY_AFTER, b"%d" % retry_after))
    if selected is not None:
        crossing.append((SELECTED, field_value(selected)))
    crossing.extend(told)
    return crossing


def nominated(connection_values: Iterable[bytes]) -> frozenset[bytes]:
    """The lower-case names listed in `Connection`, which therefore stay on this hop."""
    return frozenset(
        name.strip(b" \t").lower() for value in connection_values for name in value.split(b",")
    )


def request_id(offered: Sequence[bytes]) -> bytes:
    """The client's own id if it sent exactly one of 1 to 128 visible ASCII bytes, else a new UUID."""
    if len(offered) == 1 and _USABLE_REQUEST_ID.fullmatch(offered[0]):
        return offered[0]
    return str(uuid4()).encode("ascii")


def field_value(text: str) -> bytes:
    """`text` as a header value: itself if visible ASCII, else percent-encoded, never raw bytes."""
    if _VISIBLE_ASCII.fullmatch(text):
        return text.encode("ascii")
    return "".join(
        character if _VISIBLE_ASCII.fullmatch(character) else _percent(character)
        for character in text
    ).encode("ascii")


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def bearer_token(authorization: Sequence[bytes]) -> bytes | None:
    """The token of the first `Authorization: Bearer`, or None. The scheme is case-insensitive."""
    for value in authorization:
        scheme, _space, token = value.partition(b" ")
        if scheme.lower() == b"bearer" and (token := token.strip()):
            return token
    return None
