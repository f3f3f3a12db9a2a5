"""What a body shows of a request's needs: sizes, abilities, parameters, and who is speaking."""

import json
from typing import Any

import pytest
from hypothesis import given

from autopilot.policy.chatbody import ChatBody, parse_body
from autopilot.policy.conversation import MAX_SESSION_CHARS, MOST_READ, MOST_TOKENS
from autopilot.policy.needs import Needs

from .strategies import json_values, steady

URL = "data:image/png;base64," + "A" * 4000


def read(**members: Any) -> ChatBody:
    return parse_body(json.dumps({"model": "a"} | members, ensure_ascii=False).encode())


def needs(**members: Any) -> Needs:
    return read(**members).needs


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_of_a_body_without_a_prompt_nothing_is_needed() -> None:
    assert needs() == Needs()
    nulls = needs(messages=None, tools=None, response_format=None, stop=None, user=None)
    # Two nulls are eight bytes.
    assert nulls == Needs(prompt_tokens=2)


@pytest.mark.parametrize("text", ["x" * 3000, "模型" * 500, '"' * 1500])
def test_a_prompt_is_measured_by_its_bytes_in_the_body(text: str) -> None:
    for members in ({"prompt": text}, {"messages": [user(text)]}, {"messages": text}):
        [(_, value)] = members.items()
        size = len(json.dumps(value, ensure_ascii=False).encode())
        assert needs(**members).prompt_tokens == size // 3
        # Where it stands, and what is around it, does not matter.
        around = needs(before="é" * 9000, **members, after="é" * 9000)
        assert around.prompt_tokens == size // 3


@steady
@given(messages=json_values, prompt=json_values, before=json_values)
def test_any_prompt_is_measured(messages: str, prompt: str, before: str) -> None:
    raw = f'{{"b":{before},"model":"a","messages":{messages}, "prompt" : {prompt} }}'.encode()
    found = parse_body(raw).needs
    assert found.prompt_tokens == len((messages + prompt).encode()) // 3
    assert 0 <= found.prefix_tokens <= found.prompt_tokens


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": URL}},
        {"type": "image_url", "image_url": URL},
        {"type": "input_image", "image_url": URL},
    ],
)
def test_an_image_is_seen_and_its_data_is_no_text(part: dict[str, object]) -> None:
    texts = [{"type": "text", "text": "What is in it?"}, {}, 7, {"type": None}]
    plain = needs(messages=[user(texts)])
    found = needs(messages=[user("hello"), user([part, *texts]), user("hello")])
    assert (plain.images, found.images) == (False, True)
    assert found.prompt_tokens < 200


def test_an_image_elsewhere_is_not_one() -> None:
    assert not needs(messages=[user("image_url"), {"type": "image_url"}]).images
    assert needs(messages=[user([{"type": "image_url", "image_url": "https://x.test/1"}])]).images


def test_a_long_name_of_a_picture_is_text() -> None:
    link = [{"type": "image_url", "image_url": {"url": "https://x.test/" + "a" * 3000}}]
    assert needs(messages=[user(link)]).prompt_tokens > 1000


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"tools": [{"type": "function"}]}, True),
        ({"functions": [{"name": "f"}]}, True),
        ({"tools": []}, False),
        ({"tools": [], "functions": [1]}, True),
        ({"tools": {"a": 1}}, False),
        ({"tool_choice": "auto"}, False),
    ],
)
def test_tools_are_needed_where_there_are_any(members: dict[str, Any], *, expected: bool) -> None:
    assert needs(**members).tools is expected


def test_the_definitions_of_tools_are_part_of_the_prompt() -> None:
    tools = [{"type": "function", "function": {"description": "x" * 3000}}]
    size = len(json.dumps(tools))
    assert needs(tools=tools).prompt_tokens == size // 3
    history = [user("a"), {"role": "assistant", "content": "b"}]
    both = needs(functions=tools, messages=history)
    assert both.prompt_tokens == both.prefix_tokens == (size + len(json.dumps(history))) // 3
    assert needs(tools=tools, messages=[user("a")]).prefix_tokens == 0


@pytest.mark.parametrize(
    ("format_", "structured", "json_mode"),
    [
        ({"type": "json_schema", "json_schema": {}}, True, False),
        ({"type": "json_object"}, False, True),
        ({"type": "text"}, False, False),
        ({"type": ["json_schema"]}, False, False),
        ("json_schema", False, False),
    ],
)
def test_the_form_of_an_answer_is_what_is_asked_for(
    format_: object, *, structured: bool, json_mode: bool
) -> None:
    found = needs(response_format=format_)
    assert (found.structured, found.json_mode) == (structured, json_mode)


@pytest.mark.parametrize(
    ("members", "tokens"),
    [
        ({"max_tokens": 100}, 100),
        ({"max_completion_tokens": 7.5}, 7),
        ({"max_tokens": 100, "max_completion_tokens": 200}, 200),
        ({"max_tokens": 200, "max_completion_tokens": None}, 200),
        ({"max_tokens": -1}, 0),
        ({"max_tokens": "100"}, 0),
        ({"max_tokens": True}, 0),
        ({"max_tokens": 10**400}, MOST_TOKENS),
    ],
)
def test_the_length_of_the_answer_is_the_most_that_is_asked_for(
    members: dict[str, Any], tokens: int
) -> None:
    assert needs(**members).completion_tokens == tokens


def test_the_prefix_ends_with_the_last_answer() -> None:
    answer = {"role": "assistant", "content": "b" * 3000}
    history = [user("a" * 3000), answer]
    assert needs(messages=[user("a" * 3000)]).prefix_tokens == 0
    for since in ([], [user("c" * 600)], [user("模" * 200)], [user([{"text": "c" * 600}])]):
        found = needs(messages=[*history, *since])
        whole = len(json.dumps(history)) // 3
        assert whole <= found.prefix_tokens <= whole + 20
        assert (found.prompt_tokens >= whole + 200) is bool(since)


@pytest.mark.parametrize("in_one_message", [False, True])
def test_what_came_before_very_many_messages_or_parts_is_not_looked_at(
    *, in_one_message: bool
) -> None:
    image = {"type": "image_url", "image_url": {"url": URL}}

    def last(number: int) -> Needs:
        filling: list[dict[str, Any]] = [{"text": "b"}] * number
        many = [user(filling)] if in_one_message else [user("b")] * number
        return needs(messages=[{"role": "assistant", "content": [image]}, *many])

    within, beyond = last(MOST_READ - 3), last(MOST_READ + 1)
    assert within.images
    assert within.prefix_tokens > 0
    assert not beyond.images
    assert beyond.prefix_tokens == 0
    assert beyond.prompt_tokens > within.prompt_tokens


def test_parameters_are_those_of_sampling_that_are_set() -> None:
    found = needs(
        temperature=0, top_k=None, seed=7, stop=["x"], messages=[], frobnicate=1, user="u"
    )
    assert found.parameters == {"temperature", "seed", "stop"}


def test_of_repeated_members_the_last_counts() -> None:
    raw = b'{"model":"a","max_tokens":5,"max_tokens":9,"tools":[1],"tools":[],"seed":1,"seed":null}'
    assert parse_body(raw).needs == Needs(completion_tokens=9)


@pytest.mark.parametrize(
    ("members", "session"),
    [
        ({}, None),
        ({"user": "u"}, "u"),
        ({"user": "u", "session_id": "s"}, "s"),
        ({"user": "u", "session_id": "s", "prompt_cache_key": "p"}, "p"),
        ({"user": "u", "session_id": "", "prompt_cache_key": 7}, "u"),
        ({"user": "u" * MAX_SESSION_CHARS}, "u" * MAX_SESSION_CHARS),
        ({"user": "u" * (MAX_SESSION_CHARS + 1)}, None),
        ({"metadata": {"user": "u"}}, None),
    ],
)
def test_a_session_is_known_by_the_first_usable_key(
    members: dict[str, Any], session: str | None
) -> None:
    assert read(**members).session == session
