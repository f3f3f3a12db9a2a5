"""Every fault, as the bytes and the end that a client sees."""

import gzip
import json
from http.client import IncompleteRead

import pytest

from autopilot.simulator.answers import Pace
from autopilot.simulator.config import SimulatorConfig
from autopilot.simulator.faults import REFUSALS, Fault

from .harness import Bench, Client

STREAMED = pytest.mark.parametrize("stream", [True, False])
LAST_CHUNK = b"\r\n0\r\n\r\n"
EXACT = {
    Fault.CAPACITY_429: "Infrastructure is at maximum capacity, try again later",
    Fault.DISABLED_503: "This chute is currently disabled.",
    Fault.EXHAUSTED_500: "exhausted all available targets to no avail",
    Fault.NO_INFRASTRUCTURE_500: "No infrastructure available to serve request",
    Fault.TOKEN_401: "Invalid token.",
    Fault.NOT_FOUND_404: "model not found: faults/not-found-404",
}


def played(fault: Fault, *, stream: bool) -> tuple[Bench, Client]:
    bench = Bench(SimulatorConfig(pace=Pace(chunks=6)))
    client = bench.client()
    client.ask(f"faults/{fault}", stream=stream)
    bench.tick(1)
    return bench, client


@STREAMED
@pytest.mark.parametrize("fault", sorted(REFUSALS))
def test_a_refusal_is_one_whole_answer_with_its_status(fault: Fault, *, stream: bool) -> None:
    bench, client = played(fault, stream=stream)
    answer = client.answer()
    assert answer.status == int(fault.rpartition("-")[2])
    assert "Retry-After" not in answer.headers
    if fault.startswith("html"):
        assert answer.headers["Content-Type"] == "text/html"
        assert b"<hr><center>nginx</center>\r\n" in answer.body
    else:
        assert list(answer.json) == ["detail"]
    assert bench.outcomes() == ["refused"]


@pytest.mark.parametrize("fault", sorted(EXACT))
def test_the_platforms_known_texts_are_exact(fault: Fault) -> None:
    _, client = played(fault, stream=True)
    assert client.answer().json == {"detail": EXACT[fault]}


def test_a_cold_model_names_its_chute() -> None:
    bench, client = played(Fault.COLD_503, stream=True)
    chute_id = bench.row("faults/cold-503")["chute_id"]
    assert client.answer().json["detail"] == (
        f"No instances available (yet) for chute_id='{chute_id}'"
    )


def test_the_quota_refusal_is_an_object_and_the_validation_refusal_a_list() -> None:
    _, quota = played(Fault.QUOTA_402, stream=True)
    _, validation = played(Fault.UNPROCESSABLE_422, stream=True)
    assert set(quota.answer().json["detail"]) == {"message", "quota_reset_timestamp"}
    assert validation.answer().json["detail"][0]["type"] == "missing"


def test_the_redirect_leads_to_another_host() -> None:
    _, client = played(Fault.REDIRECT_307, stream=True)
    assert client.answer().headers["Location"].startswith("https://elsewhere.invalid/")


@STREAMED
def test_drop_closes_before_any_byte(*, stream: bool) -> None:
    bench, client = played(Fault.DROP, stream=stream)
    assert client.received == b""
    assert client.transport.disconnecting
    client.leave()
    assert bench.outcomes() == ["broken"]


@STREAMED
@pytest.mark.parametrize("fault", [Fault.HEADER_STALL, Fault.FIRST_BYTE_STALL, Fault.STALL_MID])
def test_a_stall_lasts_until_the_client_leaves(fault: Fault, *, stream: bool) -> None:
    bench, client = played(fault, stream=stream)
    before = client.received
    bench.tick(60)
    assert client.received == before
    assert not client.transport.disconnecting
    assert bench.outcomes() == ["open"]
    client.leave()
    assert bench.outcomes() == ["client_gone"]
    assert bench.journal()["in_flight"] == 0


@STREAMED
def test_the_stalls_differ_in_how_far_they_come(*, stream: bool) -> None:
    _, header = played(Fault.HEADER_STALL, stream=stream)
    _, first_byte = played(Fault.FIRST_BYTE_STALL, stream=stream)
    _, middle = played(Fault.STALL_MID, stream=stream)
    assert header.received == b""
    assert first_byte.received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert first_byte.received.endswith(b"\r\n\r\n")
    assert b"The simulated" in middle.received or b'"The"' in middle.received


@STREAMED
@pytest.mark.parametrize("fault", [Fault.EMPTY_200, Fault.EMPTY_204])
def test_an_empty_answer_is_whole_and_has_no_body(fault: Fault, *, stream: bool) -> None:
    bench, client = played(fault, stream=stream)
    assert client.answer().status == int(fault.rpartition("-")[2])
    assert client.answer().body == b""
    assert bench.outcomes() == ["broken"]


@STREAMED
def test_an_engine_error_comes_first_inside_a_200(*, stream: bool) -> None:
    _, client = played(Fault.ERROR_FIRST, stream=stream)
    answer = client.answer()
    assert answer.status == 200
    assert answer.body.startswith(b'data: {"error":{' if stream else b'{"error":{')


@STREAMED
def test_a_bare_error_comes_first_without_the_event_prefix(*, stream: bool) -> None:
    _, client = played(Fault.BARE_ERROR_FIRST, stream=stream)
    assert client.answer().json == {"detail": "No result returned from upstream"}


@STREAMED
@pytest.mark.parametrize("fault", [Fault.RESET_MID, Fault.FIN_MID])
def test_a_cut_answer_begins_well_and_never_ends(fault: Fault, *, stream: bool) -> None:
    bench, client = played(fault, stream=stream)
    assert client.received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.transport.disconnecting
    assert client.transport.disconnected is (fault is Fault.RESET_MID)
    with pytest.raises(IncompleteRead):
        client.answer()
    client.leave()
    assert bench.outcomes() == ["broken"]


def test_a_reset_waits_for_the_bytes_before_it() -> None:
    bench = Bench(SimulatorConfig(pace=Pace(chunks=2, chunk_delay=0, first_chunk_delay=0)))
    client = bench.client()
    client.ask("faults/reset-mid")
    assert client.received
    assert not client.transport.disconnected
    bench.tick(0.1)
    assert client.transport.disconnected


def test_a_truncated_stream_ends_cleanly_with_all_content_and_no_finish_reason() -> None:
    bench, client = played(Fault.TRUNCATED, stream=True)
    answer = client.answer()
    assert client.received.endswith(LAST_CHUNK)
    assert len(answer.events) == 7
    assert {event["choices"][0]["finish_reason"] for event in answer.events} == {None}
    assert b"[DONE]" not in answer.body
    assert bench.outcomes() == ["broken"]


def test_a_truncated_document_ends_cleanly_and_does_not_parse() -> None:
    _, client = played(Fault.TRUNCATED, stream=False)
    with pytest.raises(json.JSONDecodeError):
        client.answer().json  # noqa: B018 - reading it is the act


def test_a_late_error_is_a_bare_object_after_some_events() -> None:
    _, client = played(Fault.LATE_ERROR, stream=True)
    answer = client.answer()
    assert len(answer.events) == 4
    assert answer.body.endswith(b'}\n\n{"detail":"No result returned from upstream"}')
    assert client.received.endswith(LAST_CHUNK)


@STREAMED
def test_a_drip_comes_byte_by_byte_and_is_whole(*, stream: bool) -> None:
    bench = Bench(SimulatorConfig(pace=Pace(chunks=1)))
    client = bench.client()
    client.ask("faults/drip", stream=stream)
    bench.tick(0.5)
    assert 0 < client.received.count(b"\r\n1\r\n") < 30
    bench.tick(60)
    assert client.received.endswith(LAST_CHUNK)
    assert client.answer().body.endswith(b"[DONE]\n\n" if stream else b"}")
    assert bench.outcomes() == ["completed"]


def test_gzip_is_a_json_document_with_its_encoding_named() -> None:
    _, client = played(Fault.GZIP, stream=True)
    answer = client.answer()
    assert answer.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.body))["object"] == "chat.completion"


def test_a_fault_is_also_found_by_chute_id_and_behind_a_routing_suffix() -> None:
    bench = Bench()
    chute_id = bench.row("faults/exhausted-500")["chute_id"]
    assert bench.complete(chute_id).status == 500
    assert bench.complete("faults/exhausted-500:latency").status == 500


@pytest.mark.parametrize("fault", list(Fault))
def test_no_fault_leaves_a_slot_taken_or_a_timer_behind(fault: Fault) -> None:
    bench = Bench()
    idle = len(bench.reactor.getDelayedCalls())
    client = bench.client()
    client.ask(f"faults/{fault}")
    bench.tick(0.2)
    client.leave()
    assert len(bench.reactor.getDelayedCalls()) == idle
    model = bench.simulator.world.catalogue.find(f"faults/{fault}")
    assert model is not None
    assert bench.simulator.world.feed.load(model).in_flight == 0
