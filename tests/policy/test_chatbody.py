"""Request bodies: what is read from them, what is refused, and that nothing but `model` ever changes."""

import json
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autopilot.policy.chatbody import MAX_MODEL_CHARS, parse_body
from autopilot.policy.errors import Code, Refusal
from autopilot.policy.jsonspans import MAX_MEMBERS

from .strategies import (
    MODEL_KEYS,
    SpelledBody,
    chat_bodies,
    escaped,
    json_like_bytes,
    json_values,
    model_names,
    steady,
)

CANARY = "sk-canary-7f3a"


def refused(raw: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse_body(raw)
    return caught.value


class Pairs(list[tuple[str, Any]]):
    """One JSON object, duplicates included."""


def naive_reading(raw: bytes) -> Code | str:
    """The model of a body, or why it is refused, by whole objects instead of by spans."""

    def no_constant(constant: str) -> NoReturn:
        raise ValueError(constant)

    try:
        document = json.loads(
            raw.decode("utf-8"),
            parse_int=float,
            parse_constant=no_constant,
            object_pairs_hook=Pairs,
        )
    except ValueError:
        return Code.INVALID_JSON
    if not isinstance(document, Pairs):
        return Code.INVALID_BODY
    models = [value for key, value in document if key == "model"]
    if len(models) > 1:
        return Code.INVALID_BODY
    if models in ([], [None]):
        return Code.MISSING_MODEL
    [model] = models
    if not isinstance(model, str) or not 0 < len(model) <= 1024:
        return Code.INVALID_BODY
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in model):
        return Code.INVALID_BODY
    return model


@steady
@given(body=chat_bodies(), name=model_names)
def test_only_the_model_changes_in_the_bytes(body: SpelledBody, name: str) -> None:
    rewritten = parse_body(body.raw).with_model(name)
    assert rewritten.startswith(body.prefix)
    assert rewritten.endswith(body.suffix)
    value = rewritten[len(body.prefix) : len(rewritten) - len(body.suffix)]
    assert json.loads(value) == name
    assert json.loads(rewritten, parse_int=float)["model"] == name
    again = parse_body(rewritten)
    assert (again.model, again.raw[again.start : again.end]) == (name, value)


@steady
@given(body=chat_bodies())
def test_the_model_and_its_place_are_read_whatever_the_spelling(body: SpelledBody) -> None:
    read = parse_body(body.raw)
    assert read.model == body.model
    assert read.raw == body.raw
    assert (read.start, read.end) == (len(body.prefix), len(body.prefix) + len(body.value))


@steady
@given(body=chat_bodies())
def test_a_stream_is_asked_for_by_true_alone_and_the_last_of_several_counts(
    body: SpelledBody,
) -> None:
    assert parse_body(body.raw).stream is (body.streams[-1:] == ("true",))


@pytest.mark.parametrize("key", MODEL_KEYS)
def test_a_models_key_may_be_escaped(key: str) -> None:
    read = parse_body(f'{{"n":"é",{key}: "a" ,"model ":1}}'.encode())
    assert read.with_model("b") == f'{{"n":"é",{key}: "b" ,"model ":1}}'.encode()


def test_numbers_escapes_and_white_space_stay_as_they_are_spelled() -> None:
    tail = (
        ',"t":1.0,"u":1e400,"v":-0,"w":0.1000000000000000055511151231257827,'
        f'"x":{2**80},"y":{"9" * 60},"z":{"7" * 5000},"s":"\\ud800\\/\\u00e9é\U0001f600",\r\n'
        '\t"messages":[{"model":"in","model":"out"}] , "unknown":{"b":1,"a":2,"b":3}}\n'
    )
    read = parse_body(f' {{ "model"\t:"a"{tail}'.encode())
    assert read.with_model("org/b-TEE") == f' {{ "model"\t:"org/b-TEE"{tail}'.encode()


@steady
@given(raw=json_like_bytes)
@example(raw=b"")
@example(raw=b'{"model"')
@example(raw=b'{"model":')
@example(raw=b'{"model":"a"')
@example(raw=b'{"model":"a",}')
@example(raw=b'{,"model":"a"}')
@example(raw=b'{"model":"a" "b":1}')
@example(raw=b'{"model" "a"}')
@example(raw=b"{model:1}")
@example(raw=b'{"model":"a"}}')
@example(raw=b'{"model":"a"}\x00')
@example(raw=b'{"model":"a"}\x0b')
@example(raw='{"model":"a"}\u00a0'.encode())
@example(raw=b'{"model":"a\nb"}')
@example(raw=b'{"model":"\\ud800"}')
@example(raw=b'{"a":"\\x","model":"a"}')
@example(raw=b'{"a":01,"model":"a"}')
@example(raw=b"{} {}")
@example(raw=b"1 1")
def test_any_bytes_are_read_or_refused_just_as_a_naive_reader_would(raw: bytes) -> None:
    read: Code | str
    try:
        read = parse_body(raw).model or Code.MISSING_MODEL
    except Refusal as refusal:
        read = refusal.code
    assert read == naive_reading(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b'{"model":"a"} x',
        b'{"model":"a"}{"model":"a"}',
        b"<html>",
        b'{"model":"a","t":NaN}',
        b'{"model":"a","t":[Infinity]}',
        b'{"model":"a","t":-Infinity}',
        b"NaN",
        b'{"model":"\xff"}',
        b'\xef\xbb\xbf{"model":"a"}',
        '{"model":"a"}'.encode("utf-16"),
        '{"model":"a"}'.encode("utf-16-le"),
        '{"model":"a"}'.encode("utf-32"),
    ],
)
def test_what_is_no_json_in_utf_8_is_refused(raw: bytes) -> None:
    assert refused(raw).code is Code.INVALID_JSON


@pytest.mark.parametrize("raw", [b"[]", b'"x"', b"null", b"7", b"true", b"1e400", b"9" * 5000])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    refusal = refused(raw)
    assert (refusal.code, refusal.body.param) == (Code.INVALID_BODY, None)


@pytest.mark.parametrize("raw", [b"{}", b" { } \n", b'{"model":null}', b'{"x":{"model":"a"}}'])
def test_a_body_without_a_model_is_refused(raw: bytes) -> None:
    refusal = refused(raw)
    assert (refusal.code, refusal.body.param) == (Code.MISSING_MODEL, "model")


@pytest.mark.parametrize(
    "value",
    [
        *("7", "true", "[]", '["a"]', "{}", "1e400", "3" * 5000, '""'),
        *(r'"a\r\nb"', r'"\u0000"', r'"a\u007f"', r'"\u0085"', f'"{"x" * (MAX_MODEL_CHARS + 1)}"'),
        f'"{"x" * 10_240}"',
    ],
)
def test_a_model_that_is_no_usable_string_is_refused(value: str) -> None:
    refusal = refused(f'{{"model":{value}}}'.encode())
    assert (refusal.code, refusal.body.param) == (Code.INVALID_BODY, "model")


def test_the_longest_model_is_accepted_in_characters_not_bytes() -> None:
    name = "é" * MAX_MODEL_CHARS
    assert MAX_MODEL_CHARS == 1024
    assert parse_body(f'{{"model":"{name}"}}'.encode()).model == name


@pytest.mark.parametrize("first", MODEL_KEYS)
@pytest.mark.parametrize("second", MODEL_KEYS)
def test_two_models_at_the_top_are_refused_however_they_are_spelled(
    first: str, second: str
) -> None:
    for one, two in (("a", "a"), ("a", "b")):
        refusal = refused(f'{{{first}:"{one}","x":1,{second}:"{two}"}}'.encode())
        assert (refusal.code, refusal.body.param) == (Code.INVALID_BODY, "model")


@pytest.mark.parametrize("values", [("null", '"a"'), ('"a"', "null"), ("1", "2")])
def test_two_models_are_refused_even_if_one_is_unusable(values: tuple[str, str]) -> None:
    one, two = values
    assert refused(f'{{"model":{one},"model":{two}}}'.encode()).code is Code.INVALID_BODY


@pytest.mark.parametrize("unit", [b"[", b'{"a":', b'{"model":', b'[{"":'])
@pytest.mark.parametrize("around", [b"%s", b'{"model":"a","x":%s', b'{"model":%s'])
def test_deep_nesting_is_refused_and_at_once(unit: bytes, around: bytes) -> None:
    raw = around % (unit * 100_000)
    started = time.process_time()
    refusal = refused(raw)
    # About 5 ms; the bound leaves room for a machine that is busy with other things.
    assert time.process_time() - started < 0.5
    assert refusal.code is Code.INVALID_BODY
    assert refusal.body.status == 400


def test_nesting_that_ends_properly_is_refused_all_the_same() -> None:
    raw = b'{"model":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert refused(raw).code is Code.INVALID_BODY


@pytest.mark.parametrize("digits", [1, 4300, 4301, 5000, 100_000])
@pytest.mark.parametrize("place", ['{"model":"a","seed":%s}', '{"seed":[-%s],"model":"a"}'])
def test_a_number_may_have_any_number_of_digits(digits: int, place: str) -> None:
    raw = (place % ("7" * digits)).encode()
    assert parse_body(raw).with_model("b") == raw.replace(b'"a"', b'"b"')


def told(refusal: Refusal) -> str:
    """Everything that a log line, an error page or a client could get to see of a refusal."""
    # What caused it holds the whole body, and must not be told with it.
    assert refusal.__cause__ is None
    assert refusal.__suppress_context__ or refusal.__context__ is None
    return "\n".join(
        [
            str(refusal),
            repr(refusal),
            repr(refusal.args),
            repr(refusal.body),
            refusal.body.render().decode(),
            *traceback.format_exception(refusal),
        ]
    )


@pytest.mark.parametrize(
    "raw",
    [
        CANARY,
        f'"{CANARY}"',
        f'["{CANARY}"]',
        f'{{"{CANARY}":1}}',
        f'{{"messages":"{CANARY}"',
        f'{{"messages":"{CANARY}","model":NaN}}',
        f'{{"messages":"{CANARY}","model":null}}',
        f'{{"messages":"{CANARY}","model":7}}',
        f'{{"model":["{CANARY}"]}}',
        f'{{"model":"{CANARY}","model":"{CANARY}"}}',
        f'{{"model":"{CANARY}\\n"}}',
        f'{{"model":"{CANARY * 100}"}}',
        f'{{"{CANARY}":' + "[" * 100_000,
        f'{{"model":"a"}} {CANARY}',
        f'{{"model":"a\\{CANARY}"}}',
    ],
)
def test_no_refusal_tells_a_byte_of_the_body(raw: str) -> None:
    assert CANARY not in told(refused(raw.encode()))


def break_off(raw: bytes, at: int) -> bytes:
    return raw[:at]


def put_in(raw: bytes, at: int) -> bytes:
    return raw[:at] + b"\xff" + raw[at:]


def double(raw: bytes, at: int) -> bytes:
    return raw[:at] + raw[:at] + raw[at:]


@steady
@given(
    value=json_values,
    key=st.sampled_from([*MODEL_KEYS, f'"{CANARY}"', escaped("messages")]),
    damage=st.sampled_from([break_off, put_in, double]),
    place=st.integers(min_value=0, max_value=80),
)
def test_no_refusal_of_a_damaged_body_tells_a_byte_of_it(
    value: str, key: str, damage: Callable[[bytes, int], bytes], place: int
) -> None:
    raw = f'{{"messages":["{CANARY}"],{key}:["{CANARY}",{value}]}}'.encode()
    assert CANARY not in told(refused(damage(raw, place)))


def test_a_thousand_members_are_read_and_not_one_more() -> None:
    body = b'{"model":"a"' + b',"":0' * (MAX_MEMBERS - 1)
    assert parse_body(body + b"}").model == "a"
    with pytest.raises(Refusal) as caught:
        parse_body(body + b',"":0' * 100_000 + b"}")
    assert caught.value.body.code == "invalid_body"
