"""The scenarios of the smoke run, each a table of expected facts and a function that finds them out."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from http.client import HTTPException

from processes import STOPPED, is_ready, wait_until
from smoke_client import JSON_HEADERS, SHORT, SOON_SECONDS, Bench, Call, streamed

from autopilot.simulator.catalogue import healthy_models

Facts = Mapping[str, object]
"""What is expected or seen, by name."""

ALIAS = "chutesai/AutoPilot"
# The simulator gives each more free capacity than the next, so this is their rank.
FIRST, SECOND, THIRD, *_ = (model.id for model in healthy_models(slots=1))

# Far above what a good answer takes here, so that a busy machine does not look like a failure.
HEADER_TIMEOUT_MS = 700
"""The router's patience for the headers of an answer."""

FIRST_BYTE_TIMEOUT_MS = 600

# Far below what the last scenario's stream takes, so that it has to be broken off.
DRAIN_GRACE_MS = 300
"""The router's patience for the first byte of its body."""

CHUNK_DELAY_MS = 5
"""The simulator's pause between two chunks, from which follows how long an answer takes."""

READY_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What should be seen, and how to look."""

    name: str
    expected: Facts
    look: Callable[[Bench], Facts]


def _asked(bench: Bench) -> list[str]:
    return [f"{entry['model']} {entry['outcome']}" for entry in bench.ended()]


def _alias_streaming(bench: Bench) -> Facts:
    with bench.ask(ALIAS) as call:
        stream = streamed(call)
    return {
        "status": stream.status,
        "selected": stream.selected,
        "words": len(stream.text.split()),
        "finish": stream.finish,
        "done": stream.done,
        # Half the time that the simulator takes: an answer that was held back comes at once.
        "as it comes": stream.spread > SHORT * CHUNK_DELAY_MS / 1000 / 2,
        "upstream": _asked(bench),
    }


def _failover(bench: Bench, *, model: str, reason: str, patience_ms: int = 0) -> Facts:
    counted = partial(bench.metric, "autopilot_failovers_total", reason=reason)
    before = counted()
    started = time.monotonic()
    with bench.ask(model) as call:
        status = call.response.status
        waited_ms = (time.monotonic() - started) * 1000
        stream = streamed(call)
    return {
        "status": status,
        "selected": stream.selected,
        "done": stream.done,
        "upstream": _asked(bench),
        "failovers": counted() - before,
        **({"waited": waited_ms >= patience_ms} if patience_ms else {}),
    }


def _alias_header_timeout(bench: Bench) -> Facts:
    bench.fault(FIRST, "header-stall")
    return _failover(bench, model=ALIAS, reason="header_timeout", patience_ms=HEADER_TIMEOUT_MS)


def _list_503(bench: Bench) -> Facts:
    return _failover(bench, model=f"faults/cold-503,{THIRD}", reason="unavailable")


def _list_first_byte_timeout(bench: Bench) -> Facts:
    bench.fault(SECOND, "first-byte-stall")
    return _failover(
        bench,
        model=f"{SECOND}, {THIRD}",
        reason="first_byte_timeout",
        patience_ms=FIRST_BYTE_TIMEOUT_MS,
    )


def _direct(bench: Bench) -> Facts:
    # Odd white space and spellings that a JSON library would not write the same way again.
    body = (
        '{ "messages" :[{"role":"user","content":"\\u0048\\/i"}], "temperature":1.0,\n'
        f' "model" : "{THIRD}" ,"max_tokens":{SHORT},"metadata":{{"n":{"7" * 60},"x":1E+2}} }}\n'
    ).encode()
    with bench.send(body, **{"X-Request-ID": "smoke-direct"}) as call:
        answer = json.loads(call.read())
        selected = call.header("x-chutes-autopilot-selected")
        request_id = call.header("x-request-id")
        status = call.response.status
    entries = bench.ended()
    return {
        "status": status,
        "selected": selected,
        "request id": request_id,
        "words": len(answer["choices"][0]["message"]["content"].split()),
        "upstream": [f"{entry['model']} {entry['outcome']}" for entry in entries],
        "request id upstream": [entry["request_id"] for entry in entries],
        "body untouched": [entry["body_sha256"] for entry in entries] == [sha256(body).hexdigest()],
    }


def _refused_429(bench: Bench, fault: str) -> Facts:
    model = f"faults/{fault}"
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    platform = Call(
        bench.simulator_port,
        "POST",
        "/v1/chat/completions",
        json.dumps(body).encode(),
        Authorization="Bearer smoke",
        **JSON_HEADERS,
    )
    with platform:
        original = (platform.response.status, platform.header("content-type"), platform.read())
    bench.control("DELETE", "requests")
    # There is somebody left to ask, and asking would be punished.
    with bench.ask(f"{model},{FIRST}") as call:
        answer = (call.response.status, call.header("content-type"), call.read())
        selected = call.header("x-chutes-autopilot-selected")
        should_retry = call.header("x-should-retry")
    entries = bench.ended()
    return {
        "status": answer[0],
        "answer untouched": answer == original,
        "selected": selected,
        "should retry": should_retry,
        "attempts": len(entries),
    }


def _refusal_expected(fault: str) -> Facts:
    return {
        "status": 429,
        "answer untouched": True,
        "selected": f"faults/{fault}",
        "should retry": "false",
        "attempts": 1,
    }


def _leaves_mid_stream(bench: Bench) -> Facts:
    counted = partial(bench.metric, "autopilot_stream_ends_total", end="client_gone")
    before = counted()
    with bench.ask(FIRST, max_tokens=None) as call:
        events = [call.event() for _ in range(3)]
    return {"read": len([event for event in events if event]), **_gone(bench)} | {
        "counted": counted() - before
    }


def _leaves_before_headers(bench: Bench) -> Facts:
    # Not streamed, so that the router itself would wait for ten minutes.
    with bench.ask("faults/header-stall", stream=False):
        waiting = wait_until(lambda: bool(bench.journal()), SOON_SECONDS)
        carried = bench.metric("autopilot_requests_in_progress")
    return {"waiting": waiting, "in progress": carried, **_gone(bench)}


def _gone(bench: Bench) -> Facts:
    return {
        "noticed upstream": wait_until(
            lambda: [entry["outcome"] for entry in bench.journal()] == ["client_gone"],
            SOON_SECONDS,
        ),
        "back to idle": wait_until(bench.idle, SOON_SECONDS),
    }


def _unknown_model(bench: Bench) -> Facts:
    with bench.ask("nobody/knows-this") as call:
        error = json.loads(call.read())["error"]
        status = call.response.status
    return {
        "status": status,
        "code": error["code"],
        "type": error["type"],
        "param": error["param"],
        "named": "nobody/knows-this" in error["message"],
        "upstream": _asked(bench),
    }


def _sigterm(bench: Bench) -> Facts:
    # A stream that would go on for seconds must not hold them up, nor end as if it were whole.
    with bench.ask(FIRST, max_tokens=None) as call:
        streaming = call.event() is not None
        codes = [process.stop() for process in (bench.router, bench.simulator)]
        try:
            call.read()
            cut = False
        except (OSError, HTTPException):
            cut = True
    return {
        "streaming": streaming,
        "router stopped": codes[0] in STOPPED,
        "simulator stopped": codes[1] in STOPPED,
        "stream visibly cut": cut,
        "simulator's complaints": bench.simulator.complaints(),
    }


_LEFT = {"noticed upstream": True, "back to idle": True}


def _answered_by(model: str, upstream: list[str], **more: object) -> Facts:
    return {"status": 200, "selected": model, "done": True, "upstream": upstream, **more}


SCENARIOS = (
    Scenario(
        name="alias streaming",
        expected={
            **_answered_by(FIRST, [f"{FIRST} completed"]),
            "words": SHORT,
            "finish": "length",
            "as it comes": True,
        },
        look=_alias_streaming,
    ),
    Scenario(
        name="alias failover on header timeout",
        expected=_answered_by(
            SECOND,
            [f"{FIRST} client_gone", f"{SECOND} completed"],
            failovers=1,
            waited=True,
        ),
        look=_alias_header_timeout,
    ),
    Scenario(
        name="list failover on 503",
        expected=_answered_by(
            THIRD, ["faults/cold-503 refused", f"{THIRD} completed"], failovers=1
        ),
        look=_list_503,
    ),
    Scenario(
        name="list failover on first-byte timeout",
        expected=_answered_by(
            THIRD,
            [f"{SECOND} client_gone", f"{THIRD} completed"],
            failovers=1,
            waited=True,
        ),
        look=_list_first_byte_timeout,
    ),
    Scenario(
        name="direct passthrough",
        expected={
            "status": 200,
            "selected": None,
            "request id": "smoke-direct",
            "words": SHORT,
            "upstream": [f"{THIRD} completed"],
            "request id upstream": ["smoke-direct"],
            "body untouched": True,
        },
        look=_direct,
    ),
    Scenario(
        name="429 passthrough, the edge's page",
        expected=_refusal_expected("html-429"),
        look=partial(_refused_429, fault="html-429"),
    ),
    Scenario(
        name="429 passthrough, the account's limit",
        expected=_refusal_expected("account-429"),
        look=partial(_refused_429, fault="account-429"),
    ),
    Scenario(
        name="client disconnect mid-stream",
        expected={"read": 3, **_LEFT, "counted": 1},
        look=_leaves_mid_stream,
    ),
    Scenario(
        name="client disconnect before headers",
        expected={"waiting": True, "in progress": 1, **_LEFT},
        look=_leaves_before_headers,
    ),
    Scenario(
        name="unknown model",
        expected={
            "status": 400,
            "code": "unknown_model",
            "type": "invalid_request_error",
            "param": "model",
            "named": True,
            "upstream": [],
        },
        look=_unknown_model,
    ),
    Scenario(
        name="SIGTERM ends both",
        expected={
            "streaming": True,
            "router stopped": True,
            "simulator stopped": True,
            "stream visibly cut": True,
            "simulator's complaints": [],
        },
        look=_sigterm,
    ),
)
"""All that follow the start, in this order: the last one ends both processes."""


def _start(bench: Bench) -> Facts:
    def settled() -> bool:
        return is_ready(bench.router_port) or bool(_dead(bench))

    wait_until(settled, READY_SECONDS)
    return {"ready": is_ready(bench.router_port), "dead": _dead(bench)}


def _dead(bench: Bench) -> list[str]:
    both = (bench.simulator, bench.router)
    return [process.name for process in both if process.exit_code is not None]


START = Scenario(name="start", expected={"ready": True, "dead": []}, look=_start)
"""What must be ok before any other scenario can be."""
