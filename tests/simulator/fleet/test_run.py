"""Whole runs: nothing gets lost, chance is the seed's, and the feed tells what really was."""

from dataclasses import replace
from pathlib import Path

import pytest
from simpy import Environment

from autopilot.simulator.fleet.bulletin import Published, Reader, batch, bulletin
from autopilot.simulator.fleet.chutes import FleetChute
from autopilot.simulator.fleet.crowd import Arrivals, chance, sessions
from autopilot.simulator.fleet.figures import FIGURES, jain, percentile
from autopilot.simulator.fleet.grid import Case, Grid, Results, Spread, carry_out
from autopilot.simulator.fleet.others import Others
from autopilot.simulator.fleet.run import Experiment, Fleet, Outcome, run
from autopilot.simulator.fleet.start import Start, default_folder, start

FIXTURES = Path(__file__).parents[3] / "testdata"

SHORT = Experiment(
    strategy="capacity", feed=300.0, load=0.7, seed=1, routers=3, seconds=600.0, share=0.5
)


@pytest.fixture(scope="module")
def begin() -> Start:
    return start(FIXTURES)


def outcome(begin: Start, experiment: Experiment) -> Outcome:
    return Fleet(experiment, begin).run()


@pytest.mark.parametrize("strategy", ["capacity", "random", "static", "oracle"])
@pytest.mark.parametrize("arrivals", Arrivals)
def test_every_request_that_comes_ends_once(
    begin: Start, strategy: str, arrivals: Arrivals
) -> None:
    ended = outcome(begin, replace(SHORT, strategy=strategy, arrivals=arrivals, load=0.95))
    assert ended.came > 500
    assert ended.answered + ended.refused == ended.came
    assert set(ended.figures) == set(FIGURES)


def test_equal_experiments_are_equal_and_another_seed_is_another(begin: Start) -> None:
    first, second = outcome(begin, SHORT), outcome(begin, SHORT)
    assert first == second
    assert outcome(begin, replace(SHORT, seed=2)).figures != first.figures


def test_every_strategy_meets_the_same_others(begin: Start) -> None:
    came = {
        outcome(begin, replace(SHORT, strategy=each)).others_came for each in ("random", "static")
    }
    assert len(came) == 1


def test_sight_of_all_queues_refuses_no_more_than_chance(begin: Start) -> None:
    busy = replace(SHORT, load=0.95)
    refused = {
        each: outcome(begin, replace(busy, strategy=each)).figures["refused"]
        for each in ("oracle", "random")
    }
    assert refused["oracle"] < refused["random"]


def test_the_feed_tells_what_the_chutes_did(begin: Start) -> None:
    env = Environment()
    origin = begin.under(0.6).origins[0]
    chute = FleetChute(env, origin, chance("lives"))
    others = Others(env, chute, chance("others"), load=0.6, until=7_200.0)
    env.process(others.process())
    read: list[float] = []

    def note(batch: Published) -> None:
        read.append(batch.scene.chutes[origin.name].utilization_1h or 0.0)

    feed = bulletin(
        env,
        (chute,),
        (Reader(late=0.0, read=note),),
        chance("feed"),
        catalog=begin.catalog,
        every=3_600.0,
        until=7_200.0,
    )
    env.process(feed)
    env.run(until=3_600.0 + 1e-6)
    before = chute.totals()
    env.run(until=7_200.0 + 1e-6)
    after = chute.totals()
    env.run(until=7_300.0)
    assert len(read) == 3
    true = (after[0] - before[0]) / (after[1] - before[1])
    assert read[2] == pytest.approx(true, abs=1e-4)
    assert 0.0 < true < 1.0


def test_before_anything_has_been_the_feed_tells_what_others_usually_do(begin: Start) -> None:
    env = Environment()
    chutes = [FleetChute(env, origin, chance("lives")) for origin in begin.under(0.4).origins]
    rows = batch(chutes, chance("feed"), now=0.0).chutes
    for row, chute in zip(rows, chutes, strict=True):
        assert row.utilization_5m == pytest.approx(chute.origin.others, abs=1e-6)
        assert row.active_instance_count == chute.origin.instances


def test_others_fill_as_much_as_they_are_told_to(begin: Start) -> None:
    under = begin.under(0.5)
    filled = sum(origin.others * origin.slots for origin in under.origins)
    assert filled / under.slots == pytest.approx(0.5, abs=1e-3)


def test_the_fleet_keeps_the_proportions_of_the_feed(begin: Start) -> None:
    counts = [origin.instances for origin in begin.origins]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 2 * counts[-1]


def test_without_captures_the_fixtures_are_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTOPILOT_CAPTURES", raising=False)
    assert default_folder() == FIXTURES
    monkeypatch.setenv("AUTOPILOT_CAPTURES", "elsewhere")
    assert default_folder() == Path("elsewhere")


def test_conversations_grow_and_come_at_the_rate_they_should() -> None:
    drawn = list(sessions(chance(1), rate=0.5, until=4_000.0, routers=4, arrivals=Arrivals.BURSTY))
    assert len(drawn) == pytest.approx(2_000, rel=0.15)
    assert {session.router for session in drawn} == {0, 1, 2, 3}
    assert len({session.key for session in drawn}) == len(drawn)
    for session in drawn:
        for before, after in zip(session.turns, session.turns[1:], strict=False):
            assert after.prefix == before.prompt + before.answer
            assert after.prompt > after.prefix


@pytest.mark.parametrize(
    ("values", "index"),
    [([1.0, 1.0, 1.0, 1.0], 1.0), ([1.0, 0.0, 0.0, 0.0], 0.25), ([2, 1], 0.9), ([0, 0], 1)],
)
def test_jains_index_on_examples(values: list[float], index: float) -> None:
    assert jain(values) == pytest.approx(index)


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(list(range(100)), 0.99) == 99
    assert percentile([], 0.5) != percentile([], 0.5)


def test_the_number_of_processes_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTOPILOT_CAPTURES", raising=False)
    grid = Grid(
        strategies=("random", "capacity"), feeds=(60.0,), loads=(0.3,), seeds=(1,), seconds=60.0
    )
    told: list[int] = []
    runs = carry_out(grid.experiments(), told=lambda done, _whole: told.append(done))
    assert told == [1, 2]
    assert [each["figures"] for each in runs] == [run(each).figures for each in grid.experiments()]
    case = Case(strategy="random", feed=5.0, load=0.3, routers=8, arrivals="poisson")
    results = Results({"meta": {}, "runs": runs})
    spread = results.spread(case, "ttft_p50")
    assert spread is not None
    assert spread.values == (runs[0]["figures"]["ttft_p50"],)
    assert results.values("strategy") == ("capacity", "random")
    assert results.spread(replace(case, load=0.5), "ttft_p50") is None


def test_a_difference_on_which_the_seeds_disagree_is_noise() -> None:
    mine = Spread(values=(1.0, 2.0, 3.0))
    assert mine.less(Spread(values=(0.5, 2.5, 2.0))).noise
    assert not mine.less(Spread(values=(0.5, 1.5, 2.0))).noise
    assert (mine.mean, mine.least, mine.most) == (2.0, 1.0, 3.0)
