"""How the lab reads what a client saw: a judge that takes a cut for an end would pass anything."""

import json

import pytest
from lab_wire import Close, End, NotHttpError, end_of, read_answer, unchunked, without_event

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
BARE = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "close", "end"),
    [
        (CHUNKED + b"2\r\nab\r\n0\r\n\r\n", Close.NOT, End.CLEAN),
        (CHUNKED + b"2\r\nab\r\n0\r\n\r\n", Close.FIN, End.CLEAN),
        (CHUNKED + b"2\r\nab\r\n0\r\n\r\n", Close.RST, End.CLEAN),
        (CHUNKED + b"2\r\nab\r\n0\r\n\r\nx", Close.FIN, End.EXTRA),
        (CHUNKED + b"2\r\nab\r\n0\r\n\r", Close.FIN, End.CUT_FIN),
        (CHUNKED + b"2\r\nab\r\n0\r\n", Close.FIN, End.CUT_FIN),
        (CHUNKED + b"2\r\nab\r\n", Close.FIN, End.CUT_FIN),
        (CHUNKED + b"2\r\nab\r\n", Close.RST, End.CUT_RST),
        (CHUNKED + b"2\r\nab\r\n", Close.NOT, End.OPEN),
        (CHUNKED + b"2\r\nabXX", Close.FIN, End.GARBAGE),
        (CHUNKED + b"zz\r\n", Close.FIN, End.GARBAGE),
        (CHUNKED + b"2\r\na", Close.FIN, End.CUT_FIN),
        (CHUNKED, Close.FIN, End.CUT_FIN),
        (LENGTH + b"abcd", Close.NOT, End.CLEAN),
        (LENGTH + b"abc", Close.FIN, End.CUT_FIN),
        (LENGTH + b"abcde", Close.NOT, End.EXTRA),
        (BARE + b"abc", Close.FIN, End.UNFRAMED),
        (BARE + b"abc", Close.RST, End.CUT_RST),
        (BARE + b"abc", Close.NOT, End.OPEN),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Close.NOT, End.CLEAN),
        (b"HTTP/1.1 204 No Content\r\n\r\noops", Close.NOT, End.EXTRA),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH + b"abcd", Close.NOT, End.CLEAN),
        (b"HTTP/1.1 20", Close.FIN, End.CUT_FIN),
        (b"<html>", Close.FIN, End.GARBAGE),
        (b"", Close.FIN, End.SILENT_FIN),
        (b"", Close.RST, End.SILENT_RST),
        (b"", Close.NOT, End.OPEN),
    ],
)
def test_every_kind_of_end_is_told_apart(data: bytes, close: Close, end: End) -> None:
    assert end_of(data, close) is end


def test_no_prefix_of_a_whole_answer_is_clean() -> None:
    whole = CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"
    ends = [end_of(whole[:length], Close.FIN) for length in range(len(whole) + 1)]
    assert [end is End.CLEAN for end in ends] == [False] * len(whole) + [True]


def test_a_head_has_no_body_whatever_it_says() -> None:
    assert end_of(LENGTH, Close.NOT, head_only=True) is End.CLEAN
    assert end_of(LENGTH, Close.NOT) is End.OPEN


def test_a_chunk_that_is_cut_counts_as_far_as_it_came() -> None:
    assert unchunked(b"3\r\nabc\r\n5\r\nde") == (b"abcde", False, b"")
    assert unchunked(b"3\r\nabc\r\n0\r\n\r\nnext") == (b"abc", True, b"next")


def test_what_is_not_http_is_said_so() -> None:
    with pytest.raises(NotHttpError):
        read_answer(b"\x16\x03\x01 garbage\r\n\r\n")


def event(code: str, **more: object) -> bytes:
    error = {"message": "", "type": "server_error", "param": None, "code": code, **more}
    return b"data: " + json.dumps({"error": error}).encode() + b"\n\n"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"data: x\n\n" + event("upstream_broken"), "upstream_broken"),
        (event("upstream_stalled"), "upstream_stalled"),
        # Inside an event there is no room for one of our own.
        (b"data: x" + event("upstream_broken"), None),
        (b"data: x\n" + event("upstream_broken"), None),
        # The upstream's own error is none of ours.
        (b"data: x\n\n" + event("engine_died"), None),
        (b"data: x\n\n" + event("upstream_broken", extra=1), None),
        (b"data: x\n\n" + event("upstream_broken")[:-1], None),
        (b"data: x\n\n", None),
        (b"", None),
    ],
)
def test_only_an_error_event_of_the_routers_own_at_a_boundary_is_taken_off(
    body: bytes, found: str | None
) -> None:
    bare, code = without_event(body)
    assert code == found
    assert (bare == body) is (found is None)
