"""What is cut from a body in routed modes, and that all else stays byte for byte."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.chatbody import MAX_MODELS, MAX_PROVIDER_BYTES, ChatBody, parse_body
from autopilot.policy.errors import Code, Refusal

from .strategies import json_values, model_names, spelled, steady

_SPACE = st.text(alphabet=" \t\n\r", max_size=3)
_KEYS = spelled(
    st.text(alphabet=st.characters(), max_size=6).filter(
        lambda text: text not in {"model", "models", "provider", "stream"}
    )
)
_LISTS = st.lists(spelled(model_names), min_size=1, max_size=3).map(
    lambda names: "[" + " ,".join(names) + "]"
)
_SAID = {
    "model": st.sampled_from(['"a"', '"org/a:tee"', '"模型"', "null"]),
    "models": _LISTS | st.just("null"),
    "provider": json_values,
}
_SPELLINGS = {
    "model": ['"model"', '"mod\\u0065l"'],
    "models": ['"models"', '"\\u006dodels"'],
    "provider": ['"provider"', '"pr\\u006Fvider"'],
}


@dataclass(frozen=True)
class Spelled:
    """A body as text, and its members in their order: keys and values as text."""

    text: str
    members: list[tuple[str, str]]

    def values(self, *names: str) -> list[str]:
        return [value for key, value in self.members if json.loads(key) not in names]


@st.composite
def bodies(draw: st.DrawFn) -> Spelled:
    """Any document with some of `model`, `models` and `provider` among its members, at any place."""
    members = draw(st.lists(st.tuples(_KEYS, json_values), max_size=4))
    for name, values in _SAID.items():
        if draw(st.booleans()):
            member = draw(st.sampled_from(_SPELLINGS[name])), draw(values)
            members.insert(draw(st.integers(0, len(members))), member)
    spaced = [
        f"{draw(_SPACE)}{key}{draw(_SPACE)}:{draw(_SPACE)}{value}{draw(_SPACE)}"
        for key, value in members
    ]
    inner = ",".join(spaced) or draw(_SPACE)
    return Spelled(f"{draw(_SPACE)}{{{inner}}}{draw(_SPACE)}", members)


def read(text: str) -> ChatBody | None:
    """The body; None if it names no model, which is all that can be wrong with one of `bodies`."""
    try:
        return parse_body(text.encode())
    except Refusal as refusal:
        if refusal.code is Code.MISSING_MODEL:
            return None
        raise


class Pairs(list[tuple[str, Any]]):
    """One JSON object, duplicates included."""


def pairs(text: str) -> Any:
    return json.loads(text, parse_int=str, parse_float=str, object_pairs_hook=Pairs)


@steady
@given(body=bodies(), name=model_names)
def test_a_routed_body_is_the_same_less_what_was_said_to_the_router(
    body: Spelled, name: str
) -> None:
    parsed = read(body.text)
    if parsed is None:
        return
    result = parsed.with_model(name).decode()
    before: Pairs = pairs(body.text)
    place = "model" if any(key == "model" for key, _value in before) else "models"
    expected = [
        ("model", name) if key == place else (key, value)
        for key, value in before
        if key == place or key not in {"model", "models", "provider"}
    ]
    assert pairs(result) == expected
    # All other values are as they were spelled, in their order.
    at = 0
    for value in body.values("model", "models", "provider"):
        at = result.index(value, at) + len(value)
    assert parse_body(result.encode()).cuts == ()


@steady
@given(body=bodies(), name=model_names)
def test_only_the_name_changes_in_a_direct_body(body: Spelled, name: str) -> None:
    parsed = read(body.text)
    if parsed is None or parsed.model is None:
        return
    renamed = parsed.renamed(name)
    raw = body.text.encode()
    assert renamed.raw == raw[: parsed.start] + json.dumps(name).encode() + raw[parsed.end :]
    assert renamed == parse_body(renamed.raw)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ('{"models":["a"]}', '{"model": "b"}'),
        ('{ "models" : ["a"] }', '{ "model": "b" }'),
        ('{"provider":{},"model":"a"}', '{"model":"b"}'),
        ('{"model":"a" , "provider":{} }', '{"model":"b" }'),
        ('{"model":"a","models":[], "provider":1}', '{"model":"b"}'),
        (
            '{"é":1 , "models":[] , "model":"a" , "provider":1 , "ü":2}',
            '{"é":1 , "model":"b" , "ü":2}',
        ),
        ('{"provider":1,"models":["a"]}', '{"model": "b"}'),
        ('{"models":["a"],"provider":1}', '{"model": "b"}'),
        ('{"models":["a"],"provider":1,"x":2}', '{"model": "b","x":2}'),
        ('{"x":2,\n"provider":1,\n"models":["a"]}', '{"x":2,\n"model": "b"}'),
        ('{"model":null,"models":["a"]}', '{"model":"b"}'),
        ('{"models":["a"],"model":null,"provider":null}', '{"model":"b"}'),
        (
            '{"x":{"models":1,"provider":2},"model":"a"}',
            '{"x":{"models":1,"provider":2},"model":"b"}',
        ),
    ],
)
def test_one_comma_goes_with_each_member(text: str, result: str) -> None:
    assert parse_body(text.encode()).with_model("b") == result.encode()


@pytest.mark.parametrize("name", ["models", "provider"])
def test_two_of_them_are_refused_as_two_models_are(name: str) -> None:
    for value in ("null", '["a"]'):
        raw = f'{{"model":"a","{name}":{value},"x":1,"{name}":{value}}}'.encode()
        with pytest.raises(Refusal) as caught:
            parse_body(raw)
        assert (caught.value.code, caught.value.body.param) == (Code.INVALID_BODY, name)


@pytest.mark.parametrize(
    "value",
    [
        '"a"',
        "{}",
        "7",
        "true",
        '["a",7]',
        '["a",null]',
        '[""]',
        '["a\\n"]',
        '["%s"]' % ("x" * 1025),
        "[" + ",".join(['"a"'] * (MAX_MODELS + 1)) + "]",
    ],
)
def test_models_that_are_no_list_of_names_are_refused(value: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_body(f'{{"model":"a","models":{value}}}'.encode())
    assert (caught.value.code, caught.value.body.param) == (Code.INVALID_WISH, "models")
    assert "'models'" in caught.value.body.message


def test_models_are_the_list_where_there_is_no_model() -> None:
    for text in ('{"models":["a","b"]}', '{"model":null,"models":["a","b"]}'):
        body = parse_body(text.encode())
        assert (body.model, body.models) == (None, ("a", "b"))
    for text in ('{"models":[]}', '{"models":null}', '{"model":null,"models":[]}'):
        with pytest.raises(Refusal) as caught:
            parse_body(text.encode())
        assert caught.value.code is Code.MISSING_MODEL


@pytest.mark.parametrize("value", ['{"only":["é"]}', "[1,2]", '"x"', "7", "null"])
def test_the_provider_is_read_from_its_place(value: str) -> None:
    body = parse_body(f'{{"é":"é","provider" : {value},"model":"a"}}'.encode())
    assert body.provider == json.loads(value)
    assert body.renamed("模型").provider == json.loads(value)
    assert parse_body(b'{"model":"a"}').provider is None


def test_a_provider_may_hold_a_number_of_any_length() -> None:
    digits = "9" * 5_000
    body = parse_body(f'{{"model":"a,b","provider":{{"only":{digits}}}}}'.encode())
    assert body.provider == {"only": float("inf")}


@pytest.mark.parametrize(
    "value", ['{"only": ["a"], "only": ["b"]}', '{"max_price": {"prompt": 1, "prompt": 2}}']
)
def test_a_provider_that_says_something_twice_is_refused(value: str) -> None:
    body = parse_body(b'{"model": "m,n", "provider": %s}' % value.encode())
    with pytest.raises(Refusal) as caught:
        _ = body.provider
    assert (caught.value.body.code, caught.value.body.param) == ("invalid_wish", "provider")


def test_a_provider_longer_than_any_that_means_something_is_not_read_again() -> None:
    def sent(size: int) -> ChatBody:
        filling = "x" * (size - 2)
        return parse_body(f'{{"model":"a","provider":"{filling}"}}'.encode())

    assert sent(MAX_PROVIDER_BYTES).provider == "x" * (MAX_PROVIDER_BYTES - 2)
    with pytest.raises(Refusal) as caught:
        _ = sent(MAX_PROVIDER_BYTES + 1).provider
    assert (caught.value.code, caught.value.body.param) == (Code.INVALID_WISH, "provider")
