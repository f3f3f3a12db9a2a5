"""Was it whole: the same answer for any split, and nothing that a model writes can fool it."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot.policy.ending import (
    PARSED_BYTES,
    BodyEnd,
    DocumentWatch,
    End,
    PlainWatch,
    StreamWatch,
    error_event,
    watch_for,
)

EVENTS = [(b"content-type", b"text/event-stream")]
JSON = [(b"content-type", b"application/json")]
PLAIN = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"choices":[{"finish_reason": "stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error": {"message":"x"}}\n\n'


def ends(*parts: bytes, framing: BodyEnd = BodyEnd.COMPLETE) -> End:
    watch = StreamWatch(framed_by_length=False)
    for part in parts:
        watch.feed(part)
    return watch.end(framing)


@pytest.mark.parametrize("last", [FINISH, DONE, ERROR, b"data:[DONE]\r\n\r\n"])
def test_a_stream_that_concludes_is_whole(last: bytes) -> None:
    assert ends(PLAIN, last) is End.COMPLETE
    assert ends(PLAIN, last, framing=BodyEnd.UNFRAMED) is End.COMPLETE
    assert ends(last) is End.COMPLETE


@pytest.mark.parametrize(
    ("last", "told"), [(ERROR, True), (ERROR + DONE, True), (FINISH, False), (DONE, False)]
)
def test_a_stream_that_ends_in_an_error_has_told_so(last: bytes, *, told: bool) -> None:
    watch = StreamWatch(framed_by_length=False)
    watch.feed(PLAIN)
    assert not watch.told_error
    for place in range(len(last)):
        watch.feed(last[place : place + 1])
    assert watch.told_error is told


@pytest.mark.parametrize("nothing", [b"null", b" null", b"false", b"0"])
def test_an_error_that_is_none_concludes_nothing(nothing: bytes) -> None:
    event = b'data: {"error":' + nothing + b',"choices":[]}\n\n'
    for parts in ([event], [event[:15], event[15:]], [event[:16], event[16:]]):
        assert ends(PLAIN, *parts) is End.UPSTREAM_TRUNCATED


@pytest.mark.parametrize("last", [FINISH, DONE])
def test_broken_framing_is_never_whole(last: bytes) -> None:
    assert ends(PLAIN, last, framing=BodyEnd.BROKEN) is End.UPSTREAM_BROKEN


def test_a_clean_end_without_a_conclusion_is_a_truncation() -> None:
    assert ends(PLAIN) is End.UPSTREAM_TRUNCATED
    assert ends(PLAIN, b'{"detail":"late"}') is End.UPSTREAM_TRUNCATED
    assert ends(PLAIN, framing=BodyEnd.UNFRAMED) is End.UPSTREAM_BROKEN


@settings(deadline=None)
@given(st.lists(st.integers(0, 200), max_size=20))
def test_a_conclusion_is_seen_across_any_split(cuts: list[int]) -> None:
    for last in (FINISH, DONE, ERROR):
        text = PLAIN + last
        places = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
        assert ends(*(text[a:b] for a, b in pairwise(places))) is End.COMPLETE


@settings(deadline=None)
@given(st.integers(0, 150), st.integers(0, 150), st.integers(1, 9_000))
def test_a_conclusion_is_seen_wherever_it_stands_in_a_long_stream(
    before: int, after: int, size: int
) -> None:
    for last in (FINISH, DONE, ERROR, FINISH.replace(b": ", b":")):
        text = PLAIN * before + last + PLAIN * after
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert ends(*pieces) is End.COMPLETE
    assert ends(*[PLAIN] * (before + after)) is End.UPSTREAM_TRUNCATED


@given(st.text(max_size=30))
def test_no_text_of_a_model_can_conclude_a_stream(text: str) -> None:
    spoof = text + '\n\ndata: [DONE]\n\n"finish_reason":"stop"' + '\ndata: {"error":1}' + text
    for ascii_only in (True, False):
        body = json.dumps({"choices": [{"delta": {"content": spoof}}]}, ensure_ascii=ascii_only)
        assert ends(b"data: " + body.encode("utf-8", "replace") + b"\n\n") is End.UPSTREAM_TRUNCATED


@pytest.mark.parametrize(
    ("parts", "takes"),
    [
        ([], True),
        ([PLAIN], True),
        ([PLAIN[:-1]], False),
        ([PLAIN[:-1], b"\n"], True),
        ([PLAIN, b": x"], False),
        ([b"data: x\r\n\r\n"], True),
        ([b"data: x\r\n"], False),
        ([DONE, PLAIN, PLAIN[:-2]], False),
        ([DONE, PLAIN[:-1], b"\n"], True),
        ([DONE, PLAIN, b"x"], False),
    ],
)
def test_an_event_of_ours_fits_between_events_only(parts: list[bytes], *, takes: bool) -> None:
    watch = StreamWatch(framed_by_length=False)
    for part in parts:
        watch.feed(part)
    assert watch.takes_event is takes


def test_nothing_fits_beyond_a_declared_length() -> None:
    assert not watch_for(200, EVENTS, 100).takes_event


def test_an_unframed_document_is_whole_if_it_parses() -> None:
    for body, end in ((b'{"a":1}', End.COMPLETE), (b'{"a":', End.UPSTREAM_BROKEN)):
        watch = DocumentWatch()
        watch.feed(body[:3])
        watch.feed(body[3:])
        assert watch.end(BodyEnd.UNFRAMED) is end
        assert watch.end(BodyEnd.BROKEN) is End.UPSTREAM_BROKEN
        assert watch.end(BodyEnd.COMPLETE) is End.COMPLETE


def test_an_unframed_document_that_is_too_long_to_keep_is_not_believed() -> None:
    watch = DocumentWatch()
    watch.feed(b'"' + b"x" * (PARSED_BYTES - 2))
    watch.feed(b'"')
    assert watch.end(BodyEnd.UNFRAMED) is End.COMPLETE
    watch.feed(b" ")
    assert watch.end(BodyEnd.UNFRAMED) is End.UPSTREAM_BROKEN


@pytest.mark.parametrize(
    ("status", "fields", "length", "unframed"),
    [
        (503, EVENTS, None, End.COMPLETE),
        (404, JSON, None, End.COMPLETE),
        (200, [(b"content-type", b"text/html")], None, End.UPSTREAM_BROKEN),
        (200, [*EVENTS, (b"content-encoding", b"br")], None, End.UPSTREAM_BROKEN),
        (200, JSON, 10, End.UPSTREAM_BROKEN),
    ],
)
def test_without_framing_a_refusal_is_believed_and_nothing_else(
    status: int, fields: list[tuple[bytes, bytes]], length: int | None, unframed: End
) -> None:
    watch = watch_for(status, fields, length)
    assert isinstance(watch, PlainWatch)
    assert not watch.takes_event
    assert watch.end(BodyEnd.UNFRAMED) is unframed
    assert watch.end(BodyEnd.COMPLETE) is End.COMPLETE
    assert watch.end(BodyEnd.BROKEN) is End.UPSTREAM_BROKEN


@pytest.mark.parametrize("end", [End.UPSTREAM_BROKEN, End.UPSTREAM_STALLED, End.UPSTREAM_TRUNCATED])
def test_the_event_names_its_end_in_openais_shape(end: End) -> None:
    event = error_event(end)
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    error = json.loads(event.removeprefix(b"data: "))["error"]
    assert (error["code"], error["type"], error["param"]) == (end.value, "server_error", None)
    assert error["message"]
