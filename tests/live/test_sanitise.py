"""Nothing that was planted comes out: in header fields, JSON of any depth, text, pages, events, URLs."""

import json
import os
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from live_sanitise import PART, Sanitiser, shares_a_part
from live_store import load

from autopilot.policy.catalog import PRIVATE_NAME
from autopilot.policy.evidence import EvidenceOutcome, judge_evidence

FIXTURES = load(Path(__file__).parents[2] / "testdata" / "chutes_live")
KEY = "cpk_fa4e0fa4e1fa4e2fa4e3.fa4e4fa4e5fa4e6.FakeFake0Fake1"
UUID = "6f0c2e5a-1111-4222-8333-9a9b9c9d9e9f"

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
HEX = "0123456789abcdef"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def of(alphabet: str, size: int) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=size, max_size=size)


SECRETS = st.one_of(
    st.just(KEY),
    st.integers(0, len(KEY) - PART).map(lambda at: KEY[at : at + PART]),
    st.builds("cpk_{}.{}.{}".format, of(HEX, 32), of(HEX, 32), of(BASE58, 32)),
    of(BASE58, 24).map("cak_{}".format),
    of(BASE58, 24).map("Bearer {}".format),
    st.builds("{}@{}.test".format, of(LETTERS, 6), of(LETTERS, 6)),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded),
    of(BASE58, 46).map("5F{}".format),
    of(HEX, 40).map("0x{}".format),
    st.uuids().map(str),
    of(HEX, 32),
    st.just("pay to 5FakePaymentAddressForTestsOnly"),
    st.just("the prompt of a user, which nobody else may read"),
)
FIELDS = st.sampled_from(
    [
        "id",
        "name",
        "root",
        "model",
        "chute_id",
        "instance_id",
        "detail",
        "msg",
        "message",
        "content",
        "text",
        "type",
        "role",
        "object",
        "owned_by",
        "finish_reason",
        "timestamp",
        "quote",
        "certificate",
        "evidence",
        "arch",
        "loc",
        "error",
        "metadata",
    ]
)
WORDS = ["Infrastructure is at maximum capacity", "model not found:", "Invalid request:", "stop"]


@st.composite
def nested(draw: st.DrawFn) -> Any:
    """A JSON value with the mark `SECRET` in one string or key of it."""
    before, after = (draw(st.sampled_from(["", " ", "x/", *WORDS])) for _ in range(2))
    value: Any = f"{before}SECRET{after}"
    for _ in range(draw(st.integers(0, 4))):
        match draw(st.sampled_from(["key", "field", "list"])):
            case "key":
                value = {f"{draw(st.sampled_from(['', 'x_']))}SECRET": value}
            case "field":
                value = {draw(FIELDS): value, "created": 1}
            case _:
                value = ["stop", value]
    return value


def planted(value: Any, secret: str) -> Any:
    return json.loads(json.dumps(value).replace("SECRET", json.dumps(secret)[1:-1]))


def assert_gone(kept: bytes, secret: str) -> None:
    text = kept.decode()
    assert secret not in text
    assert quote(secret, safe="") not in text
    assert not shares_a_part(text, KEY)


@given(value=nested(), secret=SECRETS, status=st.sampled_from([200, 400, 402, 429, 503]))
@example(value={"SECRET": "x"}, secret=KEY, status=200)
@example(value={"detail": "Chute SECRET is not TEE-enabled"}, secret=UUID, status=400)
@example(value={"detail": "model not found: SECRET"}, secret=KEY, status=404)
@example(value={"detail": "Free models limit reached, SECRET"}, secret="pay me", status=429)
@example(value={"id": "chatcmpl-SECRET"}, secret="alice", status=200)
@example(value={"id": "x/SECRET"}, secret="127.0.0.1", status=200)
def test_no_secret_is_left_in_json(value: Any, secret: str, status: int) -> None:
    body = json.dumps(planted(value, secret)).encode()
    assert_gone(Sanitiser(KEY).body(status, body), secret)


@given(
    value=nested(), secret=SECRETS, kind=st.sampled_from(["data: ", "data:", "", ": ", "event: "])
)
def test_no_secret_is_left_in_events(value: Any, secret: str, kind: str) -> None:
    document = json.dumps(planted(value, secret))
    for line in (document, document[:-1], secret):
        body = f'data: {{"object":"chunk"}}\r\n\r\n{kind}{line}\n\ndata: [DONE]\n\n'.encode()
        kept = Sanitiser(KEY).body(200, body)
        assert_gone(kept, secret)
        assert kept.startswith(b'data: {"object":"chunk"}\n\n')
        assert kept.endswith(b"\n\ndata: [DONE]\n\n")


PAGE = FIXTURES["chat-edge-429"].body.decode()
TEXTS = [
    "{}",
    "<html>{}</html>",
    PAGE.replace("nginx", "nginx {}"),
    PAGE.replace("429 Too Many Requests", "429 Too Many {}"),
    PAGE + "<!-- {} -->",
    "https://example.test/x?key={}&y=1",
    "{",
    '{"detail": "{}',
]


@given(secret=SECRETS, text=st.sampled_from(TEXTS), status=st.sampled_from([200, 429, 502]))
def test_no_secret_is_left_in_text_pages_and_urls(secret: str, text: str, status: int) -> None:
    for form in (secret, quote(secret, safe="")):
        assert_gone(Sanitiser(KEY).body(status, text.replace("{}", form).encode()), secret)


@given(
    secret=SECRETS,
    name=st.sampled_from(
        [
            "Set-Cookie",
            "Server",
            "Content-Type",
            "Retry-After",
            "Cache-Control",
            "X-Chutes-InvocationID",
            "X-Chutes-Quota-Used",
            "X-Chutes-RL-User",
            "Location",
            "X-Anything",
            "Authorization",
        ]
    ),
    before=st.sampled_from(["", "nginx ", "text/html; charset=", "no-cache, ", "application/"]),
)
def test_no_secret_is_left_in_header_fields(secret: str, name: str, before: str) -> None:
    fields = [
        (name.encode(), f"{before}{secret}".encode()),
        (secret.encode(), b"1"),
        (f"X-{secret}".encode(), secret.encode()),
    ]
    assert_gone(json.dumps(Sanitiser(KEY).headers(fields)).encode(), secret)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[" * 100_000, b'{"a":1e999}', b"", b"0", b"null"])
def test_odd_bodies_are_survived(body: bytes) -> None:
    kept = Sanitiser(KEY).body(200, body)
    assert kept in {b"", b"[text]", b'{"a":Infinity}'}


def test_a_balance_in_a_refusal_is_no_longer_there() -> None:
    body = b'{"detail":{"message":"pay 5","balance":-12.34,"account":987654}}'
    assert json.loads(Sanitiser(KEY).body(402, body)) == {
        "detail": {"message": "[text]", "balance": 0, "account": 0}
    }


@pytest.mark.parametrize(
    "value",
    [
        {"error": {"message": "no balance", "left": 12.34, "code": 4711}},
        {"detail": [{"left": 4711}]},
        {"user_id": 4711, "account": 12.34, "Phone": 4711, "x_balance": [12.34]},
        {"usage": {"quota_left": 4711}},
    ],
)
@pytest.mark.parametrize("form", ["{}", "data: {}\n\n", "data: [DONE]\n\n{}"])
def test_a_number_that_may_be_an_account_is_not_kept_in_a_200_either(value: Any, form: str) -> None:
    kept = Sanitiser(KEY).body(200, form.replace("{}", json.dumps(value)).encode())
    assert b"4711" not in kept
    assert b"12.34" not in kept


def test_a_bare_number_is_no_event() -> None:
    kept = Sanitiser(KEY).body(200, b'data: {"object":"x"}\n\n4111111111111111\n\ndata: 4711\n\n')
    assert b"4" not in kept


def test_an_id_becomes_the_same_other_id_throughout_a_run_and_another_in_the_next() -> None:
    body = json.dumps([{"chute_id": UUID}, {"detail": f"Chute {UUID} is not TEE-enabled"}]).encode()
    first = json.loads(Sanitiser(KEY).body(200, body))
    new = first[0]["chute_id"]
    assert first[1] == {"detail": f"Chute {new} is not TEE-enabled"}
    assert json.loads(Sanitiser(KEY).body(200, body))[0]["chute_id"] not in {UUID, new}


# Ids are replaced, and texts written by hand are not the platform's.
CHANGED = {
    "catalogue",
    "utilization",
    "chat-cold-503",
    "chat-403",
    "chat-500",
    "chat-text-402",
    "chat-object-402",
    "chat-model-404",
    "evidence-not-tee",
    "evidence-shape-valid",
}


@pytest.mark.parametrize("name", sorted(set(FIXTURES) - CHANGED))
def test_what_is_harmless_is_kept_to_the_byte(name: str) -> None:
    fixture = FIXTURES[name]
    if fixture.captured_at is None:
        assert Sanitiser(KEY).body(fixture.status, fixture.body) == fixture.body


def test_the_figures_and_names_of_the_feeds_are_kept() -> None:
    for name in ("catalogue", "utilization"):
        before = json.loads(FIXTURES[name].body)
        after = json.loads(Sanitiser(KEY).body(200, FIXTURES[name].body))
        for old, new in zip(_rows(before), _rows(after), strict=True):
            assert list(old) == list(new)
            assert {key: new[key] for key in old if key != "chute_id"} == {
                key: old[key] for key in old if key != "chute_id"
            }
    assert PRIVATE_NAME in {row["name"] for row in _rows(after)}


def test_of_the_captured_feeds_only_ids_and_one_name_that_holds_one_are_replaced() -> None:
    folder = os.environ.get("AUTOPILOT_CAPTURES")
    if not folder or not (Path(folder) / "utilization_2026-02-18.json").is_file():
        pytest.skip("AUTOPILOT_CAPTURES does not name a folder with the feeds of 2026-02-18")
    for feed, named in (("models", 61), ("utilization", 538)):
        body = (Path(folder) / f"{feed}_2026-02-18.json").read_bytes()
        after = _rows(json.loads(Sanitiser(KEY).body(200, body)))
        changed = [
            key
            for old, new in zip(_rows(json.loads(body)), after, strict=True)
            for key in old
            if old[key] != new[key] and key != "permission"
        ]
        assert changed.count("chute_id") == named
        assert len(changed) <= named + 1


def _rows(document: Any) -> Any:
    return document["data"] if isinstance(document, dict) else document


def test_evidence_keeps_its_shape_and_nothing_of_what_it_says() -> None:
    answer = json.loads(FIXTURES["evidence-shape-valid"].body)
    said = bytes(range(1, 251))
    quoted = (b"\x04\0\x02\0\x81\0\0\0" + said * 3)[:632] + (64).to_bytes(4, "little") + said
    answer["evidence"][0]["quote"] = b64encode(quoted).decode()
    kept = Sanitiser(KEY).body(200, json.dumps(answer).encode())
    assert judge_evidence(200, kept).outcome is EvidenceOutcome.SHAPE_VALID
    bare = json.loads(kept)["evidence"][0]["quote"]
    assert (
        bare
        == b64encode(
            (b"\x04\0\x02\0\x81\0\0\0").ljust(632, b"\0")
            + (64).to_bytes(4, "little")
            + bytes(len(quoted) - 636)
        ).decode()
    )


@pytest.mark.parametrize(
    ("text", "secret", "shared"),
    [
        ("", KEY, False),
        (KEY, "", False),
        (KEY[:7], KEY, False),
        (KEY[:8], KEY, True),
        ("x" + KEY[-8:].upper(), KEY, True),
        ("a short one", "short", True),
        ("a shor t one", "short", False),
    ],
)
def test_a_part_is_eight_characters_in_a_row(text: str, secret: str, *, shared: bool) -> None:
    assert shares_a_part(text, secret) is shared
