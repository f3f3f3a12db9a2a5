"""The web room without a socket: raw bytes in, raw bytes out, and a scripted upstream behind it.

`Bench` wires the real `AutopilotSite`, `Api`, `Router` and `Engine` as `autopilot.service` does, over
a `FakeUpstream` and a `Clock`. It is a context manager: leaving it hangs up every client and then
insists that nothing is left running, neither a timer nor a request in progress.

`Bench.client()` is one connection over a `Wire`, an in-memory TCP transport that only records how the
server treated it: `closing` (FIN after all that was written), `half_closed` (FIN, still reading) and
`aborted` (reset). A connection ends when the test says so: `hang_up` is the client leaving,
`settle` lets a close that the server has asked for take place. `fill` and `drain` are a client that
does not read. Answers are read by the standard library's parser, for which a chunked body without
its last chunk is not whole (`Answer.whole`).
"""

import json
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from http.client import HTTPResponse, IncompleteRead
from io import BytesIO, StringIO
from types import TracebackType
from typing import Any, Self, cast

from prometheus_client import CollectorRegistry
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from zope.interface import implementer

from autopilot.dataplane.choosing import Limits
from autopilot.dataplane.decisions import Decisions
from autopilot.dataplane.journal import refusal_recorder
from autopilot.interfaces import ISelector, IStickyStore, IUpstream
from autopilot.logs import observer
from autopilot.metrics import Metrics
from autopilot.policy.clientaddress import Network
from autopilot.policy.deadlines import Deadlines
from autopilot.policy.picture import Picture
from autopilot.policy.readiness import MaxAges
from autopilot.policy.rules import FREE, Rules
from autopilot.testing import FakeResponse, FakeUpstream, FixedPicture, Posted, picture_of
from autopilot.web.admin import AdminApi, AdminDoor
from autopilot.web.app import Api
from autopilot.web.channel import AutopilotChannel
from autopilot.web.connections import Connections
from autopilot.web.cors import Cors
from autopilot.web.limits import ClientLimits
from autopilot.web.server import AutopilotRequest, AutopilotSite
from tests.routers import routing_over

ALIAS = "test/Auto"
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
PEER = "192.0.2.7"
LIMITS = ClientLimits(
    headers=10.0,
    body=60.0,
    idle=75.0,
    stall=60.0,
    body_bytes=0,
    requests=100,
    connections=100,
    connections_here=100,
)
LIMIT = 2048
"""The body limit of a bench: small, so that a test can exceed it in many ways."""

DEADLINES = Deadlines(headers=10.0, completion=600.0, first_body_byte=120.0)
MAX_AGES = MaxAges(catalog=600.0, utilization=20.0)

Fields = Iterable[tuple[str, str]]


@implementer(ITCPTransport)
class Wire(StringTransport):
    """TCP as the server sees it; what is unlike `StringTransport` is like `abstract.FileDescriptor`."""

    def __init__(self, peer: str) -> None:
        kind = IPv6Address if ":" in peer else IPv4Address
        super().__init__(peerAddress=kind("TCP", peer, 50000), lenient=True)
        # Any, because mypy would take what has been asserted once for settled.
        self.half_closed: Any = False
        self.aborted: Any = False
        self.unsent = 0
        self.taken = 0

    def getHandle(self) -> Self:
        """The socket, of which only the option `TCP_INFO` is asked."""
        return self

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        return self.taken.to_bytes(8, sys.byteorder).rjust(size, b"\0")

    @property
    def closing(self) -> Any:
        return self.disconnecting

    def write(self, data: bytes) -> None:
        # A half-close, like a close, waits for what is still to be sent.
        if self.connected:
            super().write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    def unregisterProducer(self) -> None:
        self.producer = None
        self.streaming = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: FBT001
        super().registerProducer(producer, streaming)
        if not streaming:
            producer.resumeProducing()

    def startWriting(self) -> None:
        """Ask the reactor to call back; here the test does."""

    def fileno(self) -> int:
        return self.unsent

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: FBT001
        assert enabled

    def getTcpKeepAlive(self) -> bool:
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:  # noqa: FBT001
        """Nothing to keep alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response. `whole`: its framing was complete."""

    status: int
    version: int
    fields: Sequence[tuple[str, str]]
    body: bytes
    whole: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> Any:
        return self.json["error"]["code"]

    def header(self, name: str) -> list[str]:
        """All values of a field; `name` in lower case."""
        return [value for key, value in self.fields if key.lower() == name]


class _Reader(BytesIO):
    def makefile(self, _mode: str) -> "_Reader":
        return self

    def close(self) -> None:
        """The next response is read from here, too."""


def read_answers(received: bytes, methods: Sequence[str]) -> list[Answer]:
    """The responses in `received` to requests of `methods`, and nothing but them."""
    reader = _Reader(received)
    answers = []
    for method in methods:
        response = HTTPResponse(cast("Any", reader), method=method)
        response.begin()
        whole = True
        try:
            body = response.read()
        except IncompleteRead as cut:
            body, whole = cut.partial, False
        answers.append(
            Answer(
                status=response.status,
                version=response.version,
                fields=response.headers.items(),
                body=body,
                whole=whole,
            )
        )
    left = reader.read()
    assert not left, left
    return answers


def chat(model: object, *, stream: object = True, **more: object) -> bytes:
    """A request body. Its prompt is of no interest."""
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
    return json.dumps(body | more).encode()


def head(method: str, path: str, fields: Fields = (), *, version: str = "1.1") -> bytes:
    """The bytes of a request up to its body."""
    lines = [f"{method} {path} HTTP/{version}", "Host: router.test"]
    lines += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(
    body: bytes,
    fields: Fields = (),
    *,
    path: str = CHAT,
    method: str = "POST",
    version: str = "1.1",
) -> bytes:
    """The bytes of a request with a body of declared length."""
    return head(method, path, [*fields, ("Content-Length", str(len(body)))], version=version) + body


class Client:
    """One connection to the bench."""

    def __init__(self, bench: "Bench", peer: str) -> None:
        self._clock = bench.clock
        self.wire = Wire(peer)
        self.gone = False
        channel = bench.site.buildProtocol(self.wire.getPeer())
        assert isinstance(channel, AutopilotChannel)
        self.channel = channel
        self.channel.makeConnection(self.wire)

    @property
    def received(self) -> bytes:
        return cast("bytes", self.wire.value())

    def send(self, *segments: bytes) -> "Client":
        """Have `segments` arrive, each in a turn of its own, as long as the server reads."""
        for segment in segments:
            if not self.gone and not self.wire.closing:
                self.channel.dataReceived(segment)
                self.turns()
        return self

    def turns(self) -> None:
        """Let the server have its turns: it takes a turn for each request that was waiting."""
        clock = self._clock
        while any(call.getTime() <= clock.seconds() for call in clock.getDelayedCalls()):
            clock.advance(0)

    def ask(self, model: object, fields: Fields = (), **more: Any) -> "Client":
        """Send a streamed chat request."""
        return self.send(post(chat(model, **more), fields))

    def get(self, path: str, fields: Fields = ()) -> Answer:
        """Ask for `path` and read the answer."""
        return self.send(head("GET", path, fields)).answer("GET")

    def answer(self, method: str = "POST") -> Answer:
        """The only response received."""
        (answer,) = read_answers(self.received, [method])
        return answer

    def fill(self) -> None:
        """The client has stopped reading, and every buffer on the way is full."""
        self._producer().pauseProducing()

    def drain(self) -> None:
        """The client reads again."""
        self._producer().resumeProducing()

    def hang_up(self) -> None:
        """The connection is gone, in the order in which `abstract.FileDescriptor` tells of it."""
        if self.gone:
            return
        self.gone = True
        self.wire.connected = False
        if self.wire.producer is not None:
            self._producer().stopProducing()
            self.wire.unregisterProducer()
        self.channel.connectionLost(Failure(ConnectionDone()))

    def settle(self) -> None:
        """Let the close that the server has asked for take place."""
        assert self.wire.closing
        self.hang_up()

    def _producer(self) -> IPushProducer:
        assert self.wire.producer is not None
        return cast("IPushProducer", self.wire.producer)


class WatchedRequest(AutopilotRequest):
    """Notes how Twisted reports its end: `whole` or `cut`."""

    def process(self) -> None:
        ends: list[str] = self.channel.site.ends
        self.notifyFinish().addCallbacks(
            lambda _none: ends.append("whole"), lambda _failure: ends.append("cut")
        )
        super().process()


class WatchedSite(AutopilotSite):
    requestFactory = WatchedRequest

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.ends: list[str] = []


class Bench:
    """A router over an upstream that answers with `scripted` results; see `FakeUpstream`.

    With `admin`, a token or the empty one, it explains itself at the same port, or `apart`: then the port
    is the operator's, and clients have none.
    """

    def __init__(
        self,
        *scripted: FakeResponse | Exception | None,
        picture: Picture | None = None,
        upstream: IUpstream | None = None,
        sticky: IStickyStore | None = None,
        limit: int = LIMIT,
        origins: tuple[str, ...] = (),
        aliases: tuple[str, ...] = (ALIAS,),
        max_list_items: int = 8,
        trusted_proxies: tuple[Network, ...] = (),
        log_style: str = "json",
        client_limits: ClientLimits | None = None,
        rules: Rules = FREE,
        selectors: Mapping[str, ISelector] | None = None,
        admin: str | None = None,
        apart: bool = False,
    ) -> None:
        self.clock = Clock()
        self.source = FixedPicture(picture_of("org/one", "org/two") if picture is None else picture)
        self.fake = FakeUpstream(*scripted)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.log = StringIO()
        self._observer = observer(stream=self.log, level="debug", style=log_style)
        self._clients: list[Client] = []
        self.routing = routing_over(
            upstream or cast("IUpstream", self.fake),
            self.source,
            clock=self.clock,
            limits=Limits(aliases=aliases, max_list_items=max_list_items, max_attempts=3),
            sticky=sticky,
            deadlines=DEADLINES,
            rules=rules,
            selectors=selectors,
        )
        limits = replace(client_limits or LIMITS, body_bytes=limit)
        connections = self.connections = Connections(limits)
        self.decisions = Decisions(self.clock.seconds)
        self.api = Api(
            self.routing.router,
            self.source,
            metrics=self.metrics,
            clock=self.clock,
            monotonic=self.clock.seconds,
            max_ages=MAX_AGES,
            aliases=aliases,
            rules=rules,
            trusted_proxies=trusted_proxies,
            connections=connections,
            decisions=self.decisions if admin is not None else None,
        )
        root: IResource = self.api.app.resource()
        if admin is not None:
            root = self._door(others=None if apart else root, token=admin)
        self.site = WatchedSite(
            root,
            limits=limits,
            connections=connections,
            cors=Cors(origins),
            refused=refusal_recorder(self.metrics, self.clock.seconds),
            reactor=self.clock,
            monotonic=self.clock.seconds,
        )

    def __enter__(self) -> Self:
        globalLogPublisher.addObserver(self._observer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        for client in self._clients:
            client.hang_up()
        globalLogPublisher.removeObserver(self._observer)
        if kind is None:
            assert not self.clock.getDelayedCalls()
            assert self.in_progress == 0

    def _door(self, *, others: IResource | None, token: str) -> AdminDoor:
        """What is opened to the operator."""
        api = AdminApi(
            self.routing.explainer,
            self.decisions,
            worker=3,
            not_ready=self.api.not_ready,
            trusted_proxies=(),
            authorized=bool(token),
        )
        return AdminDoor(api.app.resource(), token=token, others=others)

    @property
    def ends(self) -> list[str]:
        """How Twisted reported the end of each request that was processed."""
        return self.site.ends

    @property
    def posted(self) -> list[Posted]:
        """What was sent upstream."""
        return self.fake.posted

    @property
    def asked(self) -> list[str]:
        """The models that were asked, in their order."""
        return [json.loads(posted.body)["model"] for posted in self.posted]

    @property
    def in_progress(self) -> float | None:
        return self.count("autopilot_requests_in_progress")

    def count(self, name: str, **labels: str) -> float | None:
        """One sample of the metrics, None if it does not exist."""
        return self.registry.get_sample_value(name, labels)

    def client(self, peer: str = PEER) -> Client:
        client = Client(self, peer)
        self._clients.append(client)
        return client

    def call(self, request: bytes, method: str = "POST") -> Answer:
        """Send `request` on a connection of its own and read the answer."""
        return self.client().send(request).answer(method)

    def lines(self) -> list[Mapping[str, Any]]:
        """The log so far, of a bench whose style is JSON."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


def sent_upstream(posted: Posted, name: str) -> list[bytes]:
    """The values of a field as it went upstream; `name` in lower case."""
    return [value for key, value in posted.fields if key.lower() == name.encode()]


def assert_refused(
    answer: Answer,
    status: int,
    code: str,
    *,
    param: str | None = None,
) -> None:
    """`answer` is a refusal of our own, in OpenAI's shape to the last key."""
    assert answer.whole
    assert answer.status == status
    assert answer.header("content-type") == ["application/json"]
    assert answer.header("content-length") == [str(len(answer.body))]
    error = answer.json["error"]
    assert list(answer.json) == ["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["param"] == param
    assert error["type"] == ("invalid_request_error" if status < 500 else "server_error")
    assert isinstance(error["message"], str)
    assert error["message"]
