"""What is not HTTP/1.1 gets a refusal in OpenAI's shape and a closed connection, and reaches nobody."""

import pytest

from autopilot.testing import FakeResponse
from autopilot.web.channel import LINGER_SECONDS
from tests.web.harness import ALIAS, CHAT, Bench, assert_refused, chat, head, post

START = b"POST /v1/chat/completions HTTP/1.1\r\nHost: router.test\r\n"

MALFORMED = {
    "no request line": b"garbage\r\n\r\n",
    "four words": b"GET / / HTTP/1.1\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\n\r\n",
    "another version": b"GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "a method that is no token": b"G\xc3\xa9T /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target that is not ASCII": b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "a field without a colon": START + b"Nonsense\r\n\r\n",
    "a space before the colon": START + b"X-Field : x\r\n\r\n",
    "a field without a name": START + b": x\r\n\r\n",
    "a NUL in a value": START + b"X-Field: a\0b\r\n\r\n",
    "a CR in a value": START + b"X-Field: a\rb\r\n\r\n",
    "two equal lengths": START + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths": START + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and a coding": START
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding and a length": START
    + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "a negative length": START + b"Content-Length: -1\r\n\r\n",
    "a signed length": START + b"Content-Length: +2\r\n\r\n{}",
    "a hexadecimal length": START + b"Content-Length: 0x2\r\n\r\n{}",
    "an empty length": START + b"Content-Length:\r\n\r\n",
    "a list of lengths": START + b"Content-Length: 2, 2\r\n\r\n{}",
    "an unknown coding": START + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "two codings": START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a chunk size that is no number": START + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}",
    "a signed chunk size": START + b"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n",
    "a chunk without its end": START + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n",
    "bare line feeds": START.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}\r\n\r\n",
}


def assert_bad(bench: Bench, request: bytes, *, split: bool) -> None:
    client = bench.client()
    client.send(*([bytes([byte]) for byte in request] if split else [request]))
    assert_refused(client.answer(), 400, "bad_request")
    assert client.answer().header("connection") == ["close"]
    assert len(client.answer().header("x-request-id")) == 1
    assert client.wire.half_closed
    client.send(head("GET", "/healthz"), post(chat(ALIAS)))
    assert_refused(client.answer(), 400, "bad_request")
    bench.clock.advance(LINGER_SECONDS)
    assert client.wire.aborted
    assert bench.posted == []


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_http_is_refused_and_the_connection_closed(kind: str) -> None:
    with Bench() as bench:
        assert_bad(bench, MALFORMED[kind], split=False)
        assert_bad(bench, MALFORMED[kind], split=True)


@pytest.mark.parametrize("number", [101, 600])
def test_too_many_fields_are_refused(number: int) -> None:
    with Bench() as bench:
        client = bench.client().send(head("GET", "/healthz", [("X-Field", "x")] * number))
        assert_refused(client.answer("GET"), 431, client.answer("GET").code)
        assert client.wire.half_closed


def test_fields_of_too_many_bytes_are_refused() -> None:
    with Bench() as bench:
        client = bench.client().send(head("GET", "/healthz", [("X-Field", "x" * 1000)] * 20))
        assert_refused(client.answer("GET"), 431, client.answer("GET").code)
        assert client.wire.half_closed


def test_a_malformed_request_after_a_good_one_is_refused_after_its_answer() -> None:
    with Bench(FakeResponse().send(b"answer").end()) as bench:
        client = bench.client().ask(ALIAS)
        assert client.answer().body == b"answer"
        client.wire.clear()
        client.send(b"garbage\r\n\r\n")
        assert_refused(client.answer(), 400, "bad_request")
        assert len(bench.posted) == 1


def test_a_malformed_request_behind_an_open_answer_does_not_disturb_it() -> None:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        client = bench.client().send(post(chat(ALIAS)) + b"garbage\r\n\r\n")
        upstream.send(b" second").end()
        client.turns()
        raw = client.received
        end = raw.index(b"0\r\n\r\n") + 5
        assert b"first" in raw[:end]
        assert b"second" in raw[:end]
        assert raw[end:].startswith(b"HTTP/1.1 400 ")
        assert client.wire.half_closed


def test_a_silent_connection_is_closed_after_a_while() -> None:
    with Bench() as bench:
        client = bench.client()
        bench.clock.advance(9.9)
        assert not client.wire.closing
        bench.clock.advance(0.2)
        assert client.wire.closing
        assert client.received == b""
        client.settle()


def test_an_answer_that_takes_long_is_not_taken_for_silence() -> None:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        bench.clock.advance(119.0)
        assert not client.wire.closing
        upstream.end()
        assert client.answer().whole


def test_a_field_line_of_many_segments_is_read_as_one() -> None:
    request = head("GET", "/healthz", [("X-Field", "x" * 500)])
    with Bench() as bench:
        client = bench.client().send(*[bytes([byte]) for byte in request])
        assert client.answer("GET").status == 200
        assert CHAT.encode() not in client.received
