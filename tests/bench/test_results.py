"""Medians, differences and ratios are those of the rounds, and what is not known stays unknown."""

import pytest
from results import Results, Spread

from tests.bench.account import raw


@pytest.fixture
def results() -> Results:
    return Results(raw())


def test_a_spread_is_the_median_between_the_least_and_the_most() -> None:
    assert Spread.over([3.0, 1.0, 7.0]) == Spread(3.0, 1.0, 7.0)
    assert Spread.over([1.0, 2.0]) == Spread(1.5, 1.0, 2.0)
    assert Spread.over([]) is None


def test_a_ratio_is_that_of_the_medians(results: Results) -> None:
    assert results.ratio("autopilot", "chunk_us", "nginx") == pytest.approx(42 / 21)
    assert results.ratio("autopilot", "chunk_us", "direct") == pytest.approx(42 / 11)


def test_what_is_added_is_computed_round_by_round(results: Results) -> None:
    # 0.6 - 0.1 and 0.8 - 0.3: the machine was slower in the second round, the router was not.
    spread = results.spread("autopilot", "added_p50_ms")
    assert spread is not None
    assert spread.least == pytest.approx(0.5)
    assert spread.most == pytest.approx(0.5)


def test_a_round_without_the_figure_is_left_out_of_what_is_computed(results: Results) -> None:
    spread = results.spread("nginx", "added_p50_ms")
    assert spread is not None
    assert spread.median == pytest.approx(0.1)


def test_memory_of_a_stream_is_the_difference_over_the_streams(results: Results) -> None:
    assert results.value("autopilot", "stream_kib") == pytest.approx(25_000 / 500)


def test_what_was_not_measured_is_none(results: Results) -> None:
    assert results.value("smg", "json_us") is None
    assert results.value("nobody", "json_us") is None
    assert results.ratio("autopilot", "json_us", "smg") is None
    assert results.ratio("autopilot", "json_us", "portkey") is None
    assert results.most_streams("nginx") is None
    assert results.gap_beyond("nginx") is None


def test_the_most_streams_are_the_last_without_a_gap(results: Results) -> None:
    assert results.most_streams("autopilot") == 500
    assert results.gap_beyond("autopilot") == (750, 41.0)


def test_streams_that_could_not_be_begun_are_too_many() -> None:
    account = raw()
    account["peers"]["nginx"]["streams"] = {"100": None}
    assert Results(account).most_streams("nginx") == 0
    assert Results(account).gap_beyond("nginx") == (100, None)


def test_the_faster_router_in_rust_is_found(results: Results) -> None:
    assert results.faster_router("chunk_us") == "smg"
    assert results.faster_router("json_us") is None


def test_a_slow_gateways_rate_is_said_and_so_is_saturation(results: Results) -> None:
    assert results.chunk_notes("autopilot") == []
    (rate, saturated) = results.chunk_notes("litellm")
    assert "one chunk in 0.5 s" in rate
    assert saturated.startswith("saturated")


def test_a_full_core_is_said() -> None:
    account = raw()
    for each in account["peers"]["autopilot"]["rounds"]:
        each["chunk_cpu"] = 0.97
    assert Results(account).chunk_notes("autopilot") == ["its core is full"]


def test_who_waited_for_its_core_says_so() -> None:
    account = raw()
    for each in account["peers"]["autopilot"]["rounds"]:
        each |= {"chunk_wait": 0.25, "json_wait": 0.02}
    assert Results(account).chunk_notes("autopilot") == ["waited for its core 25% of the time"]
    assert Results(account).rate_notes("autopilot") == []


def test_who_was_not_saturated_says_so(results: Results) -> None:
    assert results.rate_notes("autopilot") == []
    (note,) = results.rate_notes("nginx")
    assert note.startswith("not saturated (50% of its core)")


@pytest.mark.parametrize(("alone", "well"), [(60_000.0, False), (75_000.0, True)])
def test_an_upstream_that_is_not_three_times_the_best_is_marked(
    alone: float, *, well: bool
) -> None:
    account = raw()
    account["peers"]["direct"]["rounds"][0]["alone_per_second"] = alone
    assert alone > 30_000  # what it answers beside its client
    (note,) = Results(account).rate_notes("direct")
    assert f"at best {alone:,.0f}, {alone / 25_000:.1f} times nginx" in note
    assert ("less than 3" not in note) is well


def test_an_upstream_that_answers_more_beside_its_client_is_judged_by_that() -> None:
    account = raw()
    for each in account["peers"]["direct"]["rounds"]:
        each["requests_per_second"] = 80_000.0
    assert Results(account).rate_notes("direct") == ["at best 80,000, 3.2 times nginx"]
