"""How the smoke run talks to the two processes, as their client and over real sockets."""

import json
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any, Self

from processes import HOST, Process, wait_until
from prometheus_client.parser import text_string_to_metric_families

SOON_SECONDS = 1.0
"""How soon the upstream must hear that a client has gone. It is the same reactor turn, in truth."""

SHORT = 40
"""Tokens of an answer that is read to its end; without this limit an answer takes five seconds."""

JSON_HEADERS = {"Content-Type": "application/json"}
"""What goes with a body that is JSON."""

_HTTP_SECONDS = 3.0
_EVENT = b"data: "
_DONE = b"[DONE]"


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
            self.router_port,
            "POST",
            "/v1/chat/completions",
            body,
            **fresh,
            **JSON_HEADERS,
            **headers,
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
class Stream:
    """A streamed answer that was read to its end."""

    status: int
    selected: str | None
    text: str
    finish: object
    done: bool
    spread: float


def streamed(call: Call) -> Stream:
    """Read a streamed answer to its end."""
    status = call.response.status
    text, finish = "", None
    began = ended = time.monotonic()
    while (event := call.event()) is not None and event != _DONE:
        ended = time.monotonic()
        choice = json.loads(event)["choices"][0]
        text += choice["delta"].get("content") or ""
        finish = choice["finish_reason"]
    call.read()  # raises if the end of the body is missing
    return Stream(
        status=status,
        selected=call.header("x-chutes-autopilot-selected"),
        text=text,
        finish=finish,
        done=event == _DONE,
        spread=ended - began,
    )
