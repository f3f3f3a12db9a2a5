"""What evidence is worth: each refusal by its words, each shape by its parts, and never more."""

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.evidence import (
    MAX_CONTAINERS,
    EvidenceOutcome,
    Judgement,
    is_tdx_quote,
    judge_evidence,
    nonce_fault,
)

NONCE = "0123456789abcdefABCDEF0123456789" * 2
SIGNATURE = 64
MISSING = {"type": "missing", "loc": ["query", "nonce"], "msg": "Field required", "input": None}


def quote_bytes(
    *, version: int = 4, key: int = 2, tee: int = 0x81, signature: int = SIGNATURE
) -> bytes:
    head = version.to_bytes(2, "little") + key.to_bytes(2, "little") + tee.to_bytes(4, "little")
    return head.ljust(632, b"\0") + signature.to_bytes(4, "little") + bytes(SIGNATURE)


def instance(name: str = "one", quote: bytes = quote_bytes()) -> dict[str, Any]:
    return {
        "quote": b64encode(quote).decode(),
        "gpu_evidence": [{"arch": "HOPPER", "certificate": "made", "evidence": "up"}],
        "instance_id": name,
        "certificate": "made up",
    }


def outcome(status: int, answer: object) -> EvidenceOutcome:
    return judge_evidence(status, json.dumps(answer).encode()).outcome


def shape(*instances: object, failed: object = ()) -> EvidenceOutcome:
    return outcome(200, {"evidence": instances, "failed_instance_ids": failed})


@pytest.mark.parametrize(
    ("nonce", "fault"),
    [
        (NONCE, None),
        (None, EvidenceOutcome.NONCE_MISSING),
        ("", EvidenceOutcome.NONCE_LENGTH),
        (NONCE[1:], EvidenceOutcome.NONCE_LENGTH),
        (NONCE + "0", EvidenceOutcome.NONCE_LENGTH),
        ("g" + NONCE[1:], EvidenceOutcome.NONCE_NOT_HEX),
        # A digit to Python, not to the platform.
        ("\u0661" + NONCE[1:], EvidenceOutcome.NONCE_NOT_HEX),
    ],
)
def test_a_nonce_is_64_hexadecimal_digits(nonce: str | None, fault: EvidenceOutcome | None) -> None:
    assert nonce_fault(nonce) is fault


@pytest.mark.parametrize(
    ("status", "detail", "expected"),
    [
        (422, [MISSING], EvidenceOutcome.NONCE_MISSING),
        (
            400,
            "Nonce must be exactly 64 hex characters (32 bytes), got 5",
            EvidenceOutcome.NONCE_LENGTH,
        ),
        (400, "Nonce must be a valid hexadecimal string", EvidenceOutcome.NONCE_NOT_HEX),
        (
            400,
            "Chute 00000000-0000-5000-8000-000000000000 is not TEE-enabled",
            EvidenceOutcome.NOT_TEE,
        ),
        (
            400,
            "Instances requires chutes_version >= 0.6.0 to retrieve evidence.",
            EvidenceOutcome.VERSION_TOO_OLD,
        ),
        (404, "Chute not found", EvidenceOutcome.NOT_FOUND),
        (429, "Rate limit exceeded. Try again later.", EvidenceOutcome.RATE_LIMITED),
        (429, "something else", EvidenceOutcome.RATE_LIMITED),
        (
            502,
            "Attestation service unavailable. Try again later.",
            EvidenceOutcome.UNAVAILABLE,
        ),
        # The words of another status, or other words.
        (404, "Nonce must be a valid hexadecimal string", EvidenceOutcome.REFUSED),
        (404, "Not Found", EvidenceOutcome.REFUSED),
        (400, "Chute not found", EvidenceOutcome.REFUSED),
        (422, [{**MISSING, "loc": ["query", "page"]}], EvidenceOutcome.REFUSED),
        (422, [None], EvidenceOutcome.REFUSED),
        (401, "Invalid token.", EvidenceOutcome.REFUSED),
        (500, "Internal Server Error", EvidenceOutcome.FAILED),
        (502, {"message": "Attestation service unavailable."}, EvidenceOutcome.FAILED),
        (503, None, EvidenceOutcome.FAILED),
        (302, None, EvidenceOutcome.UNEXPECTED),
        (204, None, EvidenceOutcome.UNEXPECTED),
    ],
)
def test_a_refusal_is_known_by_its_status_and_its_words(
    status: int, detail: object, expected: EvidenceOutcome
) -> None:
    assert outcome(status, {"detail": detail}) is expected


@pytest.mark.parametrize("body", [b"", b"<html>", b"[", b"\xff", b"[" * 10_000])
def test_a_refusal_without_words_is_known_by_its_class(body: bytes) -> None:
    assert judge_evidence(429, body).outcome is EvidenceOutcome.RATE_LIMITED
    assert judge_evidence(400, body).outcome is EvidenceOutcome.REFUSED
    assert judge_evidence(502, body).outcome is EvidenceOutcome.FAILED


def test_whole_evidence_is_shape_valid_and_says_which_instances_it_is_of() -> None:
    answer = {"evidence": [instance("one"), instance("two")], "failed_instance_ids": ["three"]}
    assert judge_evidence(200, json.dumps(answer).encode()) == Judgement(
        outcome=EvidenceOutcome.SHAPE_VALID, instances=("one", "two"), failed=("three",)
    )


def test_evidence_of_no_instance_is_none() -> None:
    assert shape() is EvidenceOutcome.NONE
    assert shape(failed=["three"]) is EvidenceOutcome.NONE


def test_no_outcome_claims_more_than_a_shape() -> None:
    assert not {"quote-bound", "verified"} & set(EvidenceOutcome)


@pytest.mark.parametrize(
    "quote",
    [
        quote_bytes(version=3),
        quote_bytes(version=5),
        quote_bytes(key=0),
        quote_bytes(tee=0),
        quote_bytes(signature=0),
        quote_bytes(signature=SIGNATURE + 1),
        quote_bytes(signature=2**32 - 1),
        quote_bytes()[:636],
        quote_bytes()[:48],
        b"\x04",
        b"",
    ],
)
def test_what_is_no_tdx_quote_of_version_4_is_malformed(quote: bytes) -> None:
    assert not is_tdx_quote(quote)
    assert shape(instance(quote=quote)) is EvidenceOutcome.MALFORMED
    # One good instance does not make up for it.
    assert shape(instance("one"), instance("two", quote)) is EvidenceOutcome.MALFORMED


def test_a_quote_may_be_padded_and_signed_with_either_curve() -> None:
    assert is_tdx_quote(quote_bytes() + bytes(100))
    assert is_tdx_quote(quote_bytes(key=3))


BREAKS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no quote": lambda one: one.pop("quote"),
    "a quote of another alphabet": lambda one: one.update(quote=one["quote"] + "!"),
    "a quote with line ends": lambda one: one.update(quote=one["quote"][:40] + "\n"),
    "a quote beyond ASCII": lambda one: one.update(quote="\u00e9"),
    "a quote that is a number": lambda one: one.update(quote=4),
    "no certificate": lambda one: one.pop("certificate"),
    "an empty certificate": lambda one: one.update(certificate=""),
    "no cards": lambda one: one.update(gpu_evidence=[]),
    "cards as an object": lambda one: one.update(gpu_evidence={}),
    "a card without evidence": lambda one: one["gpu_evidence"][0].pop("evidence"),
    "a card that is a string": lambda one: one.update(gpu_evidence=["card"]),
    "no id": lambda one: one.pop("instance_id"),
    "an id that is null": lambda one: one.update(instance_id=None),
    "an id with a control character": lambda one: one.update(instance_id="a\nb"),
    "too long an id": lambda one: one.update(instance_id="a" * 257),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_an_instance_without_its_parts_is_malformed(broken: str) -> None:
    one = instance()
    assert shape(one) is EvidenceOutcome.SHAPE_VALID
    BREAKS[broken](one)
    assert shape(one) is EvidenceOutcome.MALFORMED


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "evidence",
        {},
        {"evidence": []},
        {"failed_instance_ids": []},
        {"evidence": {}, "failed_instance_ids": []},
        {"evidence": [None], "failed_instance_ids": []},
        {"evidence": [], "failed_instance_ids": [1]},
        {"detail": "Chute not found"},
        {"evidence": [instance(), instance()], "failed_instance_ids": []},
        {"evidence": [instance()], "failed_instance_ids": ["one"]},
        {"evidence": [], "failed_instance_ids": [], "more": [[]] * MAX_CONTAINERS},
    ],
)
def test_an_answer_without_the_shape_is_malformed(answer: object) -> None:
    assert outcome(200, answer) is EvidenceOutcome.MALFORMED


def test_what_the_platform_may_add_does_no_harm() -> None:
    more = {**instance(), "quote_format": {"v": 4}}
    assert outcome(200, {"evidence": [more], "failed_instance_ids": [], "took": 3}) is (
        EvidenceOutcome.SHAPE_VALID
    )


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[" * 10_000, b"[" * 30_000, b"NaN", b"1e999"])
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    assert judge_evidence(200, body).outcome is EvidenceOutcome.MALFORMED


@given(status=st.integers(100, 599), body=st.binary(max_size=200))
def test_no_answer_raises(status: int, body: bytes) -> None:
    assert judge_evidence(status, body).outcome is not EvidenceOutcome.SHAPE_VALID
