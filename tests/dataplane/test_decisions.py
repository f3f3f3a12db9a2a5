"""The ring of decisions is bounded in number and in bytes, and the last of an id is the one."""

import json
from typing import Any

import pytest

from autopilot.dataplane.decisions import MAX_BYTES, MAX_DECISIONS, Decisions


def decisions() -> Decisions:
    return Decisions(lambda: 1000.0004)


def found(kept: Decisions, request_id: str) -> Any:
    text = kept.find(request_id)
    return None if text is None else json.loads(text)


def test_a_decision_is_found_by_its_id_with_its_time() -> None:
    kept = decisions()
    kept.keep("a", {"status": 200})
    assert found(kept, "a") == {"request_id": "a", "time": 1000.0, "status": 200}
    assert found(kept, "b") is None


def test_of_one_id_the_last_is_kept() -> None:
    kept = decisions()
    kept.keep("a", {"status": 200})
    size = kept.size
    kept.keep("a", {"status": 503})
    assert found(kept, "a")["status"] == 503
    assert (len(kept), kept.size) == (1, size)


def test_the_oldest_goes_first() -> None:
    kept = decisions()
    for number in range(MAX_DECISIONS + 2):
        kept.keep(str(number), {})
    assert len(kept) == MAX_DECISIONS
    assert (found(kept, "1"), found(kept, "2")["request_id"]) == (None, "2")


@pytest.mark.parametrize("size", [MAX_BYTES // 10, MAX_BYTES])
def test_they_never_take_more_than_they_may(size: int) -> None:
    kept = decisions()
    for number in range(25):
        kept.keep(f"id-{number}", {"code": "x" * size})
        assert kept.size <= MAX_BYTES
    assert len(kept) == (9 if size < MAX_BYTES else 0)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        decisions().keep("a", {"seconds": float("inf")})
