"""Evidence: what an answer to a request for attestation is worth, which is never more than its shape.

Sources: `research/PLATFORM.md`, "Evidence". Of the words there, weakest first,
`flagged < shape-valid < quote-bound < verified`, only the second can be earned here: no signature is
checked, no measurement compared, and the nonce is not looked for in the quote.

Rule 1: a refusal is recognised by its status and its words; one with other words is `REFUSED`.
Rule 2: an answer is shape-valid as a whole or not at all.
Rule 3: evidence of no instance is no evidence, however well it is formed.
"""

import json
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from string import hexdigits

from autopilot.policy.failover import detail_of

NONCE_DIGITS = 64
"""Digits of a nonce: 32 bytes in hexadecimal."""

MAX_REFUSAL_BYTES = 16 * 1024
"""How much of a refusal is looked at. The platform's own are below 300 bytes."""

MAX_CONTAINERS = 20_000
"""Most objects and arrays of an answer: some thousand instances of eight cards each."""

MAX_ID_CHARS = 256

_OK, _BAD_REQUEST, _NOT_FOUND, _UNPROCESSABLE = 200, 400, 404, 422
_RATE_LIMITED, _BAD_GATEWAY = 429, 502

# Intel TDX DCAP quote, version 4: a header of 48 bytes (version, kind of attestation key, kind of TEE
# first, all little-endian), a TD report of 584, the length of the signature data, the data itself.
_QUOTE_VERSION = 4
_ECDSA_KEYS = frozenset({2, 3})
_TDX = 0x81
_SIGNED_BYTES = 48 + 584
_LENGTH_BYTES = 4


class EvidenceOutcome(StrEnum):
    """What came of asking for evidence. The values are words of reports and names of fixtures."""

    NONCE_MISSING = "nonce-missing"
    NONCE_LENGTH = "nonce-length"
    NONCE_NOT_HEX = "nonce-not-hex"
    NOT_TEE = "not-tee"
    VERSION_TOO_OLD = "version-too-old"
    NOT_FOUND = "not-found"
    RATE_LIMITED = "rate-limited"
    UNAVAILABLE = "attestation-unavailable"
    REFUSED = "refused"
    """Any other 4xx."""
    FAILED = "failed"
    """Any other 5xx."""
    UNEXPECTED = "unexpected"
    """A status that is neither success nor refusal, a redirect among them."""
    MALFORMED = "malformed"
    NONE = "none"
    """Well-formed, but of no instance at all."""
    SHAPE_VALID = "shape-valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """An outcome; where it is shape-valid or none, the instances that gave evidence or failed to."""

    outcome: EvidenceOutcome
    instances: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class _MalformedError(Exception):
    """The answer has not the platform's shape."""


def nonce_fault(nonce: str | None) -> EvidenceOutcome | None:
    """How the platform would refuse this nonce, in the order in which it checks; None if it would not."""
    if nonce is None:
        return EvidenceOutcome.NONCE_MISSING
    if len(nonce) != NONCE_DIGITS:
        return EvidenceOutcome.NONCE_LENGTH
    return None if set(nonce) <= set(hexdigits) else EvidenceOutcome.NONCE_NOT_HEX


def judge_evidence(status: int, body: bytes) -> Judgement:
    """What the answer to a request for evidence says."""
    if status != _OK:
        return Judgement(outcome=_refusal(status, body[:MAX_REFUSAL_BYTES]))
    try:
        return _accepted(body)
    except _MalformedError:
        return Judgement(outcome=EvidenceOutcome.MALFORMED)


_WORDS: Mapping[int, tuple[tuple[Callable[[str], object], EvidenceOutcome], ...]] = {
    _BAD_REQUEST: (
        (
            re.compile(r"Nonce must be exactly 64 hex characters\b").match,
            EvidenceOutcome.NONCE_LENGTH,
        ),
        (
            re.compile(r"Nonce must be a valid hexadecimal string").fullmatch,
            EvidenceOutcome.NONCE_NOT_HEX,
        ),
        (re.compile(r"Chute \S+ is not TEE-enabled").fullmatch, EvidenceOutcome.NOT_TEE),
        (
            re.compile(r"Instances requires chutes_version >= ").match,
            EvidenceOutcome.VERSION_TOO_OLD,
        ),
    ),
    _NOT_FOUND: ((re.compile(r"Chute not found").fullmatch, EvidenceOutcome.NOT_FOUND),),
    _BAD_GATEWAY: (
        (re.compile(r"Attestation service unavailable\.").match, EvidenceOutcome.UNAVAILABLE),
    ),
}
_BY_CLASS = {4: EvidenceOutcome.REFUSED, 5: EvidenceOutcome.FAILED}


def _refusal(status: int, body: bytes) -> EvidenceOutcome:
    if status == _RATE_LIMITED:
        # Whatever it says, the one thing to do is to ask no more.
        return EvidenceOutcome.RATE_LIMITED
    detail = detail_of(body)
    if status == _UNPROCESSABLE and _nonce_is_missing(detail):
        return EvidenceOutcome.NONCE_MISSING
    if isinstance(detail, str):
        for says, outcome in _WORDS.get(status, ()):
            if says(detail):
                return outcome
    return _BY_CLASS.get(status // 100, EvidenceOutcome.UNEXPECTED)


def _nonce_is_missing(detail: object) -> bool:
    return isinstance(detail, list) and any(
        isinstance(fault, dict)
        and fault.get("type") == "missing"
        and fault.get("loc") == ["query", "nonce"]
        for fault in detail
    )


def _accepted(body: bytes) -> Judgement:
    answer = _object(_parsed(body))
    instances = tuple(_instance(each) for each in _array(answer.get("evidence")))
    failed = tuple(_id(each) for each in _array(answer.get("failed_instance_ids")))
    named = (*instances, *failed)
    if len(set(named)) != len(named):
        # One instance twice would count as two, or as having both failed and not.
        raise _MalformedError
    outcome = EvidenceOutcome.SHAPE_VALID if instances else EvidenceOutcome.NONE
    return Judgement(outcome=outcome, instances=instances, failed=failed)


def _parsed(body: bytes) -> object:
    if body.count(b"{") + body.count(b"[") > MAX_CONTAINERS:
        raise _MalformedError
    try:
        return json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise _MalformedError from None


def _instance(value: object) -> str:
    """The id of an instance whose evidence has the shape."""
    instance = _object(value)
    if not is_tdx_quote(_bytes(instance.get("quote"))):
        raise _MalformedError
    _text(instance.get("certificate"))
    cards = _array(instance.get("gpu_evidence"))
    if not cards:
        raise _MalformedError
    for each in cards:
        card = _object(each)
        for name in ("arch", "certificate", "evidence"):
            _text(card.get(name))
    return _id(instance.get("instance_id"))


def is_tdx_quote(quote: bytes) -> bool:
    """Whether the lengths and kinds are those of a TDX quote, version 4. Says nothing of its truth."""

    def number(start: int, size: int) -> int:
        return int.from_bytes(quote[start : start + size], "little")

    room = len(quote) - _SIGNED_BYTES - _LENGTH_BYTES
    return (
        room > 0
        and number(0, 2) == _QUOTE_VERSION
        and number(2, 2) in _ECDSA_KEYS
        and number(4, 4) == _TDX
        # A quote may be padded at its end.
        and 0 < number(_SIGNED_BYTES, _LENGTH_BYTES) <= room
    )


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _MalformedError
    return value


def _array(value: object) -> list[object]:
    if not isinstance(value, list):
        raise _MalformedError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _MalformedError
    return value


def _id(value: object) -> str:
    text = _text(value)
    if len(text) > MAX_ID_CHARS or not text.isprintable():
        raise _MalformedError
    return text


def _bytes(value: object) -> bytes:
    try:
        return b64decode(_text(value), validate=True)
    except ValueError:
        raise _MalformedError from None
