"""When a failing store is left alone, and that it is never left alone for ever."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.breaker import FIRST_PAUSE, LONGEST_PAUSE, THRESHOLD, Breaker

from .strategies import steady


def opened(breaker: Breaker, *, now: float = 0.0) -> Breaker:
    for _ in range(THRESHOLD):
        breaker.failed(now=now)
    return breaker


def test_it_opens_at_the_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker()
    for _ in range(THRESHOLD - 1):
        breaker.failed(now=0.0)
    assert breaker.closed
    breaker.succeeded()
    for _ in range(THRESHOLD - 1):
        breaker.failed(now=0.0)
    assert breaker.closed
    breaker.failed(now=0.0)
    assert not breaker.closed


def test_closed_it_wants_no_probe() -> None:
    breaker = Breaker()
    breaker.failed(now=0.0)
    assert not breaker.probe(now=1e9)


def test_after_the_pause_one_probe_is_allowed_and_no_other_until_it_ends() -> None:
    breaker = opened(Breaker(), now=5.0)
    assert not breaker.probe(now=5.0 + FIRST_PAUSE - 0.001)
    assert breaker.probe(now=5.0 + FIRST_PAUSE)
    assert not breaker.probe(now=1e9)
    assert not breaker.closed
    breaker.probed(well=True, now=7.0)
    assert breaker.closed


def pauses(breaker: Breaker, number: int, now: float) -> list[float]:
    """The pauses of an open breaker whose probes fail at once."""
    waited = []
    for _ in range(number):
        began = now
        while not breaker.probe(now=now):
            now += 0.5
        waited.append(now - began)
        breaker.probed(well=False, now=now)
    return waited


def test_each_probe_that_fails_doubles_the_pause_up_to_the_longest() -> None:
    breaker = opened(Breaker())
    assert pauses(breaker, 7, 0.0) == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE, LONGEST_PAUSE]


def test_a_success_makes_the_pause_short_again_and_a_probe_alone_does_not() -> None:
    breaker = opened(Breaker())
    assert pauses(breaker, 2, 0.0) == [1.0, 2.0]
    assert breaker.probe(now=100.0)
    breaker.probed(well=True, now=100.0)
    assert pauses(opened(breaker, now=100.0), 1, 100.0) == [8.0]
    assert breaker.probe(now=200.0)
    breaker.probed(well=True, now=200.0)
    breaker.succeeded()
    assert pauses(opened(breaker, now=200.0), 1, 200.0) == [FIRST_PAUSE]


def test_what_comes_late_changes_nothing_while_it_is_open() -> None:
    breaker = opened(Breaker())
    for _ in range(10):
        breaker.failed(now=0.9)
        breaker.succeeded()
    assert not breaker.closed
    assert breaker.probe(now=FIRST_PAUSE)
    breaker.failed(now=FIRST_PAUSE)
    breaker.succeeded()
    breaker.probed(well=False, now=FIRST_PAUSE)
    assert not breaker.probe(now=FIRST_PAUSE + 2 * FIRST_PAUSE - 0.001)
    assert breaker.probe(now=FIRST_PAUSE + 2 * FIRST_PAUSE)


def test_a_probe_from_before_it_opened_closes_it_if_it_goes_well() -> None:
    breaker = opened(Breaker())
    breaker.probed(well=False, now=0.5)
    assert breaker.probe(now=FIRST_PAUSE)
    opening = opened(Breaker())
    opening.probed(well=True, now=0.5)
    assert opening.closed


@pytest.mark.parametrize("failures", [1, THRESHOLD])
def test_a_probe_that_fails_while_it_is_closed_is_a_failure(failures: int) -> None:
    breaker = Breaker()
    for _ in range(failures):
        breaker.probed(well=False, now=0.0)
    assert breaker.closed is (failures < THRESHOLD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something happens after `wait` seconds."""

    what: str
    wait: float


steps = st.lists(
    st.builds(
        Step,
        what=st.sampled_from(["succeeded", "failed", "failed", "probe", "well", "unwell"]),
        wait=st.sampled_from([0.0, 0.1, 1.0, 2.0, 40.0]),
    ),
    max_size=60,
)


@steady
@given(steps)
def test_whatever_happens_probes_are_single_and_apart_and_one_always_comes(
    script: list[Step],
) -> None:
    breaker = Breaker()
    now = 0.0
    in_a_row = 0
    probing = False
    opened_at: float | None = None
    for step in script:
        now += step.wait
        was_closed = breaker.closed
        match step.what:
            case "succeeded":
                breaker.succeeded()
                in_a_row = 0
            case "failed":
                breaker.failed(now=now)
                in_a_row += 1
            case "probe":
                if breaker.probe(now=now):
                    assert not was_closed
                    assert not probing
                    assert opened_at is not None
                    assert now >= opened_at + FIRST_PAUSE
                    probing = True
            case end if probing:
                breaker.probed(well=end == "well", now=now)
                probing = False
                in_a_row = 0
                opened_at = now
        if was_closed and not breaker.closed:
            assert in_a_row >= THRESHOLD
            opened_at = now
    if not breaker.closed and not probing:
        assert breaker.probe(now=now + LONGEST_PAUSE)
