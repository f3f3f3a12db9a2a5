"""The oracle of the cut sweep: what is right follows from the offset, and what is wrong is seen."""

from dataclasses import replace

import pytest
from lab_cuts import Cut, Recording, Right, Seen, offsets, record, wrong
from lab_exchange import GOOD_STREAM
from lab_wire import End

from autopilot.policy.ending import End as Ending
from autopilot.policy.ending import error_event

RECORDING = record()
LAST = len(RECORDING.wire)
BOUNDARY = next(
    n for n in range(RECORDING.content_end + 1, LAST) if RECORDING.body(n).endswith(b"\n\n")
)
INSIDE = next(
    n for n in range(RECORDING.content_end + 1, LAST) if not RECORDING.body(n).endswith(b"\n\n")
)


def seen(**facts: object) -> Seen:
    whole = Seen(status=200, body=b"", end=End.CLEAN, attempts=1, chosen_second=False)
    return replace(whole, **facts)  # type: ignore[arg-type]


def test_the_recording_is_what_the_contract_asks_for() -> None:
    assert 5_000 < LAST < 12_000
    assert 38 <= RECORDING.body(LAST).count(b"data: ") <= 45
    assert RECORDING.body(LAST).endswith(b"data: [DONE]\n\n")


def test_the_first_content_is_whole_with_its_blank_line_and_not_before() -> None:
    end = RECORDING.content_end
    assert RECORDING.body(end).endswith(b'"finish_reason":null}]}\n\n')
    assert not RECORDING.body(end - 1).endswith(b"\n\n")
    assert b'"content"' not in RECORDING.body(RECORDING.head_end + 200)


def test_the_right_answer_follows_from_the_offset() -> None:
    rights = [RECORDING.right(n, second=True) for n in range(LAST + 1)]
    assert rights == (
        [Right.FAIL_OVER] * RECORDING.content_end
        + [Right.BREAK] * (LAST - RECORDING.content_end)
        + [Right.CLEAN]
    )


def test_the_last_candidate_is_refused_until_its_first_byte() -> None:
    rights = [RECORDING.right(n, second=False) for n in range(LAST + 1)]
    first = rights.index(Right.BREAK)
    assert RECORDING.body(first) != b""
    assert rights == [Right.REFUSE] * first + [Right.BREAK] * (LAST - first) + [Right.CLEAN]


def test_a_sample_has_every_offset_at_which_the_answer_changes() -> None:
    sample = set(offsets(RECORDING, 60))
    assert {0, RECORDING.content_end - 1, RECORDING.content_end, LAST - 1, LAST} <= sample
    assert len(sample) < 100
    assert list(offsets(RECORDING, 0)) == list(range(LAST + 1))


RIGHT: tuple[tuple[str, int, Cut, bool, Seen], ...] = (
    (
        "failover",
        0,
        Cut.FIN,
        True,
        seen(body=GOOD_STREAM, attempts=2, chosen_second=True),
    ),
    ("refused", 0, Cut.RST, False, seen(status=502, body=b'{"error": {}}')),
    ("late", 0, Cut.STALL, False, seen(status=504, body=b'{"error": {}}')),
    (
        "broken inside",
        INSIDE,
        Cut.FIN,
        True,
        seen(body=RECORDING.body(INSIDE), end=End.CUT_FIN),
    ),
    (
        "broken between",
        BOUNDARY,
        Cut.RST,
        True,
        seen(body=RECORDING.body(BOUNDARY) + error_event(Ending.UPSTREAM_BROKEN), end=End.CUT_FIN),
    ),
    (
        "stalled between",
        BOUNDARY,
        Cut.STALL,
        True,
        seen(body=RECORDING.body(BOUNDARY) + error_event(Ending.UPSTREAM_STALLED), end=End.CUT_FIN),
    ),
    ("whole", LAST, Cut.FIN, True, seen(body=RECORDING.body(LAST))),
)


@pytest.mark.parametrize(("name", "offset", "cut", "second", "right"), RIGHT)
def test_the_right_answer_is_right(
    name: str,
    offset: int,
    cut: Cut,
    second: bool,  # noqa: FBT001 - a column of the table
    right: Seen,
) -> None:
    assert wrong(RECORDING, offset, cut, second=second, seen=right) is None, name


@pytest.mark.parametrize(("name", "offset", "cut", "second", "right"), RIGHT)
def test_whatever_differs_from_it_is_wrong(
    name: str,
    offset: int,
    cut: Cut,
    second: bool,  # noqa: FBT001 - a column of the table
    right: Seen,
) -> None:
    others = [
        replace(right, attempts=right.attempts + 1),
        replace(right, end=End.CLEAN if right.end is not End.CLEAN else End.CUT_FIN),
        replace(right, end=End.OPEN),
    ]
    if RECORDING.right(offset, second=second) is not Right.REFUSE:
        others += [replace(right, body=right.body[:-1]), replace(right, body=right.body + b"x")]
    for other in others:
        assert wrong(RECORDING, offset, cut, second=second, seen=other) is not None, (name, other)


def test_a_leaked_byte_before_the_failover_is_wrong() -> None:
    leaked = seen(body=b"d" + GOOD_STREAM, attempts=2, chosen_second=True)
    assert wrong(RECORDING, 0, Cut.FIN, second=True, seen=leaked) is not None


def test_the_wrong_code_is_wrong() -> None:
    stalled = RECORDING.body(BOUNDARY) + error_event(Ending.UPSTREAM_STALLED)
    other = seen(body=stalled, end=End.CUT_FIN)
    assert wrong(RECORDING, BOUNDARY, Cut.FIN, second=True, seen=other) is not None


def test_an_event_that_is_missing_at_a_boundary_is_wrong() -> None:
    silent = seen(body=RECORDING.body(BOUNDARY), end=End.CUT_FIN)
    assert wrong(RECORDING, BOUNDARY, Cut.FIN, second=True, seen=silent) is not None


def test_a_recording_is_a_value() -> None:
    assert isinstance(RECORDING, Recording)
    assert record() == RECORDING
