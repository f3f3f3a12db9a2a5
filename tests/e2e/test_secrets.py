"""Marked secrets through every path of a real router, and nowhere to be found afterwards."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from socket import create_connection

import pytest

from tests.e2e.harness import (
    ALIAS,
    BEST,
    CHAT,
    HOST,
    SECOND,
    Reply,
    Router,
    Simulator,
    chat,
    ends_broken,
    fields,
    router,
)

TOKEN = "cpk_markedtokenb7e1c0.markeduser55f2"
PROMPT = "marked-prompt-9d41e6"
ADDRESS = "203.0.113.77"
MODEL = "marked/model-3c58"
PAYMENT = "5SimulatedPaymentAddress"
MARKS = (TOKEN, TOKEN.partition("_")[2], sha256(TOKEN.encode()).hexdigest(), PROMPT, ADDRESS)
LIMIT = 65_536
MARKED = {"X-Forwarded-For": f"{ADDRESS}, 10.0.0.1", "X-Real-IP": ADDRESS}


@pytest.fixture
def marked_router(tmp_path: Path, own_upstream: Simulator) -> Iterator[Router]:
    """One that believes the marked address, and says as much as it can."""
    with router(
        tmp_path,
        own_upstream,
        TRUST_PROXY_HEADERS="true",
        TRUSTED_PROXY_CIDRS="127.0.0.0/8",
        LOG_LEVEL="debug",
        MAX_REQUEST_BYTES=str(LIMIT),
        UPSTREAM_FIRST_BODY_BYTE_TIMEOUT_MS="200",
        UPSTREAM_HEADER_TIMEOUT_MS="200",
    ) as running:
        yield running


def test_nothing_secret_is_logged_counted_or_said(marked_router: Router) -> None:
    said = [reply.body.decode() for reply in marked_replies(marked_router) if is_our_own(reply)]
    said += malformed_answers(marked_router)
    break_and_leave(marked_router)
    marked_router.wait_idle()
    assert len(said) > 10

    metrics = marked_router.call("GET", "/metrics").body.decode()
    log = marked_router.log
    for mark in MARKS:
        assert mark not in log
        assert mark not in metrics
        assert not [error for error in said if mark in error], mark
    for mark in (MODEL, PAYMENT):
        assert mark not in log
        assert mark not in metrics
    requests = [line for line in log.splitlines() if '"event": "request"' in line]
    assert len(requests) > 20
    assert not any(HOST in line for line in requests)


def marked_replies(service: Router) -> Iterator[Reply]:
    """The answers to marked requests of every kind that is answered in full."""
    models = [
        *(ALIAS, BEST, f"{BEST},{SECOND}"),
        *(f"faults/{name},{BEST}" for name in ("cold-503", "drop", "empty-200", "error-first")),
        *(f"faults/{name}" for name in ("quota-402", "html-429", "account-429", "capacity-429")),
        *(f"faults/{name}" for name in ("drop", "empty-200", "first-byte-stall", "exhausted-500")),
        *(f"faults/{name}" for name in ("unprocessable-422", "redirect-307", "not-found-404")),
        *(MODEL, f"{BEST},{MODEL}", ",", ",".join(f"m{n}" for n in range(9)), "", "\n"),
    ]
    bodies = [
        chat(model, stream=stream, prompt=PROMPT) for model in models for stream in (False, True)
    ]
    bodies += [
        f'{{"model":"{BEST}","messages":"{PROMPT}",}}'.encode(),
        f'{{"model":"{BEST}","prompt":"{PROMPT}'.encode() + b'\xff"}',
        f'["{PROMPT}"]'.encode(),
        f'{{"prompt":"{PROMPT}"}}'.encode(),
        f'{{"model":["{PROMPT}"]}}'.encode(),
        f'{{"model":"{BEST}","model":"{PROMPT}"}}'.encode(),
        f'{{"model":"{BEST}","prompt":"{PROMPT}","x":NaN}}'.encode(),
        PROMPT.encode() + b"[" * 20_000,
        b'{"model":' + b"[" * 20_000 + PROMPT.encode(),
        chat(BEST, prompt=PROMPT + "x" * LIMIT),
    ]
    for body in bodies:
        yield service.post(body, token=TOKEN, headers=MARKED)
    for method, path in (
        ("POST", f"/{PROMPT}"),
        ("GET", f"/v1/models/{PROMPT}?key={TOKEN}"),
        ("DELETE", f"{CHAT}?key={TOKEN}"),
        ("GET", "//healthz"),
    ):
        yield service.call(method, path, None, fields(TOKEN, None, MARKED))


def is_our_own(reply: Reply) -> bool:
    """Whether it is a refusal in the router's own words; what passes through is not ours."""
    if reply.status < 400 or reply.headers["content-type"] != "application/json":
        return False
    return set(json.loads(reply.body)) == {"error"}


def malformed_answers(service: Router) -> list[str]:
    """What is said to marked requests that are no HTTP."""
    answers = []
    secret = f"Authorization: Bearer {TOKEN}\r\nX-Forwarded-For: {ADDRESS}\r\n".encode()
    for head in (
        b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: h\r\nContent-Length: 1x\r\n",
        b"POST /" + PROMPT.encode() + b" HTTP/1.1\r\nHost: h\r\nno colon\r\n",
        b"GET /" + PROMPT.encode() + b" HTTP/9.9\r\nHost: h\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: \x00" + PROMPT.encode() + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: " + PROMPT.encode() * 2000 + b"\r\n",
    ):
        with create_connection((HOST, service.port), timeout=10) as connection:
            connection.sendall(head + secret + b"\r\n" + PROMPT.encode())
            answers.append(connection.recv(65_536).decode())
    assert any(answers)
    return answers


def break_and_leave(service: Router) -> None:
    """A marked stream that breaks, and one that its client gives up."""
    for model in ("faults/reset-mid", "faults/fin-mid", "faults/stall-mid"):
        with service.connection() as connection:
            body = chat(model, stream=True, prompt=PROMPT)
            connection.request("POST", CHAT, body, fields(TOKEN, None, MARKED))
            response = connection.getresponse()
            assert response.readline().startswith(b"data: {")
            if model != "faults/stall-mid":
                assert ends_broken(response)
            response.close()
