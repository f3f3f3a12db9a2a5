"""What the two public lists say, and how the feed follows the load."""

import json
from datetime import timedelta
from typing import Any

import pytest

from autopilot.simulator.answers import Pace
from autopilot.simulator.config import SimulatorConfig
from autopilot.simulator.faults import Fault

from .harness import LONG, NOW, Bench

ALWAYS = {
    "id",
    "object",
    "created",
    "owned_by",
    "root",
    "parent",
    "chute_id",
    "confidential_compute",
    "max_model_len",
}
HEALTHY = [
    "sim/Alpha-70B-TEE",
    "sim/Beta-120B-TEE",
    "sim/Gamma-32B",
    "sim/Delta-VL-24B",
    "sim/Epsilon-235B-TEE",
    "sim/Zeta-8B",
    "sim/Eta-Code-30B-TEE",
    "sim/Theta-400B-TEE",
]
ROWS = (
    {"chute_id": "c-1", "name": "one", "timestamp": "2020-01-01T00:00:00", "extra": 0.1},
    {"chute_id": "c-2", "name": "[private chute]", "active_instance_count": 3.0},
)


def score(row: dict[str, Any]) -> float:
    """The ranking contract's score, written out once more and simply."""
    used = 0.6 * row["utilization_5m"] + 0.3 * row["utilization_15m"] + 0.1 * row["utilization_1h"]
    limited = max(
        row["rate_limit_ratio_5m"],
        0.5 * row["rate_limit_ratio_15m"],
        0.25 * row["rate_limit_ratio_1h"],
    )
    count = row["active_instance_count"]
    return float(count * max(1 - used, 0) - count * limited * 2)


def ranked(bench: Bench) -> list[str]:
    listed = {entry["id"] for entry in bench.call("GET", "/v1/models").json["data"]}
    rows = [r for r in bench.feed() if r["name"] in listed and r["active_instance_count"]]
    return [row["name"] for row in sorted(rows, key=score, reverse=True)]


def test_the_listing_holds_healthy_models_and_one_for_each_fault() -> None:
    answer = Bench().call("GET", "/v1/models")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["object"] == "list"
    names = [entry["id"] for entry in answer.json["data"]]
    assert names == HEALTHY + [f"faults/{fault}" for fault in Fault]


def test_every_model_has_what_is_always_there_and_some_lack_the_rest() -> None:
    entries = Bench().call("GET", "/v1/models").json["data"]
    lacking = [entry["id"] for entry in entries if "price" not in entry]
    unknown = [entry["id"] for entry in entries if "supported_features" not in entry]
    assert all(set(entry) >= ALWAYS for entry in entries)
    assert lacking == ["sim/Zeta-8B"]
    assert unknown == ["sim/Eta-Code-30B-TEE"]


def test_the_ranking_is_clear_and_faults_come_last() -> None:
    order = ranked(Bench())
    assert order[:8] == HEALTHY
    assert all(name.startswith("faults/") for name in order[8:])


def test_the_cold_faults_have_no_active_instance() -> None:
    bench = Bench()
    idle = [r["name"] for r in bench.feed() if r["name"] != "[private chute]"]
    idle = [name for name in idle if not bench.row(name)["active_instance_count"]]
    assert idle == ["faults/cold-503", "faults/disabled-503"]
    assert bench.row("faults/drop")["utilization_current"] == 1.0
    assert bench.row("faults/drop")["active_instance_count"] == 1


def test_the_feed_holds_private_chutes_and_chutes_that_cannot_chat() -> None:
    bench = Bench()
    names = [row["name"] for row in bench.feed()]
    ids = [row["chute_id"] for row in bench.feed()]
    assert names.count("[private chute]") > 1
    assert len(set(ids)) == len(ids)
    assert {"sim-embedding-0.6b", "sim-image-turbo", "sim/speech-tts"} <= set(names)


def test_one_batch_has_one_naive_timestamp_and_the_next_batch_another() -> None:
    bench = Bench(SimulatorConfig(feed_interval=5.0))
    assert {row["timestamp"] for row in bench.feed()} == {"2026-02-18T05:48:08.568123"}
    bench.time = NOW + timedelta(seconds=5)
    bench.tick(4.9)
    assert bench.feed()[0]["timestamp"] == "2026-02-18T05:48:08.568123"
    bench.tick(0.2)
    assert {row["timestamp"] for row in bench.feed()} == {"2026-02-18T05:48:13.568123"}


def test_an_idle_feed_stays_as_it_is() -> None:
    bench = Bench()
    before = bench.row("sim/Beta-120B-TEE")
    bench.tick(30)
    after = bench.row("sim/Beta-120B-TEE")
    assert after == pytest.approx(before)


def test_requests_in_flight_raise_utilization_and_it_falls_again() -> None:
    bench = Bench(SimulatorConfig(slots=2, pace=Pace(chunks=1000)))
    before = bench.row("sim/Theta-400B-TEE")
    client = bench.client()
    client.ask("sim/Theta-400B-TEE")
    bench.tick(3)
    during = bench.row("sim/Theta-400B-TEE")
    assert during["utilization_current"] == pytest.approx(0.7 + 1 / 4)
    assert before["utilization_5m"] < during["utilization_5m"] < 0.95
    assert during["utilization_5m"] > during["utilization_15m"] > during["utilization_1h"]
    client.leave()
    bench.tick(LONG)
    assert bench.row("sim/Theta-400B-TEE")["utilization_5m"] == pytest.approx(0.7, abs=1e-3)


def test_a_request_between_two_batches_is_seen_by_the_second() -> None:
    bench = Bench(SimulatorConfig(slots=1, feed_interval=10.0))
    bench.complete("sim/Zeta-8B")
    bench.tick(10)
    assert bench.row("sim/Zeta-8B")["utilization_current"] == pytest.approx(0.55 + 1 / 4)


def test_a_model_that_turns_requests_away_loses_its_rank() -> None:
    bench = Bench()
    bench.call(
        "PUT", "/_simulator/faults/sim/Alpha-70B-TEE", b'{"fault":"capacity-429","times":null}'
    )
    for _ in range(300):
        bench.complete("sim/Alpha-70B-TEE", seconds=0)
    bench.tick(1)
    row = bench.row("sim/Alpha-70B-TEE")
    assert row["rate_limit_ratio_5m"] > row["rate_limit_ratio_1h"] > 0
    assert row["rate_limited_requests_5m"] > 0
    assert ranked(bench)[0] == "sim/Beta-120B-TEE"


def test_rows_from_a_file_are_served_as_they_are_whatever_happens() -> None:
    bench = Bench(SimulatorConfig(utilization=ROWS))
    bench.complete("sim/Alpha-70B-TEE")
    bench.tick(5)
    assert bench.feed() == [dict(row) for row in ROWS]


def test_rows_from_a_file_can_be_restamped() -> None:
    bench = Bench(SimulatorConfig(utilization=ROWS, restamp=True))
    assert bench.feed()[0] == {**ROWS[0], "timestamp": "2026-02-18T05:48:08.568123"}
    assert bench.feed()[1]["timestamp"] == "2026-02-18T05:48:08.568123"


def test_models_from_a_file_are_listed_as_they_are_and_answer() -> None:
    entries = ({"id": "one", "chute_id": "c-1", "owned_by": "vllm"}, {"id": "two"})
    bench = Bench(SimulatorConfig(models=entries))
    assert bench.call("GET", "/v1/models").json["data"] == [dict(entry) for entry in entries]
    assert bench.complete("c-1", stream=False).json["model"] == "one"
    assert bench.complete("two").status == 200
    assert ranked(bench) == ["one", "two"]


def test_faults_have_their_models_even_where_a_file_does_not_list_them() -> None:
    bench = Bench(SimulatorConfig(models=({"id": "one"},), utilization=ROWS))
    assert bench.complete("faults/html-502").status == 502
    assert b"faults/" not in bench.call("GET", "/v1/models").body


@pytest.mark.parametrize("count", [0, None, "3", float("nan"), float("inf"), -2, [1]])
def test_a_listed_model_without_a_running_instance_is_cold(count: object) -> None:
    row = {"chute_id": "c-1", "name": "one", "active_instance_count": count}
    bench = Bench(SimulatorConfig(models=({"id": "one", "chute_id": "c-1"},), utilization=(row,)))
    answer = bench.complete("one")
    assert answer.status == 503
    assert answer.json == {"detail": "No instances available (yet) for chute_id='c-1'"}


def test_the_lists_answer_head_requests_without_a_body() -> None:
    bench = Bench()
    client = bench.client()
    client.send("HEAD", "/v1/models")
    head, _, body = client.received.partition(b"\r\n\r\n")
    size = len(json.dumps(bench.call("GET", "/v1/models").json, separators=(",", ":")))
    assert f"Content-Length: {size}".encode() in head
    assert body == b""
