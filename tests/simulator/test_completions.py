"""What a request is answered with when nothing is made to go wrong."""

from hashlib import sha256
from typing import Any

import pytest

from autopilot.simulator.answers import Pace
from autopilot.simulator.config import SimulatorConfig

from .harness import PROMPT, TOKEN, Bench

ALPHA = "sim/Alpha-70B-TEE"


def test_a_streamed_answer_has_a_role_the_content_a_finish_reason_and_done() -> None:
    answer = Bench(SimulatorConfig(pace=Pace(chunks=5))).complete(ALPHA)
    choices = [event["choices"][0] for event in answer.events]
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert choices[0]["delta"]["role"] == "assistant"
    assert [choice["finish_reason"] for choice in choices] == [None] * 6 + ["stop"]
    assert "".join(c["delta"].get("content", "") for c in choices).startswith("The simulated model")
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_every_event_carries_usage_the_listed_name_and_the_platforms_extra_field() -> None:
    answer = Bench().complete(ALPHA)
    assert len(answer.events) == 26
    assert [event["usage"]["completion_tokens"] for event in answer.events][:3] == [0, 1, 2]
    assert {event["model"] for event in answer.events} == {ALPHA}
    assert len({event["id"] for event in answer.events}) == 1
    assert all(event["chutes_verification"] for event in answer.events)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (ALPHA, {"reasoning": None, "reasoning_content": None}),
        ("sim/Beta-120B-TEE", {"reasoning_content": None}),
        ("sim/Zeta-8B", {}),
    ],
)
def test_each_engine_has_its_own_habit_with_reasoning(model: str, fields: dict[str, None]) -> None:
    delta = Bench().complete(model).events[1]["choices"][0]["delta"]
    assert {key: value for key, value in delta.items() if key != "content"} == fields


def test_a_document_says_the_same_as_the_stream() -> None:
    bench = Bench()
    document = bench.complete(ALPHA, stream=False)
    events = bench.complete(ALPHA).events
    streamed = "".join(e["choices"][0]["delta"].get("content", "") for e in events)
    assert document.json["object"] == "chat.completion"
    assert document.json["choices"][0]["message"]["content"] == streamed
    assert document.json["usage"]["completion_tokens"] == 24
    assert int(document.headers["Content-Length"]) == len(document.body)


def test_text_completions_are_streamed_and_whole_too() -> None:
    bench = Bench()
    whole = bench.complete(ALPHA, path="/v1/completions", stream=False).json
    parts = bench.complete(ALPHA, path="/v1/completions").events
    assert whole["object"] == parts[0]["object"] == "text_completion"
    assert whole["choices"][0]["text"] == "".join(part["choices"][0]["text"] for part in parts)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_token_limit_shortens_the_answer_and_says_so(field: str) -> None:
    answer = Bench().complete(ALPHA, **{field: 3})
    assert answer.events[-1]["choices"][0]["finish_reason"] == "length"
    assert answer.events[-1]["usage"]["completion_tokens"] == 3


def test_headers_are_withheld_until_the_first_chunk() -> None:
    bench = Bench(SimulatorConfig(pace=Pace(first_chunk_delay=1.0)))
    client = bench.client()
    client.ask(ALPHA)
    bench.tick(0.9)
    assert client.received == b""
    bench.tick(0.2)
    assert client.received.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_document_takes_as_long_as_its_stream_would() -> None:
    pace = Pace(chunks=10, chunk_delay=0.1, first_chunk_delay=1.0)
    bench = Bench(SimulatorConfig(pace=pace))
    client = bench.client()
    client.ask(ALPHA, stream=False)
    bench.tick(1.9)
    assert client.received == b""
    bench.tick(0.2)
    assert client.answer().status == 200


def test_success_headers_name_the_invocation_and_count_the_quota() -> None:
    bench = Bench()
    first, second = bench.complete(ALPHA), bench.complete(ALPHA)
    assert first.headers["X-Chutes-InvocationID"] != second.headers["X-Chutes-InvocationID"]
    assert second.headers["X-Chutes-Quota-Used"] == "2"
    assert second.headers["X-Chutes-Quota-Remaining"] == "4998"
    assert second.headers["X-Chutes-Quota-Total"] == "5000"
    assert "Retry-After" not in first.headers


@pytest.mark.parametrize("suffix", ["", ":latency", ":THROUGHPUT"])
def test_a_model_is_found_by_id_and_chute_id_with_or_without_a_routing_suffix(suffix: str) -> None:
    bench = Bench()
    model = bench.simulator.world.catalogue.find(ALPHA)
    assert model is not None
    for name in (model.id, model.chute_id):
        assert bench.complete(name + suffix, stream=False).json["model"] == ALPHA


@pytest.mark.parametrize("authorization", [None, "Basic abc", "Bearer", "Bearer  "])
def test_without_a_bearer_token_the_edge_answers_with_its_page(authorization: str | None) -> None:
    answer = Bench().complete(ALPHA, authorization=authorization)
    assert answer.status == 429
    assert answer.headers["Content-Type"] == "text/html"
    assert b"<title>429 Too Many Requests</title>" in answer.body
    assert answer.body.endswith(b"</html>\r\n")


def test_the_invalid_token_is_refused_in_the_platforms_words() -> None:
    answer = Bench().complete(ALPHA, authorization="Bearer invalid")
    assert (answer.status, answer.body) == (401, b'{"detail":"Invalid token."}')


@pytest.mark.parametrize("model", ["sim/Nobody", f"{ALPHA}:fast", f"{ALPHA},sim/Zeta-8B"])
def test_an_unknown_model_is_not_found(model: str) -> None:
    answer = Bench().complete(model)
    assert (answer.status, answer.json) == (404, {"detail": f"model not found: {model}"})


@pytest.mark.parametrize("model", [None, 7, ["sim/Alpha-70B-TEE"], {}])
def test_a_model_that_is_no_string_is_not_found_either(model: object) -> None:
    assert Bench().complete(model).status == 404


def test_stream_null_finds_no_chute() -> None:
    answer = Bench().complete(ALPHA, stream=None)
    assert (answer.status, answer.json) == (404, {"detail": "No matching chute found!"})


@pytest.mark.parametrize(
    "more",
    [
        {"messages": []},
        {"stream": "yes"},
        {"max_tokens": 0},
        {"max_tokens": True},
        {"messages": [{"role": "user", "content": "x" * 600_000}]},
    ],
)
def test_a_request_that_makes_no_sense_is_invalid(more: dict[str, Any]) -> None:
    answer = Bench().complete(ALPHA, **more)
    assert answer.status == 400
    assert answer.json["detail"].startswith("Invalid request: ")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5000])
def test_a_body_that_is_no_object_is_invalid(body: bytes) -> None:
    bench = Bench()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = bench.call("POST", "/v1/chat/completions", body, headers)
    assert answer.status == 400
    assert bench.outcomes() == ["refused"]


def test_a_model_beyond_its_slots_answers_that_it_is_full() -> None:
    bench = Bench(SimulatorConfig(slots=1))
    clients = [bench.client() for _ in range(3)]
    for client in clients:
        client.ask("sim/Theta-400B-TEE")
    bench.tick(1)
    full = [client.answer() for client in clients[1:]]
    assert clients[0].answer().status == 200
    assert {answer.status for answer in full} == {429}
    assert full[0].json == {
        "detail": "Infrastructure is at maximum capacity, try again later",
    }
    assert bench.complete("sim/Theta-400B-TEE").status == 200


def test_the_journal_tells_what_was_asked_but_neither_prompt_nor_token() -> None:
    bench = Bench()
    client = bench.client()
    body = b'{"model":"sim/Zeta-8B","messages":[{"role":"user","content":"%s"}]}' % PROMPT.encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Request-ID": "req-1"}
    client.send("POST", "/v1/chat/completions", body, headers)
    assert bench.journal()["in_flight"] == 1
    bench.tick(2)
    shown = bench.call("GET", "/_simulator/requests")
    (entry,) = shown.json["requests"]
    assert entry.pop("invocation_id") == client.answer().headers["X-Chutes-InvocationID"]
    assert shown.json["in_flight"] == 0
    assert entry == {
        "path": "/v1/chat/completions",
        "model": "sim/Zeta-8B",
        "stream": False,
        "request_id": "req-1",
        "outcome": "completed",
        "fault": None,
        "body_sha256": sha256(body).hexdigest(),
    }
    assert PROMPT.encode() not in shown.body
    assert TOKEN.encode() not in shown.body


def test_other_paths_and_methods_are_refused_as_json() -> None:
    bench = Bench()
    assert bench.call("GET", "/v1/nothing").json == {"detail": "Not Found"}
    assert bench.call("GET", "/v1/chat/completions").status == 405
    assert bench.call("POST", "/v1/models").json == {"detail": "Method Not Allowed"}


def test_two_requests_on_one_connection_are_both_answered() -> None:
    bench = Bench()
    client = bench.client()
    for _ in range(2):
        client.transport.clear()
        client.ask(ALPHA)
        bench.tick(1)
        assert client.answer().body.endswith(b"[DONE]\n\n")
    assert bench.outcomes() == ["completed", "completed"]


def test_a_header_that_is_no_utf8_costs_nothing() -> None:
    bench = Bench()
    headers = {"Authorization": "Bearer \xff", "X-Request-ID": "\xff"}
    answer = bench.call("POST", "/v1/chat/completions", b"{}", headers)
    assert answer.status == 404
    assert bench.journal()["requests"][0]["request_id"] == "\xff"
