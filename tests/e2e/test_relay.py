"""What crosses the router, byte for byte, and what becomes of an exchange that is not finished."""

import asyncio
import json
from hashlib import sha256

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tests.e2e.harness import (
    ALIAS,
    BEST,
    SECOND,
    SELECTED,
    THIRD,
    Router,
    Simulator,
    chat,
    eventually,
    fresh,
)

# Every oddity here would be lost in a round trip through objects.
ODD = (
    '{ "temperature" :1e400,\r\n\t"seed":123456789012345678901234567890123456789012345678901234567890,'
    ' "top_p":1.0,"note" : "é \\u00e9 😀 \\ud83d\\ude00 \\ud800 \\/",\t"model"\n:\t %s ,'
    ' "messages":[{"content":"\\"model\\": \\"x\\"","role":"user"}], "model_":"keep",\n'
    ' "metadata":{"model":"a","model":"b"},"max_tokens":1 , "penalty":0.1000000000000000055511151231,'
    ' "stream":false,"zero":-0.0 } \n'
)


def odd_body(model: str) -> bytes:
    return (ODD % model).encode()


@pytest.mark.parametrize(
    ("asked", "routed"),
    [
        (f'"{ALIAS}"', True),
        (f'" faults/cold-503 ,,{SECOND}"', True),
        (f'"{BEST}"', False),
        ('"sim\\/\\u0041lpha-70B-TEE"', False),
    ],
    ids=["alias", "list with failover", "direct", "direct, escaped"],
)
def test_only_the_model_changes_on_the_way_up(
    service: Router,
    upstream: Simulator,
    asked: str,
    routed: bool,  # noqa: FBT001 - a parameter
) -> None:
    request_id = fresh("odd")
    reply = service.post(odd_body(asked), request_id=request_id)
    assert reply.status == 200, reply.body
    entries = upstream.asked(request_id)
    assert entries
    for entry in entries:
        expected = odd_body(f'"{entry["model"]}"' if routed else asked)
        assert entry["body_sha256"] == sha256(expected).hexdigest()
    assert reply.headers.get(SELECTED) == (entries[-1]["model"] if routed else None)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_the_request_goes_to_the_same_path_upstream(
    service: Router, upstream: Simulator, path: str
) -> None:
    request_id = fresh("path")
    body = chat(BEST, max_tokens=1).replace(b'"messages"', b'"prompt":"hello","messages"')
    assert service.post(body, request_id=request_id, path=path).status == 200
    assert [entry["path"] for entry in upstream.asked(request_id)] == [path]


def test_what_has_come_is_passed_on_and_a_client_that_leaves_frees_the_upstream(
    service: Router, upstream: Simulator
) -> None:
    request_id = fresh("leaving")
    with service.stream(chat("faults/stall-mid", stream=True), request_id=request_id) as response:
        # Upstream is silent after half of the answer: what is read here has not been held back.
        assert response.readline().startswith(b"data: {")
        assert [entry["outcome"] for entry in upstream.asked(request_id)] == ["open"]
    assert_client_gone(upstream, request_id)
    service.wait_idle()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
@pytest.mark.parametrize("fault", ["header-stall", "first-byte-stall"])
def test_a_client_that_leaves_before_the_answer_frees_the_upstream(
    service: Router,
    upstream: Simulator,
    fault: str,
    stream: bool,  # noqa: FBT001 - a parameter
) -> None:
    request_id = fresh("early")
    body = chat(f"faults/{fault},{BEST}", stream=stream)
    headers = {"Authorization": "Bearer t", "X-Request-ID": request_id}
    with service.connection() as connection:
        connection.request("POST", "/v1/chat/completions", body, headers)
        eventually(lambda: upstream.asked(request_id) or None, "the request has gone up")
    assert_client_gone(upstream, request_id)
    service.wait_idle()
    assert upstream.models_asked(request_id) == [f"faults/{fault}"]


def assert_client_gone(upstream: Simulator, request_id: str) -> None:
    eventually(
        lambda: [entry["outcome"] for entry in upstream.asked(request_id)] == ["client_gone"],
        "the upstream knows that nobody waits",
    )


def test_fifty_streams_at_once_are_all_whole_and_none_is_mixed_up(service: Router) -> None:
    wanted = [ALIAS, BEST, f"{SECOND},{BEST}", THIRD, f"faults/capacity-429,{THIRD}"] * 10

    async def ask(client: AsyncOpenAI, model: str) -> bytes:
        answering = client.chat.completions.with_streaming_response.create(
            model=model, messages=[{"role": "user", "content": "hello"}], stream=True
        )
        async with answering as response:
            return await response.read()

    async def ask_all() -> list[bytes]:
        async with AsyncOpenAI(
            base_url=f"{service.url}/v1",
            api_key=fresh("token"),
            timeout=30.0,
            max_retries=0,
            http_client=DefaultAsyncHttpxClient(trust_env=False),
        ) as client:
            return await asyncio.gather(*(ask(client, model) for model in wanted))

    answers = asyncio.run(ask_all())
    texts: dict[str, set[str]] = {}
    ids: set[str] = set()
    for answer in answers:
        *events, last = answer.decode().removesuffix("\n\n").split("\n\n")
        assert last == "data: [DONE]"
        chunks = [json.loads(event.removeprefix("data: ")) for event in events]
        (answer_id,) = {chunk["id"] for chunk in chunks}
        (model,) = {chunk["model"] for chunk in chunks}
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
        texts.setdefault(model, set()).add("".join(delta.get("content", "") for delta in deltas))
        ids.add(answer_id)
    assert len(ids) == len(wanted)
    assert len(texts) >= 2
    assert all(len(spoken) == 1 and "" not in spoken for spoken in texts.values())
