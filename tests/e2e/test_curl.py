"""curl as the client: what it gets, and how it says that an answer is not whole."""

import json
from pathlib import Path

import pytest

from tests.e2e.curl import CURL, PARTIAL_FILE, RECEIVE_ERROR, curl
from tests.e2e.harness import ALIAS, BEST, CHAT, MAX_REQUEST_BYTES, ROOMY, Router, chat

pytestmark = pytest.mark.skipif(CURL is None, reason="curl is not installed")


def payloads(body: bytes) -> list[bytes]:
    """What follows `data: ` in a stream that ends with a whole event."""
    assert body.endswith(b"\n\n")
    events = body.removesuffix(b"\n\n").split(b"\n\n")
    assert all(event.startswith(b"data: ") for event in events)
    return [event.removeprefix(b"data: ") for event in events]


@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
def test_a_stream_is_whole_in_either_version_of_http(service: Router, version: str) -> None:
    done = curl("-N", version, service.url + CHAT, send=chat(ALIAS, stream=True))
    assert done.returncode == 0, done.stderr
    *chunks, last = payloads(done.stdout)
    assert last == b"[DONE]"
    assert json.loads(chunks[-1])["choices"][0]["finish_reason"] == "stop"


def test_an_answer_to_http_1_0_is_not_chunked(service: Router) -> None:
    done = curl("-i", "--http1.0", service.url + CHAT, send=chat(ALIAS, stream=True))
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body.startswith(b"data: {")


@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
@pytest.mark.parametrize("fault", ["reset-mid", "fin-mid"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
def test_a_broken_answer_fails_with_what_had_come(
    service: Router,
    version: str,
    fault: str,
    stream: bool,  # noqa: FBT001 - a parameter
) -> None:
    wanted = chat(f"faults/{fault}", stream=stream)
    done = curl("-N", version, service.url + CHAT, send=wanted)
    assert done.returncode in {PARTIAL_FILE, RECEIVE_ERROR}, done.stderr
    assert done.stdout.startswith(b"data: {" if stream else b"{")
    assert b"[DONE]" not in done.stdout


def test_a_large_body_is_sent_once_the_router_says_continue(service: Router) -> None:
    body = chat(ROOMY, prompt="x" * 2_000_000, max_tokens=1)
    # Without "100 Continue" curl would wait longer than it may run, and fail.
    expect = ("-v", "--http1.1", "--expect100-timeout", "60", "-H", "Expect: 100-continue")
    done = curl(*expect, service.url + CHAT, send=body)
    assert done.returncode == 0, done.stderr
    assert b"100 Continue" in done.stderr
    assert json.loads(done.stdout)["model"] == ROOMY


@pytest.mark.parametrize(
    "how",
    [
        ("-H", "Expect: 100-continue", "--expect100-timeout", "60"),
        ("-H", "Expect:"),
        ("-H", "Expect:", "-H", "Transfer-Encoding: chunked"),
    ],
    ids=["asking first", "declared", "chunked"],
)
def test_a_body_over_the_limit_is_refused_in_a_way_that_can_be_read(
    service: Router, how: tuple[str, ...]
) -> None:
    body = chat(BEST, prompt="x" * MAX_REQUEST_BYTES)
    done = curl(*how, "--http1.1", "-w", "\n%{http_code}", service.url + CHAT, send=body)
    answer, _, status = done.stdout.rpartition(b"\n")
    assert status == b"413", done.stderr
    assert json.loads(answer)["error"]["code"] == "request_too_large"


def test_a_body_at_the_limit_is_accepted(service: Router, tmp_path: Path) -> None:
    body = chat("sim/never-heard-of")
    path = tmp_path / "body"
    path.write_bytes(body + b" " * (MAX_REQUEST_BYTES - len(body)))
    done = curl(service.url + CHAT, "--data-binary", f"@{path}")
    assert json.loads(done.stdout)["error"]["code"] == "unknown_model"


def test_head_works_where_get_does(service: Router) -> None:
    done = curl("-I", f"{service.url}/healthz")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().lower().split("\r\n")
    assert lines[0] == "http/1.1 200 ok"
    assert "content-length: 2" in lines
    assert done.stdout.endswith(b"\r\n\r\n")
