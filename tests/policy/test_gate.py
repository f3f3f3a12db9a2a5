"""The commit gate: held within its bound, and the same judgement for any split of the bytes."""

import json
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot.policy.ending import BodyEnd
from autopilot.policy.failover import Outcome
from autopilot.policy.gate import (
    HOLD_BYTES,
    HOLD_EVENTS,
    FirstBytes,
    Gate,
    Page,
    StreamOpening,
    WholeDocument,
    gate_for,
)

EVENTS = [(b"Content-Type", b"text/event-stream; charset=utf-8")]
JSON = [(b"content-type", b"application/json")]


def event(delta: object = None, **choice: object) -> bytes:
    body = {"choices": [{"index": 0, "delta": delta or {}, **choice}]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


SILENT = [
    event({"role": "assistant"}),
    event({"role": "assistant", "content": ""}),
    event({"content": None, "tool_calls": []}),
    b": comment\n\n",
    b"data:\n\n",
    b"\n",
    b"event: x\nid: 1\n\n",
    b'data: {"choices":[],"usage":{}}\n\n',
    b"data: [DONE]\n\n",
    b"data: not json\n\n",
    b'{"object":"x"}\n\n',
]
CONTENT = [
    event({"content": "x"}),
    event({"reasoning": "x"}),
    event({"reasoning_content": "x"}),
    event({"refusal": "x"}),
    event({"tool_calls": [{"index": 0}]}),
    event(finish_reason="stop"),
    b'data: {"choices":[{"text":"x"}]}\r\n\r\n',
    b'data:{"choices":\ndata:[{"text":"x"}]}\r\r',
]
ERRORS = [
    b'data: {"error":{"message":"x"}}\n\n',
    b'data: {"error":"x"}\n\n',
    b'data: {"detail":"x"}\n\n',
    b'{"detail":"x"}\n',
    b'{"error":{"message":"x"}}\n\n',
]


def fed(gate: Gate, parts: list[bytes]) -> int | None:
    """How many parts the gate took before it opened."""
    return next((number for number, part in enumerate(parts, 1) if gate.feed(part)), None)


@pytest.mark.parametrize("silent", SILENT)
def test_what_says_nothing_keeps_the_gate_shut(silent: bytes) -> None:
    gate = StreamOpening()
    assert not gate.feed(silent)
    assert gate.outcome(silent, None) is Outcome.FIRST_BYTE_TIMEOUT


@pytest.mark.parametrize("content", CONTENT)
def test_content_opens_it(content: bytes) -> None:
    gate = StreamOpening()
    assert gate.feed(SILENT[0] + content)
    assert gate.outcome(content, None) is Outcome.SUCCESS


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_opens_it_as_a_failure(error: bytes) -> None:
    gate = StreamOpening()
    assert gate.feed(SILENT[1] + error)
    assert gate.outcome(error, None) is Outcome.ERROR_FIRST


def test_an_error_without_a_line_end_is_seen_at_the_end() -> None:
    gate = StreamOpening()
    assert not gate.feed(b'{"detail":"x"}')
    assert gate.outcome(b"", BodyEnd.COMPLETE) is Outcome.ERROR_FIRST


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(SILENT), max_size=6),
    st.sampled_from(CONTENT + ERRORS),
    st.lists(st.integers(1, 40), max_size=60),
)
def test_no_split_of_a_stream_changes_what_it_says(
    silent: list[bytes], last: bytes, sizes: list[int]
) -> None:
    text = b"".join(silent) + last
    cuts = [0, *(cut for cut in accumulate(sizes) if cut < len(text)), len(text)]
    parts = [text[start:stop] for start, stop in pairwise(cuts)]
    gate = StreamOpening()
    opened = fed(gate, parts)
    whole = StreamOpening()
    assert whole.feed(text)
    # What is left then, if anything, is the rest of a line end.
    assert opened is not None
    assert b"".join(parts[opened:]).strip(b"\r\n") == b""
    assert gate.outcome(text, None) is whole.outcome(text, None)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(min_size=1, max_size=50_000), min_size=1, max_size=30))
def test_the_hold_never_exceeds_its_bound_by_more_than_the_part_that_reaches_it(
    parts: list[bytes],
) -> None:
    for gate in (StreamOpening(), WholeDocument()):
        held = 0
        for part in parts:
            held += len(part)
            if gate.feed(part):
                break
            assert held < HOLD_BYTES


def test_a_stream_of_nothing_is_believed_after_64_events() -> None:
    gate = StreamOpening()
    parts = [SILENT[0]] * (HOLD_EVENTS + 10)
    assert fed(gate, parts) == HOLD_EVENTS
    assert gate.outcome(b"", None) is Outcome.SUCCESS


@pytest.mark.parametrize("gate", [StreamOpening(), WholeDocument()])
def test_a_hold_is_over_at_256_kib(gate: Gate) -> None:
    assert fed(gate, [b"x" * 1024] * 300) == HOLD_BYTES // 1024
    assert gate.outcome(b"x", BodyEnd.COMPLETE) is Outcome.SUCCESS


@pytest.mark.parametrize(
    ("body", "end", "outcome"),
    [
        (b'{"choices":[]}', BodyEnd.COMPLETE, Outcome.SUCCESS),
        (b'{"choices":[],"detail":"x"}', BodyEnd.COMPLETE, Outcome.SUCCESS),
        (b'{"choices":[],"error":null}', BodyEnd.COMPLETE, Outcome.SUCCESS),
        (b'{"error":{"message":"x"}}', BodyEnd.COMPLETE, Outcome.ERROR_FIRST),
        (b'{"detail":"x"}', BodyEnd.UNFRAMED, Outcome.ERROR_FIRST),
        (b'{"choices":', BodyEnd.BROKEN, Outcome.BROKEN_BODY),
        (b'{"choices":', BodyEnd.UNFRAMED, Outcome.BROKEN_BODY),
        (b'{"choices":', BodyEnd.COMPLETE, Outcome.BROKEN_BODY),
        (b"<html></html>", BodyEnd.COMPLETE, Outcome.BROKEN_BODY),
        (b'{"choices":[]}', BodyEnd.UNFRAMED, Outcome.SUCCESS),
        (b'{"choices":', None, Outcome.FIRST_BYTE_TIMEOUT),
        (b"", BodyEnd.COMPLETE, Outcome.EMPTY_BODY),
    ],
)
def test_a_document_is_judged_when_it_is_whole(
    body: bytes, end: BodyEnd | None, outcome: Outcome
) -> None:
    gate = WholeDocument()
    assert not gate.feed(body)
    assert gate.outcome(body, end) is outcome


@pytest.mark.parametrize(
    ("fields", "remaining", "kind"),
    [
        (EVENTS, True, StreamOpening),
        (JSON, True, WholeDocument),
        ([(b"content-type", b"application/problem+json")], True, WholeDocument),
        ([(b"content-type", b"text/html; charset=utf-8")], True, Page),
        ([(b"content-type", b"text/html")], False, FirstBytes),
        ([(b"content-type", b"text/html"), (b"content-encoding", b"br")], True, FirstBytes),
        ([], True, FirstBytes),
        (EVENTS, False, FirstBytes),
        (JSON, False, FirstBytes),
        ([*EVENTS, (b"Content-Encoding", b"gzip")], True, FirstBytes),
        ([*EVENTS, (b"Content-Encoding", b"identity")], True, StreamOpening),
    ],
)
def test_the_gate_follows_the_media_type_and_what_is_left(
    fields: list[tuple[bytes, bytes]], kind: type[Gate], *, remaining: bool
) -> None:
    assert isinstance(gate_for(fields, remaining=remaining), kind)


@pytest.mark.parametrize("end", BodyEnd)
def test_an_event_that_was_not_finished_is_no_content(end: BodyEnd) -> None:
    for cut in (1, 2):
        gate = StreamOpening()
        assert not gate.feed(CONTENT[0][:-cut])
        assert gate.outcome(b"x", end) in {Outcome.EMPTY_BODY, Outcome.BROKEN_BODY}
