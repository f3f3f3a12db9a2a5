"""How long the header fields of an answer are waited for."""

import pytest

from autopilot.policy.deadlines import Deadlines

LIMITS = Deadlines(headers=10.0, completion=600.0, first_body_byte=120.0)


@pytest.mark.parametrize("last", [True, False])
def test_an_answer_that_is_not_streamed_may_take_as_long_as_the_whole_of_it(*, last: bool) -> None:
    assert LIMITS.until_headers(stream=False, body_bytes=1 << 20, last=last) == 600.0


@pytest.mark.parametrize(("body_bytes", "seconds"), [(0, 10.0), (1024, 10.06), (102_400, 16.0)])
def test_a_long_prompt_is_given_time_to_be_read(body_bytes: int, seconds: float) -> None:
    patience = LIMITS.until_headers(stream=True, body_bytes=body_bytes, last=False)
    assert patience == pytest.approx(seconds)


def test_the_last_candidate_is_waited_for_as_long_as_a_first_byte() -> None:
    assert LIMITS.until_headers(stream=True, body_bytes=0, last=True) == 120.0


def test_the_last_candidate_never_gets_less_than_the_others() -> None:
    brief = Deadlines(headers=10.0, completion=600.0, first_body_byte=1.0)
    assert brief.until_headers(stream=True, body_bytes=0, last=True) == 10.0
