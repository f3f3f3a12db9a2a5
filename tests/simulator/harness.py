"""A simulator without a socket: its real site on in-memory transports, its time on a clock.

`Bench` starts the whole service on a `MemoryReactorClock`; `Bench.client()` is one connection, whose
answer is read by the standard library's own HTTP parser. What a transport was told (`disconnecting`,
`disconnected`) says how a connection ended; `leave()` is the client hanging up.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from http.client import HTTPResponse
from io import BytesIO
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from autopilot.simulator.config import SimulatorConfig
from autopilot.simulator.service import make_simulator

NOW = datetime(2026, 2, 18, 5, 48, 8, 568123, tzinfo=UTC)
TOKEN = "a-test-token"
PROMPT = "a-test-prompt"
LONG = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The payloads before `[DONE]`."""
        lines = self.body.decode().split("\n\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


class _Wire:
    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, _mode: str) -> BytesIO:
        return BytesIO(self._received)


class Client:
    def __init__(self, bench: "Bench") -> None:
        self.transport = StringTransport()
        self._bench = bench
        site = bench.reactor.tcpServers[0][1]
        protocol = site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 50000))
        self._protocol = cast("IProtocol", protocol)
        self._protocol.makeConnection(self.transport)

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: simulator", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._protocol.dataReceived("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def ask(
        self,
        model: object,
        *,
        stream: object = True,
        path: str = "/v1/chat/completions",
        authorization: str | None = f"Bearer {TOKEN}",
        **more: object,
    ) -> None:
        wanted: dict[str, object] = {"model": model, "stream": stream}
        if path == "/v1/completions":
            wanted["prompt"] = PROMPT
        else:
            wanted["messages"] = [{"role": "user", "content": PROMPT}]
        headers = {} if authorization is None else {"Authorization": authorization}
        self.send("POST", path, json.dumps(wanted | more).encode(), headers)

    @property
    def received(self) -> bytes:
        return cast("bytes", self.transport.value())

    def answer(self) -> Answer:
        response = HTTPResponse(cast("Any", _Wire(self.received)))
        response.begin()
        body = response.read()
        return Answer(status=response.status, headers=response.headers, body=body)

    def cut(self) -> bool:
        """Whether the simulator has begun to close the connection, in whichever way."""
        return bool(self.transport.disconnecting)

    def pause(self) -> None:
        """The client has stopped reading, and all buffers on the way are full."""
        self._producer().pauseProducing()

    def resume(self) -> None:
        self._producer().resumeProducing()

    def _producer(self) -> IPushProducer:
        assert self.transport.producer is not None
        return cast("IPushProducer", self.transport.producer)

    def leave(self) -> None:
        self.transport.connected = False
        producer = self.transport.producer
        if producer is not None:
            producer.stopProducing()
        self._protocol.connectionLost(Failure(ConnectionDone()))


class Bench:
    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.reactor = MemoryReactorClock()
        self.time = NOW
        self.simulator = make_simulator(
            config or SimulatorConfig(), self.reactor, now=lambda: self.time
        )
        self.simulator.startService()

    def client(self) -> Client:
        return Client(self)

    def tick(self, seconds: float) -> None:
        """Let time pass in steps smaller than any delay between chunks."""
        self.reactor.pump([0.01] * round(seconds * 100))

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        client = self.client()
        client.send(method, path, body, headers)
        answer = client.answer()
        client.leave()
        return answer

    def complete(self, model: object, *, seconds: float = 2.0, **more: Any) -> Answer:
        client = self.client()
        client.ask(model, **more)
        self.tick(seconds)
        answer = client.answer()
        client.leave()
        return answer

    def journal(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.call("GET", "/_simulator/requests").json)

    def outcomes(self) -> list[str]:
        return [entry["outcome"] for entry in self.journal()["requests"]]

    def feed(self) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", self.call("GET", "/chutes/utilization").json)

    def row(self, name: str) -> dict[str, Any]:
        (row,) = (row for row in self.feed() if row["name"] == name)
        return row
