"""Sanitising: of an answer only what is known to be harmless is kept, and the rest keeps its shape.

Rule 1: a string is kept for the field it stands in and for what it looks like, both; see `live_words`.
Rule 2: ids stay ids: one id becomes the same other id everywhere in a run, and nobody can go back.
Rule 3: in a refusal, and below an `error` or `detail` wherever it stands, no number is kept, since it may
        be a balance or an account; nor in a field whose name speaks of one.
Rule 4: what is neither JSON, nor events, nor the edge's page is not kept at all.
"""

import json
import secrets
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

from live_words import (
    ACCOUNT,
    DETAIL_BEGINS,
    DETAILS,
    EDGE_PAGE,
    FIELD,
    HEADERS,
    ID_FIELDS,
    MOMENT,
    MOMENT_FIELDS,
    NAME,
    NAME_FIELDS,
    NAMED_HEADERS,
    QUOTE_FIELD,
    REMOVED,
    SUSPECT,
    TEXT,
    UUID,
    WORD,
    WORD_FIELDS,
)

from autopilot.policy.catalog import PRIVATE_NAME
from autopilot.policy.evidence import is_tdx_quote

PART = 8
"""Characters of a secret that must not occur in a row."""

_REFUSED = 400
_ERROR_FIELDS = {"error", "detail"}
_STATUSES = range(400, 600)
_DATA = "data:"
_DONE = "[DONE]"
# Version, kind of key and kind of TEE; then, after the report, the length of the signature data.
_QUOTE_KINDS = slice(0, 8)
_QUOTE_LENGTH = slice(632, 636)


def shares_a_part(text: str, secret: str) -> bool:
    """Whether `PART` characters of `secret` in a row, or all of a shorter one, occur in `text`."""
    text, secret = text.lower(), secret.lower()
    size = min(PART, len(secret))
    return size > 0 and any(secret[at : at + size] in text for at in range(len(secret) - size + 1))


class Sanitiser:
    """Sanitises the answers of one run, of which `secret` is the key."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._salt = secrets.token_bytes(16)

    def headers(self, fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
        """The header fields that are kept, by lower-case name, in the order of names."""
        kept = {}
        for raw_name, raw_value in fields:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            looks = HEADERS.get(name)
            if looks is not None and looks.fullmatch(value) and not self._suspect(value):
                kept[name] = value
            elif looks is not None or name in NAMED_HEADERS:
                kept[name] = REMOVED
        return dict(sorted(kept.items()))

    def body(self, status: int, body: bytes) -> bytes:
        """What is kept of a body."""
        text = body.decode("utf-8", "replace")
        if EDGE_PAGE.fullmatch(text) and not self._suspect(text):
            return body
        if (document := self._document(status, text)) is not None:
            return document.encode()
        if any(line.startswith(_DATA) for line in text.splitlines()):
            return "\n".join(self._line(status, line) for line in text.split("\n")).encode()
        return TEXT.encode() if text else b""

    def other_id(self, text: str) -> str:
        """Another id for an id, the same one each time."""
        digest = blake2b(text.lower().encode(), key=self._salt, digest_size=16).digest()
        return str(uuid.UUID(bytes=digest, version=4))

    def _document(self, status: int, text: str) -> str | None:
        try:
            value = json.loads(text)
            if not isinstance(value, dict | list):
                return None
            kept = self._value(value, "", refused=status >= _REFUSED)
        except (ValueError, RecursionError):
            return None
        return json.dumps(kept, separators=(",", ":"))

    def _line(self, status: int, line: str) -> str:
        line = line.rstrip("\r")
        if not line:
            return ""
        prefix = "data: " if line.startswith(_DATA) else ""
        rest = line.removeprefix(_DATA).strip()
        if prefix and rest == _DONE:
            return prefix + _DONE
        return prefix + (self._document(status, rest) or TEXT)

    def _value(self, value: Any, field: str, *, refused: bool) -> Any:
        if isinstance(value, dict):
            return self._object(value, refused=refused)
        if isinstance(value, list):
            return [self._value(each, field, refused=refused) for each in value]
        if isinstance(value, str):
            return self._string(value, field)
        if refused and isinstance(value, int | float) and not isinstance(value, bool):
            return value if field == "code" and value in _STATUSES else 0
        return value

    def _object(self, value: Mapping[str, Any], *, refused: bool) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, each in value.items():
            known = FIELD.fullmatch(name) is not None and not self._suspect(name)
            label = name if known else f"[field {len(kept) + 1}]"
            told = name in _ERROR_FIELDS or ACCOUNT.search(name) is not None
            kept[label] = self._value(each, name if known else "", refused=refused or told)
        return kept

    def _string(self, text: str, field: str) -> str:
        if text in {"", PRIVATE_NAME}:
            return text
        if field == QUOTE_FIELD:
            return _bare_quote(text)
        if field in ID_FIELDS:
            return self.other_id(text)
        if field in {"detail", "msg", "message"}:
            return self._detail(text)
        if field in MOMENT_FIELDS and MOMENT.fullmatch(text):
            return text
        harmless = (field in WORD_FIELDS and WORD.fullmatch(text)) or (
            field in NAME_FIELDS and NAME.fullmatch(text)
        )
        # Without a slash an id names an answer or a permission, and may hold whose it is.
        anonymous = field == "id" and "/" not in text
        if harmless and not anonymous and not UUID.search(text) and not self._suspect(text):
            return text
        return TEXT

    def _detail(self, text: str) -> str:
        if DETAILS.fullmatch(text) and not shares_a_part(text, self._secret):
            return UUID.sub(lambda found: self.other_id(found[0]), text)
        for begin in DETAIL_BEGINS:
            if text.startswith(begin) and not shares_a_part(begin, self._secret):
                return f"{begin} {TEXT}"
        return TEXT

    def _suspect(self, text: str) -> bool:
        return SUSPECT.search(text) is not None or shares_a_part(text, self._secret)


def _bare_quote(text: str) -> str:
    """A quote with its kinds and lengths, and nought for everything that it says."""
    try:
        quote = b64decode(text, validate=True)
    except ValueError:
        return TEXT
    if not is_tdx_quote(quote):
        return TEXT
    bare = bytearray(len(quote))
    for part in (_QUOTE_KINDS, _QUOTE_LENGTH):
        bare[part] = quote[part]
    return b64encode(bare).decode()
