"""A body over the limit is refused at once, however it comes; one of exactly the limit is not."""

import tempfile
from itertools import pairwise
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.testing import FakeResponse
from autopilot.web.channel import LINGER_SECONDS
from tests.web.harness import (
    ALIAS,
    CHAT,
    COMPLETIONS,
    LIMIT,
    Bench,
    assert_refused,
    chat,
    head,
    post,
)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def body_of(size: int) -> bytes:
    """A valid body of `size` bytes."""
    empty = chat(ALIAS, padding="")
    return chat(ALIAS, padding="x" * (size - len(empty)))


def chunked(body: bytes, sizes: list[int]) -> bytes:
    """`body` in chunks of `sizes`, repeated as needed."""
    parts = []
    at = turn = 0
    while at < len(body):
        part = body[at : at + sizes[turn % len(sizes)]]
        parts.append(b"%x\r\n%s\r\n" % (len(part), part))
        at += len(part)
        turn += 1
    return b"".join([*parts, b"0\r\n\r\n"])


def segments(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut at `cuts`."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


CUTS = st.lists(st.integers(0, 5 * LIMIT), max_size=12)
SIZES = st.lists(st.integers(1, LIMIT), min_size=1, max_size=5)


@given(
    extra=st.integers(1, 2 * LIMIT),
    sizes=st.none() | SIZES,
    cuts=CUTS,
    path=st.sampled_from([CHAT, COMPLETIONS, "/v1/models", "/nothing"]),
)
def test_any_body_over_the_limit_is_refused_however_it_is_framed_and_split(
    extra: int, sizes: list[int] | None, cuts: list[int], path: str
) -> None:
    body = body_of(LIMIT + extra)
    request = (
        post(body, path=path)
        if sizes is None
        else head("POST", path, [("Transfer-Encoding", "chunked")]) + chunked(body, sizes)
    )
    with Bench() as bench:
        client = bench.client().send(*segments(request, cuts))
        answer = client.answer()
        assert_refused(answer, 413, "request_too_large")
        assert len(answer.header("x-request-id")) == 1
        assert answer.header("connection") == ["close"]
        assert client.wire.half_closed
        assert bench.posted == []


@given(short=st.integers(0, 500), sizes=st.none() | SIZES, cuts=CUTS)
def test_any_body_up_to_the_limit_is_accepted_however_it_is_framed_and_split(
    short: int, sizes: list[int] | None, cuts: list[int]
) -> None:
    body = body_of(LIMIT - short)
    request = (
        post(body)
        if sizes is None
        else head("POST", CHAT, [("Transfer-Encoding", "chunked")]) + chunked(body, sizes)
    )
    with Bench(FakeResponse().send(b"answer").end()) as bench:
        client = bench.client().send(*segments(request, cuts))
        assert client.answer().body == b"answer"
        assert bench.posted[0].body == body.replace(ALIAS.encode(), b"org/one")
        assert not client.wire.closing


def test_exactly_the_limit_is_accepted_and_one_byte_more_is_not() -> None:
    for size, status in ((LIMIT, 200), (LIMIT + 1, 413)):
        for framing in ("declared", "chunked"):
            body = body_of(size)
            assert len(body) == size
            request = (
                post(body)
                if framing == "declared"
                else head("POST", CHAT, [("Transfer-Encoding", "chunked")]) + chunked(body, [size])
            )
            with Bench(FakeResponse().send(b"answer").end()) as bench:
                assert bench.call(request).status == status
                assert len(bench.posted) == (status == 200)


@pytest.mark.parametrize("declared", [str(LIMIT + 1), "100000", "1" + "0" * 15, "9" * 90])
def test_a_declared_length_over_the_limit_is_refused_before_a_byte_of_it(declared: str) -> None:
    with Bench() as bench:
        client = bench.client().send(head("POST", CHAT, [("Content-Length", declared)]))
        assert_refused(client.answer(), 413, "request_too_large")


def test_a_chunked_body_is_refused_as_soon_as_it_is_over_the_limit() -> None:
    with Bench() as bench:
        client = bench.client().send(head("POST", CHAT, [("Transfer-Encoding", "chunked")]))
        client.send(b"fffffff\r\n", b"x" * LIMIT)
        assert client.received == b""
        client.send(b"x")
        assert_refused(client.answer(), 413, "request_too_large")


def test_a_client_that_waits_to_be_told_to_go_on_is_told_so_when_it_may() -> None:
    body = body_of(LIMIT)
    fields = [("Expect", "100-continue"), ("Content-Length", str(LIMIT))]
    with Bench(FakeResponse().send(b"answer").end()) as bench:
        client = bench.client().send(head("POST", CHAT, fields))
        assert client.received == CONTINUE
        client.send(body)
        assert client.answer().body == b"answer"


@pytest.mark.parametrize("expect", ["100-continue", "100-Continue"])
def test_it_is_never_told_to_go_on_before_a_refusal(expect: str) -> None:
    fields = [("Expect", expect), ("Content-Length", str(LIMIT + 1))]
    with Bench() as bench:
        client = bench.client().send(head("POST", CHAT, fields))
        assert b"100 Continue" not in client.received
        assert_refused(client.answer(), 413, "request_too_large")


def test_a_refused_client_may_go_on_sending_for_a_while_and_is_then_cut_off() -> None:
    with Bench() as bench:
        client = bench.client().send(head("POST", CHAT, [("Content-Length", str(10 * LIMIT))]))
        refusal = client.received
        for _ in range(9):
            client.send(b"x" * LIMIT)
        assert client.wire.half_closed
        assert not client.wire.closing
        bench.clock.advance(LINGER_SECONDS - 0.01)
        assert not client.wire.aborted
        bench.clock.advance(0.02)
        assert client.wire.aborted
        assert client.received == refusal


def test_bytes_that_keep_coming_do_not_prolong_the_wait() -> None:
    with Bench() as bench:
        client = bench.client().send(head("POST", CHAT, [("Content-Length", "100000")]))
        for _ in range(5):
            client.send(b"x")
            bench.clock.advance(LINGER_SECONDS / 4)
        assert client.wire.aborted


def test_a_refused_client_that_leaves_is_forgotten_at_once() -> None:
    with Bench() as bench:
        client = bench.client().send(head("POST", CHAT, [("Content-Length", "100000")]))
        assert bench.clock.getDelayedCalls()
        client.hang_up()
        assert not bench.clock.getDelayedCalls()


def test_nothing_that_follows_a_refusal_is_taken_for_a_request() -> None:
    smuggled = post(chat(ALIAS))
    for declared in (LIMIT + 1, len(smuggled)):
        with Bench(limit=LIMIT if declared > LIMIT else 10) as bench:
            client = bench.client()
            client.send(head("POST", CHAT, [("Content-Length", str(declared))]) + smuggled)
            client.send(smuggled, head("GET", "/healthz"))
            assert_refused(client.answer(), 413, "request_too_large")
            assert bench.posted == []


def test_a_refused_head_has_no_body() -> None:
    with Bench() as bench:
        client = bench.client()
        client.send(head("HEAD", "/v1/models", [("Content-Length", str(LIMIT + 1))]))
        answer = client.answer("HEAD")
        assert (answer.status, answer.body) == (413, b"")


@pytest.fixture
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No temporary file can be made."""

    def fail(*_arguments: object, **_named: object) -> NoReturn:
        raise OSError("a body was written to disk")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, fail)


@pytest.mark.usefixtures("no_disk")
@pytest.mark.parametrize("framing", ["declared", "chunked"])
def test_a_large_body_stays_in_memory(framing: str) -> None:
    body = body_of(300_000)
    request = (
        post(body)
        if framing == "declared"
        else head("POST", CHAT, [("Transfer-Encoding", "chunked")]) + chunked(body, [4096])
    )
    with Bench(FakeResponse().send(b"answer").end(), limit=1 << 20) as bench:
        assert bench.call(request).body == b"answer"
        assert len(bench.posted[0].body) > 299_000


def test_a_body_that_never_ends_reaches_nobody() -> None:
    with Bench() as bench:
        client = bench.client().send(post(chat(ALIAS))[:-1])
        assert client.received == b""
        assert bench.in_progress == 0
        client.hang_up()
        assert bench.posted == []
