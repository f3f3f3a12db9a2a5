"""The control routes, as a test would use them."""

import json

import pytest

from .harness import Bench

ALPHA = "sim/Alpha-70B-TEE"
FAULTS = "/_simulator/faults"


def put(bench: Bench, model: str, **wanted: object) -> int:
    return bench.call("PUT", f"{FAULTS}/{model}", json.dumps(wanted).encode()).status


def test_a_set_fault_lasts_until_it_is_deleted() -> None:
    bench = Bench()
    assert put(bench, ALPHA, fault="exhausted-500") == 200
    assert [bench.complete(ALPHA).status for _ in range(3)] == [500, 500, 500]
    assert bench.call("DELETE", f"{FAULTS}/{ALPHA}").json == {"faults": {}}
    assert bench.complete(ALPHA).status == 200


def test_a_fault_with_times_happens_that_often_and_counts_down() -> None:
    bench = Bench()
    put(bench, ALPHA, fault="html-502", times=2)
    assert bench.complete(ALPHA).status == 502
    assert bench.call("GET", FAULTS).json == {
        "faults": {ALPHA: {"fault": "html-502", "times": 1}},
    }
    assert [bench.complete(ALPHA).status for _ in range(2)] == [502, 200]
    assert bench.call("GET", FAULTS).json == {"faults": {}}


def test_a_fault_is_set_by_chute_id_and_by_an_escaped_name_too() -> None:
    bench = Bench()
    chute_id = bench.row(ALPHA)["chute_id"]
    put(bench, chute_id, fault="drop")
    put(bench, "sim%2FZeta-8B", fault="drop")
    assert set(bench.call("GET", FAULTS).json["faults"]) == {ALPHA, "sim/Zeta-8B"}


def test_a_set_fault_hides_the_one_a_model_is_named_for() -> None:
    bench = Bench()
    put(bench, "faults/drop", fault="invalid-400", times=1)
    assert bench.complete("faults/drop").status == 400
    assert bench.journal()["requests"][0]["fault"] == "invalid-400"


def test_all_faults_are_cleared_at_once() -> None:
    bench = Bench()
    put(bench, ALPHA, fault="drop")
    put(bench, "sim/Zeta-8B", fault="drop")
    assert bench.call("DELETE", FAULTS).json == {"faults": {}}
    assert bench.complete(ALPHA).status == 200


def test_one_models_fault_leaves_the_others_alone() -> None:
    bench = Bench()
    put(bench, ALPHA, fault="exhausted-500")
    assert bench.complete("sim/Zeta-8B").status == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "fault must be one of capacity-429"),
        (b'{"fault":"nonsense"}', "fault must be one of"),
        (b'{"fault":["drop"]}', "fault must be one of"),
        (b'{"fault":"drop","times":0}', "times must be"),
        (b'{"fault":"drop","times":true}', "times must be"),
        (b'{"fault":"drop","times":1.5}', "times must be"),
        (b'{"fault":"drop","time":1}', "unknown fields ['time']"),
    ],
)
def test_bad_control_input_is_refused_with_a_reason(body: bytes, said: str) -> None:
    bench = Bench()
    answer = bench.call("PUT", f"{FAULTS}/{ALPHA}", body)
    assert answer.status == 400
    assert said in answer.json["detail"]
    assert bench.call("GET", FAULTS).json == {"faults": {}}


def test_an_unknown_model_is_refused() -> None:
    bench = Bench()
    assert put(bench, "sim/Nobody", fault="drop") == 400
    assert bench.call("DELETE", f"{FAULTS}/sim/Nobody").status == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", FAULTS), ("PUT", FAULTS), ("GET", "/_simulator/"), ("PUT", "/_simulator/requests")],
)
def test_there_are_no_other_control_routes(method: str, path: str) -> None:
    assert Bench().call(method, path, b'{"fault":"drop"}').status == 404


def test_clearing_the_journal_keeps_count_of_what_is_open() -> None:
    bench = Bench()
    client = bench.client()
    client.ask(ALPHA)
    assert bench.call("DELETE", "/_simulator/requests").json == {"in_flight": 1, "requests": []}
    bench.tick(2)
    assert bench.journal() == {"in_flight": 0, "requests": []}


def test_the_journal_keeps_the_last_thousand() -> None:
    bench = Bench()
    for place in range(1002):
        bench.complete(f"nobody-{place}", seconds=0)
    models = [entry["model"] for entry in bench.journal()["requests"]]
    assert (len(models), models[0], models[-1]) == (1000, "nobody-2", "nobody-1001")


def test_a_long_name_is_cut_in_the_journal() -> None:
    bench = Bench()
    bench.complete("x" * 5000, seconds=0)
    assert bench.journal()["requests"][0]["model"] == "x" * 256
