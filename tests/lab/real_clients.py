"""Real clients: the `openai` SDK, both of it, and curl; each asks once, and tells all that it saw.

Nothing is judged here. The SDK is as its user makes it, less its retries, which would ask a second time.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab_bench import PROMPT, TOKEN, chat_body, request_id
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from processes import HOST

from tests.e2e.curl import curl
from tests.e2e.harness import CHAT

_MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": PROMPT}]
_TIMEOUT = 30.0
_TRUST = ssl.create_default_context()
"""Of no use here, but each client would read the trust store anew, which takes longer than to ask."""

_STATUS = re.compile(rb"^status (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurlSaw:
    """What curl wrote, the status it saw, and how it ended."""

    exit_code: int
    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SdkSaw:
    """What the SDK returned, event by event or as one document, and what it raised in the end."""

    objects: list[Mapping[str, Any]]
    raised: Exception | None


Saw = CurlSaw | SdkSaw


def ask_curl(port: int, model: str, *options: str, streams: bool) -> CurlSaw:
    """One run of curl with these options."""
    done = curl(
        "-N",
        *options,
        "-w",
        r"%{stderr}\nstatus %{http_code}\n",
        f"http://{HOST}:{port}{CHAT}",
        send=chat_body(model, stream=streams),
    )
    found = _STATUS.search(done.stderr)
    assert found is not None, done.stderr
    return CurlSaw(exit_code=done.returncode, status=int(found[1]), body=done.stdout)


def sdk(port: int) -> OpenAI:
    """The SDK; many threads may use it."""
    return OpenAI(
        base_url=f"http://{HOST}:{port}/v1",
        api_key=TOKEN + request_id(),
        timeout=_TIMEOUT,
        max_retries=0,
        http_client=DefaultHttpxClient(trust_env=False, verify=_TRUST),
    )


def async_sdk(port: int) -> AsyncOpenAI:
    """The asynchronous SDK, for one event loop."""
    return AsyncOpenAI(
        base_url=f"http://{HOST}:{port}/v1",
        api_key=TOKEN + request_id(),
        timeout=_TIMEOUT,
        max_retries=0,
        http_client=DefaultAsyncHttpxClient(trust_env=False, verify=_TRUST),
    )


def ask_sdk(client: OpenAI, model: str, *, streams: bool) -> SdkSaw:
    """One request, and its answer to the end."""
    objects: list[Mapping[str, Any]] = []
    try:
        if streams:
            with client.chat.completions.create(
                model=model, messages=_MESSAGES, stream=True
            ) as stream:
                for chunk in stream:
                    objects.append(chunk.to_dict())  # noqa: PERF401 - what came before a failure counts
        else:
            answer = client.chat.completions.create(model=model, messages=_MESSAGES)
            objects.append(answer.to_dict())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was seen
        return SdkSaw(objects=objects, raised=error)
    return SdkSaw(objects=objects, raised=None)


async def ask_async_sdk(client: AsyncOpenAI, model: str, *, streams: bool) -> SdkSaw:
    """As `ask_sdk`."""
    objects: list[Mapping[str, Any]] = []
    try:
        if streams:
            stream = await client.chat.completions.create(
                model=model, messages=_MESSAGES, stream=True
            )
            async with stream:
                async for chunk in stream:
                    objects.append(chunk.to_dict())  # noqa: PERF401 - as above
        else:
            answer = await client.chat.completions.create(model=model, messages=_MESSAGES)
            objects.append(answer.to_dict())
    except Exception as error:  # noqa: BLE001 - as above
        return SdkSaw(objects=objects, raised=error)
    return SdkSaw(objects=objects, raised=None)
