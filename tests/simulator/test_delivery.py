"""What happens between a script and a client that is slow, or leaves."""

import pytest

from autopilot.simulator.answers import Pace
from autopilot.simulator.config import SimulatorConfig

from .harness import Bench

ALPHA = "sim/Alpha-70B-TEE"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.2])
def test_a_client_that_leaves_frees_its_slot_and_its_timer(*, stream: bool, seconds: float) -> None:
    bench = Bench()
    idle = len(bench.reactor.getDelayedCalls())
    client = bench.client()
    client.ask(ALPHA, stream=stream)
    bench.tick(seconds)
    client.leave()
    assert len(bench.reactor.getDelayedCalls()) == idle
    assert bench.outcomes() == ["client_gone"]
    assert bench.journal()["in_flight"] == 0
    model = bench.simulator.world.catalogue.find(ALPHA)
    assert model is not None
    assert bench.simulator.world.feed.load(model).in_flight == 0


def test_nothing_is_written_while_the_client_does_not_read() -> None:
    bench = Bench()
    client = bench.client()
    client.ask(ALPHA)
    bench.tick(0.1)
    client.pause()
    held = client.received
    bench.tick(5)
    assert client.received == held
    client.resume()
    bench.tick(2)
    assert client.answer().body.endswith(b"data: [DONE]\n\n")
    assert bench.outcomes() == ["completed"]


def test_a_pause_shorter_than_the_delay_makes_no_difference() -> None:
    bench = Bench()
    client = bench.client()
    client.ask(ALPHA)
    bench.tick(0.1)
    client.pause()
    client.resume()
    bench.tick(2)
    assert len(client.answer().events) == 26


def test_a_client_that_leaves_while_paused_is_gone_too() -> None:
    bench = Bench()
    idle = len(bench.reactor.getDelayedCalls())
    client = bench.client()
    client.ask(ALPHA)
    bench.tick(0.1)
    client.pause()
    bench.tick(1)
    client.leave()
    assert len(bench.reactor.getDelayedCalls()) == idle
    assert bench.outcomes() == ["client_gone"]


@pytest.mark.parametrize("fault", ["fin-mid", "reset-mid"])
def test_a_cut_waits_for_a_client_that_does_not_read(fault: str) -> None:
    bench = Bench()
    client = bench.client()
    client.ask(f"faults/{fault}")
    bench.tick(0.1)
    client.pause()
    bench.tick(5)
    assert not client.cut()
    client.resume()
    bench.tick(2)
    assert client.cut()
    client.leave()
    assert bench.outcomes() == ["broken"]


def test_an_answer_without_delays_may_have_any_number_of_chunks() -> None:
    pace = Pace(chunks=20_000, chunk_delay=0, first_chunk_delay=0)
    bench = Bench(SimulatorConfig(pace=pace))
    client = bench.client()
    client.ask(ALPHA)
    assert client.received.endswith(b"0\r\n\r\n")
    assert bench.outcomes() == ["completed"]
