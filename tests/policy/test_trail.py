"""What a client is told of attempts and time, as the values of header fields."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.trail import MAX_ATTEMPTS_BYTES, attempts_value, timing_value


def test_attempts_are_told_in_their_order() -> None:
    assert attempts_value([("org/a", "capacity")]) == b"org/a;capacity"
    assert (
        attempts_value([("org/a", "capacity"), ("org/b", "success")])
        == b"org/a;capacity, org/b;success"
    )


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("org/a,b;c", b"org/a%2Cb%3Bc"),
        ("org/\u00e9", b"org/%C3%A9"),
        ("a b\r\nX: y", b"a%20b%0D%0AX:%20y"),
    ],
)
def test_a_name_cannot_be_taken_for_anything_else(model: str, told: bytes) -> None:
    assert attempts_value([(model, "success")]) == told + b";success"


def test_of_too_many_the_last_are_told() -> None:
    attempts = [(f"org/model-{number:02}", "capacity") for number in range(63)]
    told = attempts_value([*attempts, ("org/last", "success")])
    assert len(told) <= MAX_ATTEMPTS_BYTES + len(b"...")
    assert told.startswith(b"..., org/model-")
    assert told.endswith(b", org/model-62;capacity, org/last;success")


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=()), max_size=300),
            st.sampled_from(["success", "capacity", "first_byte_timeout"]),
        ),
        max_size=64,
    )
)
def test_whatever_the_names_it_is_one_short_line_of_visible_ascii(
    attempts: list[tuple[str, str]],
) -> None:
    told = attempts_value(attempts)
    assert re.fullmatch(rb"[\x21-\x7e ]*", told)
    assert len(told) <= MAX_ATTEMPTS_BYTES + len(b"...")
    if not told.startswith(b"..."):
        items = told.split(b", ") if told else []
        assert [item.rpartition(b";")[2].decode() for item in items] == [
            outcome for _name, outcome in attempts
        ]


def test_shares_of_time_are_milliseconds() -> None:
    assert timing_value(own=0.0004, upstream=1.5) == b"autopilot;dur=0.40, upstream;dur=1500.00"


def test_a_clock_that_was_read_in_another_order_makes_no_negative_time() -> None:
    assert timing_value(own=-1e-9, upstream=0.0) == b"autopilot;dur=0.00, upstream;dur=0.00"
