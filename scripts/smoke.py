"""The smoke run: real processes, a real socket, and every scenario that a user meets, in seconds.

Simulator and router run as a user would start them. Each scenario is a table of facts that are
expected and a function that finds out what they are; it is ok when the two are equal, and when the
router has logged no error meanwhile. The report is `logs/smoke/latest.json`, the logs of both
processes lie beside it.
"""

import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Self

from processes import (
    HOST,
    ROOT,
    STOPPED,
    Process,
    free_ports,
    is_ready,
    router,
    simulator,
    wait_until,
)
from prometheus_client.parser import text_string_to_metric_families

from autopilot import __version__
from autopilot.simulator.catalogue import healthy_models

Facts = Mapping[str, object]

LOGS = ROOT / "logs" / "smoke"
ALIAS = "chutesai/AutoPilot"
# The simulator gives each more free capacity than the next, so this is their rank.
FIRST, SECOND, THIRD, *_ = (model.id for model in healthy_models(slots=1))

# Far above what a good answer takes here, so that a busy machine does not look like a failure.
HEADER_TIMEOUT_MS = 700
FIRST_BYTE_TIMEOUT_MS = 600

READY_SECONDS = 15.0
SOON_SECONDS = 1.0
"""How soon the upstream must hear that a client has gone. It is the same reactor turn, in truth."""

CHUNKS = 1000
CHUNK_DELAY_MS = 5
SHORT = 40
"""Tokens of an answer that is read to its end; without this limit an answer takes five seconds."""

_HTTP_SECONDS = 3.0
_JSON = {"Content-Type": "application/json"}
_EVENT = b"data: "
_DONE = b"[DONE]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One scenario as the report shows it."""

    name: str
    expected: Facts
    seen: Facts
    ms: int
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What should be seen, and how to look."""

    name: str
    expected: Facts
    look: Callable[["Bench"], Facts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The two processes and where they listen."""

    simulator: Process
    router: Process
    simulator_port: int
    router_port: int

    def reset(self) -> None:
        """Let the simulator forget faults and requests."""
        self.control("DELETE", "faults")
        self.control("DELETE", "requests")

    def fault(self, model: str, fault: str) -> None:
        """Make a healthy model fail."""
        self.control("PUT", f"faults/{model}", {"fault": fault})

    def control(self, method: str, topic: str, body: object = None) -> Any:
        """Ask the simulator's control route."""
        sent = None if body is None else json.dumps(body).encode()
        with Call(self.simulator_port, method, f"/_simulator/{topic}", sent) as call:
            return json.loads(call.read())

    def journal(self) -> list[dict[str, Any]]:
        """What the simulator has been asked since the reset, oldest first."""
        asked: list[dict[str, Any]] = self.control("GET", "requests")["requests"]
        return asked

    def ended(self) -> list[dict[str, Any]]:
        """The same, once nothing is open any more."""
        wait_until(lambda: self.control("GET", "requests")["in_flight"] == 0, SOON_SECONDS)
        return self.journal()

    def metric(self, name: str, **labels: str) -> int:
        """The value of one of the router's counts; 0 for a label not seen yet."""
        with Call(self.router_port, "GET", "/metrics") as call:
            text = call.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return int(sample.value)
        return 0

    def idle(self) -> bool:
        """Whether the router carries nothing."""
        return self.metric("autopilot_requests_in_progress") == 0

    def ask(self, model: str, *, stream: bool = True, max_tokens: int | None = SHORT) -> "Call":
        """Send the router a chat request, as a client that it has not met before."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": stream,
            **({} if max_tokens is None else {"max_tokens": max_tokens}),
        }
        return self.send(json.dumps(body).encode())

    def send(self, body: bytes, **headers: str) -> "Call":
        """Send the router this very body."""
        fresh = {"Authorization": f"Bearer smoke-{time.monotonic_ns()}"}
        return Call(
            self.router_port, "POST", "/v1/chat/completions", body, **fresh, **_JSON, **headers
        )


class Call:
    """One request on a connection of its own, closed with the `with`."""

    def __init__(
        self, port: int, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> None:
        self._connection = HTTPConnection(HOST, port, timeout=_HTTP_SECONDS)
        self._connection.request(method, path, body, headers)
        self._response: HTTPResponse | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.leave()

    @property
    def response(self) -> HTTPResponse:
        """Status and headers, waited for if need be."""
        if self._response is None:
            self._response = self._connection.getresponse()
        return self._response

    def read(self) -> bytes:
        """The body to its end."""
        return self.response.read()

    def header(self, name: str) -> str | None:
        """A header of the answer."""
        return self.response.headers[name]

    def event(self) -> bytes | None:
        """The next server-sent event, or None at the end."""
        while line := self.response.readline():
            if line.startswith(_EVENT):
                return line.removeprefix(_EVENT).strip()
        return None

    def leave(self) -> None:
        """Go away, whether or not the answer has ended."""
        # The response holds the socket too: it is closed with the last of the two.
        if self._response is not None:
            self._response.close()
        self._connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    """A streamed answer that was read to its end."""

    status: int
    selected: str | None
    text: str
    finish: object
    done: bool
    spread: float


def _streamed(call: Call) -> _Stream:
    status = call.response.status
    text, finish = "", None
    began = ended = time.monotonic()
    while (event := call.event()) is not None and event != _DONE:
        ended = time.monotonic()
        choice = json.loads(event)["choices"][0]
        text += choice["delta"].get("content") or ""
        finish = choice["finish_reason"]
    call.read()  # raises if the end of the body is missing
    return _Stream(
        status=status,
        selected=call.header("x-chutes-autopilot-selected"),
        text=text,
        finish=finish,
        done=event == _DONE,
        spread=ended - began,
    )


def _asked(bench: Bench) -> list[str]:
    return [f"{entry['model']} {entry['outcome']}" for entry in bench.ended()]


def _alias_streaming(bench: Bench) -> Facts:
    with bench.ask(ALIAS) as call:
        stream = _streamed(call)
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
        stream = _streamed(call)
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
        **_JSON,
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


def _start(bench: Bench) -> Facts:
    def settled() -> bool:
        return is_ready(bench.router_port) or bool(_dead(bench))

    wait_until(settled, READY_SECONDS)
    return {"ready": is_ready(bench.router_port), "dead": _dead(bench)}


def _dead(bench: Bench) -> list[str]:
    both = (bench.simulator, bench.router)
    return [process.name for process in both if process.exit_code is not None]


START = Scenario(name="start", expected={"ready": True, "dead": []}, look=_start)


def run(scenario: Scenario, bench: Bench) -> Result:
    """Look, compare, and never raise."""
    known = len(bench.router.complaints())
    started = time.monotonic()
    try:
        if scenario is not START:
            bench.reset()
        seen = scenario.look(bench)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was seen
        seen = {"error": f"{type(error).__name__}: {error}"}
    ms = round((time.monotonic() - started) * 1000)
    expected = {**scenario.expected, "router's complaints": []}
    seen = {**seen, "router's complaints": bench.router.complaints()[known:]}
    return Result(name=scenario.name, expected=expected, seen=seen, ms=ms, ok=seen == expected)


def run_all() -> list[Result]:
    """Start both, run every scenario, and leave nothing running."""
    upstream_port, router_port = free_ports(2)
    pace = (f"--chunks={CHUNKS}", f"--chunk-delay-ms={CHUNK_DELAY_MS}")
    settings = {
        "UPSTREAM_HEADER_TIMEOUT_MS": str(HEADER_TIMEOUT_MS),
        "UPSTREAM_FIRST_BODY_BYTE_TIMEOUT_MS": str(FIRST_BYTE_TIMEOUT_MS),
    }
    with ExitStack() as stack:
        bench = Bench(
            simulator=stack.enter_context(simulator(upstream_port, *pace, log=LOGS)),
            router=stack.enter_context(router(router_port, upstream_port, LOGS, **settings)),
            simulator_port=upstream_port,
            router_port=router_port,
        )
        results = [run(START, bench)]
        _show(results[0])
        if not results[0].ok:
            for process in (bench.simulator, bench.router):
                print(f"\nThe end of {process.name}'s log:\n{process.tail()}")
            return results
        for scenario in SCENARIOS:
            results.append(run(scenario, bench))
            _show(results[-1])
    return results


def _show(result: Result) -> None:
    print(f"{'ok  ' if result.ok else 'FAIL'} {result.ms:6d}  {result.name:38}", end="")
    print(_worded(result.seen if result.ok else result.expected), flush=True)
    if not result.ok:
        print(f"{'seen':>49}  {_worded(result.seen)}", flush=True)


def _worded(facts: Facts) -> str:
    return ", ".join(
        f"{name}={json.dumps(value) if isinstance(value, list) else value}"
        for name, value in facts.items()
        if not (name == "router's complaints" and value == [])
    )


def _report(results: list[Result], path: Path, seconds: float) -> bool:
    complete = len(results) == 1 + len(SCENARIOS)
    ok = complete and all(result.ok for result in results)
    report = {
        "ok": ok,
        "version": __version__,
        "python": sys.version.split()[0],
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
        "not_run": 1 + len(SCENARIOS) - len(results),
        "scenarios": [asdict(result) for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return ok


def main() -> int:
    """Run it all; the exit code says whether all was ok."""
    # As for Ctrl-C: the children are stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report = LOGS / "latest.json"
    report.unlink(missing_ok=True)
    started = time.monotonic()
    print(f"{'':4} {'ms':>6}  {'scenario':38}expected, and seen where that differs")
    try:
        results = run_all()
    except KeyboardInterrupt:
        print("\nStopped before the end.")
        return 130
    seconds = time.monotonic() - started
    ok = _report(results, report, seconds)
    bad = sum(not result.ok for result in results)
    print(f"\n{len(results)} run, {bad} failed, {seconds:.1f} s; {report.relative_to(ROOT)}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
