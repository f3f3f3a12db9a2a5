"""Behaviours that were found missing when the tests of this room were written."""

import pytest
from twisted.python import log
from twisted.python.failure import Failure

from autopilot.policy.ending import BodyEnd
from autopilot.testing import FakeResponse
from autopilot.web.downstream import RequestDownstream
from tests.web.harness import (
    ALIAS,
    CHAT,
    PEER,
    Bench,
    Client,
    assert_refused,
    chat,
    head,
    post,
    read_answers,
)

START = b"POST /v1/chat/completions HTTP/1.1\r\nHost: router.test\r\n"


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("GET", CHAT)])
def test_a_refusal_of_a_route_finishes_its_request_once(method: str, path: str) -> None:
    """Klein finishes it again: it has not registered for notifyFinish when the match fails."""
    with Bench() as bench:
        bench.call(head(method, path), method)
        assert "finish called twice" not in bench.log.getvalue()


@pytest.mark.parametrize(
    "path", ["/v1/models/", "/healthz/", "/readyz/", "/metrics/", f"{CHAT}/", "/v1/completions/"]
)
def test_a_trailing_slash_is_another_path(path: str) -> None:
    method = "POST" if "completions" in path else "GET"
    with Bench() as bench:
        assert_refused(bench.call(post(b"{}", path=path, method=method), method), 404, "not_found")


@pytest.mark.parametrize("path", ["//v1/models", "//healthz", f"/{CHAT}"])
def test_a_doubled_slash_at_the_start_is_another_path(path: str) -> None:
    method = "POST" if "completions" in path else "GET"
    with Bench() as bench:
        assert_refused(bench.call(post(b"{}", path=path, method=method), method), 404, "not_found")


@pytest.mark.parametrize("method", ["OPTIONS", "GET"])
def test_the_asterisk_is_no_path(method: str) -> None:
    """Twisted answers it by itself, without our shape and with its own name in `Server`."""
    with Bench() as bench:
        answer = bench.call(head(method, "*"), method)
        assert answer.header("server") == ["chutes-autopilot"]
        assert answer.status in {404, 405}
        assert_refused(answer, answer.status, answer.code)


@pytest.mark.parametrize("target", [b"http://other.test/healthz", b"https://a:1/healthz"])
def test_an_absolute_target_is_its_path(target: bytes) -> None:
    with Bench() as bench:
        answer = bench.call(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n", "GET")
        assert (answer.status, answer.body) == (200, b"ok")


@pytest.mark.parametrize("target", [b"/v1/%ff", b"/v1/\x80", b"/v1/models/%c3"])
def test_a_target_that_is_not_utf8_is_refused_in_our_shape(
    target: bytes, lost_errors: list[Failure]
) -> None:
    """Klein answers in plain text and logs a traceback, at will of the client."""
    with Bench() as bench:
        answer = bench.call(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n", "GET")
        assert answer.status in {400, 404}
        assert answer.header("content-type") == ["application/json"]
        assert "Traceback" not in bench.log.getvalue()
    assert not lost_errors


@pytest.mark.parametrize("host", [b"\xff", b"a/..//@b"])
@pytest.mark.parametrize("line", [b"GET /healthz", b"POST /v1/chat/completions"])
def test_a_host_that_is_none_is_refused_in_our_shape(
    line: bytes, host: bytes, lost_errors: list[Failure]
) -> None:
    """Klein answers in plain text, or werkzeug raises BadHost: then the client gets 500 and HTML."""
    with Bench() as bench:
        request = line + b" HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 2\r\n\r\n{}"
        answer = bench.call(request, "GET")
        seen = list(lost_errors)
        lost_errors.clear()
        assert_refused(answer, 400, "bad_request")
        assert not seen


@pytest.mark.parametrize("host", [b"a" * 64, b".a"])
def test_a_host_that_no_resolver_would_take_is_not_a_fault_of_ours(host: bytes) -> None:
    """It is a name by its syntax (RFC 3986 section 3.2.2), but werkzeug cannot encode it."""
    with Bench() as bench:
        answer = bench.call(b"GET /healthz HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", "GET")
        assert answer.status in {200, 400}


REQUEST_WITH_BARE_LF = START.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}"
REFUSED_BY_RFC_9112 = {
    "no Host": b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    "two Hosts": START + b"Host: other.test\r\nContent-Length: 2\r\n\r\n{}",
    "a folded field": START + b"X-Field: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "a coding in HTTP/1.0": START.replace(b"1.1", b"1.0")
    + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "the identity coding": START + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
    "lines that end in LF": REQUEST_WITH_BARE_LF,
    "one line that ends in LF": START + b"X-A: b\nContent-Length: 2\r\n\r\n{}",
    "a length of 5000 digits": START + b"Content-Length: " + b"1" * 5000 + b"\r\n\r\n{}",
}


@pytest.mark.parametrize("kind", REFUSED_BY_RFC_9112)
def test_what_rfc_9112_refuses_is_refused(kind: str) -> None:
    with Bench() as bench:
        client = bench.client().send(REFUSED_BY_RFC_9112[kind])
        assert client.received
        assert_refused(client.answer(), 400, "bad_request")
        assert client.wire.half_closed


LONG = b"x" * 20_000
GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize("before", [b"", GET + b"\r\n"], ids=["first", "second"])
@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"GET /" + LONG + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "uri_too_long"),
        (b"GET /" + LONG, 414, "uri_too_long"),
        (b"GET /?" + LONG, 414, "uri_too_long"),
        (GET + b"X-Field: " + LONG + b"\r\n\r\n", 431, "headers_too_large"),
        (GET + b"X-Field: " + LONG, 431, "headers_too_large"),
        (GET + LONG, 431, "headers_too_large"),
    ],
)
def test_a_line_that_is_too_long_is_refused_for_what_it_is(
    request_bytes: bytes, status: int, code: str, before: bytes
) -> None:
    """LineReceiver closes without an answer."""
    with Bench() as bench:
        client = bench.client().send(before, request_bytes)
        answers = read_answers(client.received, ["GET"] * (2 if before else 1))
        assert_refused(answers[-1], status, code)
        assert client.wire.half_closed


def test_more_than_a_hundred_fields_are_too_many() -> None:
    with Bench() as bench:
        client = bench.client().send(head("GET", "/healthz", [("X-Field", "x")] * 101))
        assert client.answer().status in {400, 431}


def test_a_204_has_no_length() -> None:
    """RFC 9110 section 8.6; the client library gives a 204 the length 0."""
    with Bench(FakeResponse(204, length=0).end()) as bench:
        answer = bench.call(post(chat("org/one")))
        assert (answer.status, answer.header("content-length")) == (204, [])


def test_a_client_that_sends_junk_amid_its_answer_is_cut_off() -> None:
    """Beyond 16 KiB Twisted stops reading, and then a client that leaves is not noticed any more."""
    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        client.send(b"x" * 17_000)
        assert client.wire.closing


def test_an_exception_after_commit_closes_upstream_too(
    monkeypatch: pytest.MonkeyPatch, lost_errors: list[Failure]
) -> None:
    def fail(_downstream: RequestDownstream, _data: bytes) -> None:
        raise RuntimeError("a write failed")

    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        monkeypatch.setattr(RequestDownstream, "write", fail)
        bench.client().ask(ALIAS).settle()
        lost_errors.clear()
        assert upstream.aborted


def test_an_exception_just_before_commit_closes_upstream_too(
    monkeypatch: pytest.MonkeyPatch, lost_errors: list[Failure]
) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("the code is wrong")

    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        monkeypatch.setattr("autopilot.dataplane.engine.downstream_fields", fail)
        bench.client().ask(ALIAS)
        lost_errors.clear()
        assert upstream.aborted


def test_the_text_of_an_error_logged_the_old_way_is_not_written(
    lost_errors: list[Failure],
) -> None:
    """Klein and others say log.err: the log then has the exception's text, which may hold a body."""
    with Bench() as bench:
        log.err(Failure(ValueError("canary")), "Unhandled Error")
        assert "Unhandled" in bench.log.getvalue() or "ValueError" in bench.log.getvalue()
        assert "canary" not in bench.log.getvalue()
    lost_errors.clear()


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("seconds", [[76.0], [76.0, 16.0]])
def test_the_address_of_an_idle_client_is_not_logged(style: str, seconds: list[float]) -> None:
    """autopilot.logs names HTTPChannel, but Twisted's Logger takes the name of our subclass."""
    with Bench(log_style=style) as bench:
        bench.client()
        bench.clock.pump(seconds)
        assert PEER not in bench.log.getvalue()


def gone(bench: Bench, client: Client) -> None:
    """The client leaves; in the turn in which this is noticed everything is over."""
    client.hang_up()
    assert not bench.clock.getDelayedCalls()
    assert bench.in_progress == 0
    assert bench.ends == ["cut"]


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("status", [200, 400])
def test_amid_the_answer_it_is_aborted(status: int, *, paused: bool) -> None:
    upstream = FakeResponse(status).send(b"first")
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        if paused:
            client.fill()
            assert upstream.paused
        gone(bench, client)
        assert upstream.aborted
        assert len(bench.posted) == 1
        assert bench.count("autopilot_stream_ends_total", end="client_gone") == 1.0
        assert bench.count("autopilot_stream_ends_total", end="upstream_broken") == 0.0
        assert bench.lines()[-1]["end"] == "client_gone"


def test_what_upstream_sends_after_that_goes_nowhere() -> None:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        seen = client.received
        gone(bench, client)
        upstream.send(b"second").end(BodyEnd.BROKEN)
        assert client.received == seen
        assert bench.count("autopilot_stream_ends_total", end="client_gone") == 1.0
        assert bench.count("autopilot_stream_ends_total", end="upstream_broken") == 0.0
        assert len(bench.lines()) == 1


def test_a_client_gone_amid_pipelined_requests_starts_none_of_the_others() -> None:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        client = bench.client().send(post(chat(ALIAS)) + post(chat(ALIAS)) + head("GET", "/"))
        client.hang_up()
        assert upstream.aborted
        assert len(bench.posted) == 1


def test_the_answers_to_pipelined_requests_wait_for_a_client_that_does_not_read() -> None:
    """Twisted goes on to answer what it has received: thousands of answers to one small segment."""
    with Bench() as bench:
        client = bench.client()
        client.fill()
        client.send(head("GET", "/metrics") * 400)
        size = len(client.received)
        assert size < 100_000
        client.drain()
        client.turns()
        answers = read_answers(client.received, ["GET"] * 400)
        assert [answer.status for answer in answers] == [200] * 400


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post(b"x" * 5000), 413),
        (START + b"Host: other.test\r\nContent-Length: 2\r\n\r\n{}", 400),
    ],
)
def test_a_request_that_is_refused_while_it_arrives_is_counted_and_logged(
    request_bytes: bytes, status: int
) -> None:
    with Bench() as bench:
        bench.client().send(request_bytes)
        assert bench.count("autopilot_requests_total", mode="none", status=str(status)) == 1.0
        assert bench.lines()[-1]["status"] == status
