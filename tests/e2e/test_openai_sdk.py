"""The official SDK as the client: what it returns, and what it raises."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.e2e.harness import (
    ALIAS,
    BEST,
    SECOND,
    SELECTED,
    THIRD,
    Router,
    Simulator,
    fresh,
    router,
)

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
TIMEOUT = 20.0


def sdk_for(service: Router, token: str | None = None) -> OpenAI:
    """The SDK as a user would make it, retries included, but for proxies of the environment."""
    return OpenAI(
        base_url=f"{service.url}/v1",
        api_key=token or fresh("token"),
        timeout=TIMEOUT,
        http_client=DefaultHttpxClient(trust_env=False),
    )


@pytest.fixture
def client(service: Router) -> Iterator[OpenAI]:
    with sdk_for(service) as made:
        yield made


@pytest.fixture
def text(client: OpenAI) -> str:
    """What every healthy model says, in one piece."""
    answer = client.chat.completions.create(model=BEST, messages=HELLO)
    content = answer.choices[0].message.content
    assert content
    return content


def test_an_alias_request_gets_one_document(client: OpenAI, text: str) -> None:
    raw = client.chat.completions.with_raw_response.create(model=ALIAS, messages=HELLO)
    answer = raw.parse()
    assert answer.choices[0].message.content == text
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == raw.headers[SELECTED]


def test_a_stream_brings_the_same_text_in_pieces(client: OpenAI, text: str) -> None:
    pieces: list[str] = []
    reasons: list[str] = []
    with client.chat.completions.create(model=ALIAS, messages=HELLO, stream=True) as stream:
        for chunk in stream:
            pieces.append(chunk.choices[0].delta.content or "")
            reasons += filter(None, [chunk.choices[0].finish_reason])
    assert len(list(filter(None, pieces))) > 1
    assert "".join(pieces) == text
    assert reasons == ["stop"]


def test_an_asynchronous_stream_brings_the_same_text(service: Router, text: str) -> None:
    async def ask() -> str:
        async with AsyncOpenAI(
            base_url=f"{service.url}/v1",
            api_key=fresh("token"),
            timeout=TIMEOUT,
            http_client=DefaultAsyncHttpxClient(trust_env=False),
        ) as client:
            stream = await client.chat.completions.create(
                model=f"{SECOND},{BEST}", messages=HELLO, stream=True
            )
            async with stream:
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(ask()) == text


def test_plain_completions_work_too(client: OpenAI, text: str) -> None:
    answer = client.completions.create(model=ALIAS, prompt="hello")
    assert answer.object == "text_completion"
    assert answer.choices[0].text == text


def test_the_model_list_begins_with_the_alias(client: OpenAI) -> None:
    ids = [model.id for model in client.models.list()]
    assert ids[0] == ALIAS
    assert {BEST, SECOND, THIRD} < set(ids)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("model", [ALIAS, BEST])
def test_a_model_is_retrieved_by_an_id_with_a_slash(client: OpenAI, model: str) -> None:
    assert client.models.retrieve(model).id == model


def test_an_unknown_model_is_a_bad_request_that_names_it(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="sim/never-heard-of", messages=HELLO)
    assert caught.value.code == "unknown_model"
    assert caught.value.param == "model"
    assert "sim/never-heard-of" in caught.value.message


def test_a_refused_token_comes_back_in_the_words_of_the_platform(service: Router) -> None:
    with sdk_for(service, "invalid") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model=ALIAS, messages=HELLO)
    assert caught.value.response.json() == {"detail": "Invalid token."}


@pytest.mark.parametrize("model", ["faults/html-429", f"faults/html-429,{BEST}"])
def test_a_rate_limit_page_reaches_the_client_after_a_single_request(
    client: OpenAI, upstream: Simulator, model: str
) -> None:
    assert client.max_retries == 2
    request_id = fresh("limited")
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(
            model=model, messages=HELLO, extra_headers={"x-request-id": request_id}
        )
    assert caught.value.response.headers["content-type"].startswith("text/html")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert upstream.models_asked(request_id) == ["faults/html-429"]


@pytest.mark.parametrize(("fault", "model"), [("reset-mid", SECOND), ("fin-mid", THIRD)])
def test_a_stream_that_breaks_raises_after_the_events_that_came(
    client: OpenAI, upstream: Simulator, text: str, fault: str, model: str
) -> None:
    upstream.set_fault(model, fault)
    request_id = fresh("broken")
    pieces: list[str] = []

    def consume() -> None:
        with client.chat.completions.create(
            model=f"{model},{BEST}",
            messages=HELLO,
            stream=True,
            extra_headers={"x-request-id": request_id},
        ) as stream:
            pieces.extend(chunk.choices[0].delta.content or "" for chunk in stream)

    with pytest.raises(openai.APIError):
        consume()
    assert upstream.models_asked(request_id) == [model]
    came = "".join(pieces)
    assert came
    assert text.startswith(came)
    assert came != text


@pytest.mark.parametrize("fault", ["reset-mid", "fin-mid"])
def test_a_document_that_breaks_raises(client: OpenAI, fault: str) -> None:
    once = client.with_options(max_retries=0)
    with pytest.raises(openai.APIError):
        once.chat.completions.create(model=f"faults/{fault}", messages=HELLO)


def test_failover_is_invisible_but_for_the_header(tmp_path: Path, own_upstream: Simulator) -> None:
    own_upstream.set_fault(BEST, "cold-503")
    own_upstream.set_fault(SECOND, "drop")
    request_id = fresh("failover")
    with router(tmp_path, own_upstream) as service, sdk_for(service) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=ALIAS, messages=HELLO, stream=True, extra_headers={"x-request-id": request_id}
        )
        with raw.parse() as stream:
            chunks = list(stream)
    assert own_upstream.models_asked(request_id) == [BEST, SECOND, THIRD]
    assert raw.headers[SELECTED] == THIRD
    assert {chunk.model for chunk in chunks} == {THIRD}
    assert chunks[-1].choices[0].finish_reason == "stop"
