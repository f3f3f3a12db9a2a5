"""What a client may ask for, said by real clients to a real router: the official SDK, and curl."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.e2e.curl import CURL, curl
from tests.e2e.harness import ALIAS, BEST, CHAT, SECOND, SELECTED, THIRD, Router, chat
from tests.e2e.test_openai_sdk import HELLO, sdk_for

CONFIDENTIAL = {BEST, SECOND, "sim/Epsilon-235B-TEE", "sim/Eta-Code-30B-TEE", "sim/Theta-400B-TEE"}
IMAGE: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SEEING = "sim/Delta-VL-24B"


@pytest.fixture
def client(service: Router) -> Iterator[OpenAI]:
    with sdk_for(service) as made:
        yield made


def selected(client: OpenAI, model: str = ALIAS, **more: Any) -> str:
    """The model that answers, by its own word and by the router's."""
    arguments = {"messages": HELLO} | more
    raw = client.chat.completions.with_raw_response.create(model=model, **arguments)
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert raw.headers[SELECTED] == answer.model
    return str(answer.model)


def test_an_alias_may_be_asked_for_confidential_compute(client: OpenAI) -> None:
    assert selected(client, f"{ALIAS}:tee") == BEST
    assert selected(client, f"{THIRD},{ALIAS}:TEE") in CONFIDENTIAL
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=f"{THIRD}:tee", messages=HELLO)
    assert caught.value.code == "impossible_wish"
    assert "tee" in caught.value.message


def test_a_direct_request_with_a_wish_is_understood_by_the_platform(client: OpenAI) -> None:
    for suffixes in (":tee", ":nitro", ":tee:latency", ":cost", ":LATENCY"):
        answer = client.chat.completions.create(model=BEST + suffixes, messages=HELLO)
        assert answer.model == BEST


@pytest.mark.parametrize(
    ("body", "answering"),
    [
        ({"models": [SECOND]}, BEST),
        ({"provider": {"order": [THIRD]}}, THIRD),
        ({"models": [SECOND, THIRD], "provider": {"max_price": {"prompt": 0.15}}}, THIRD),
        ({"models": [THIRD], "provider": {"ignore": [BEST]}}, THIRD),
        ({"provider": {"only": [SEEING, "no-such-maker"]}}, None),
        ({"provider": {"data_collection": "deny"}}, None),
    ],
)
def test_the_members_of_another_router_are_understood(
    client: OpenAI, body: dict[str, object], answering: str | None
) -> None:
    model = BEST if "models" in body else ALIAS
    if answering is not None:
        assert selected(client, model, extra_body=body) == answering
        return
    with pytest.raises(openai.BadRequestError) as caught:
        selected(client, model, extra_body=body)
    assert caught.value.code in {"unknown_model", "invalid_wish"}
    assert str(caught.value.param).startswith("provider")


def test_models_alone_are_a_list(service: Router) -> None:
    with sdk_for(service) as client:
        answer = client.post(
            "/chat/completions",
            cast_to=dict[str, Any],
            body={"models": [SECOND, BEST], "messages": HELLO},
        )
        assert answer["model"] == SECOND


def test_header_fields_say_the_same(client: OpenAI) -> None:
    tee = {"x-chutes-autopilot-require": "tee", "x-chutes-autopilot-max-attempts": "1"}
    assert selected(client, f"{THIRD},{SECOND}", extra_headers=tee) == SECOND
    with pytest.raises(openai.BadRequestError) as caught:
        selected(client, extra_headers={"x-chutes-autopilot-selector": "fastest"})
    assert caught.value.code == "invalid_wish"
    assert "capacity" in caught.value.message


def test_an_image_is_sent_to_a_model_that_sees(client: OpenAI) -> None:
    content = [{"type": "text", "text": "What is it?"}, IMAGE]
    assert selected(client, messages=[{"role": "user", "content": content}]) == SEEING


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
def test_curl_is_told_what_is_wrong_with_a_wish(service: Router) -> None:
    url = service.url + CHAT
    done = curl("-H", "X-Chutes-Autopilot-Mode: fast", url, send=chat(ALIAS))
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["type"]) == ("invalid_wish", "invalid_request_error")
    assert "x-chutes-autopilot-mode" in error["message"]
    done = curl(url, send=chat(ALIAS, provider={"max_price": {"prompt": 0}}))
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "impossible_wish"
    assert "none were left by max_price prompt <= 0" in error["message"]
