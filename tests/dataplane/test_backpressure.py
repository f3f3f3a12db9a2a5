"""A slow client slows the upstream: real protocols on both sides, and a `StringTransport` for each.

`treq.testing` cannot show this: its transports ignore a pause. Here the whole router stands between
Twisted's own HTTP server channel and its own HTTP client protocol.
"""

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from treq.client import HTTPClient
from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol, Request
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from autopilot.dataplane.choosing import Limits
from autopilot.dataplane.upstream import Upstream
from autopilot.http_client import TransparentAgent
from autopilot.metrics import Metrics
from autopilot.policy.readiness import MaxAges
from autopilot.testing import FixedPicture, picture_of
from autopilot.web.app import Api
from autopilot.web.connections import Connections
from autopilot.web.cors import Cors
from autopilot.web.server import AutopilotSite
from tests.routers import router_over
from tests.web.harness import LIMITS

BODY = b'{"model":"m","stream":true}'
REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)
HEADERS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n"
)
CHUNK = b"3\r\nabc\r\n"


@implementer(IAgent)
class OneConnection:
    """Sends its one request over a client protocol on `transport`."""

    def __init__(self) -> None:
        self.transport = StringTransport()
        self.protocol = HTTP11ClientProtocol()
        self.protocol.makeConnection(self.transport)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        assert headers is not None
        headers.setRawHeaders(b"host", [b"up.test"])
        path = uri.removeprefix(b"http://up.test")
        answer: Deferred[IResponse] = self.protocol.request(
            Request(method, path, headers, bodyProducer, persistent=True)
        )
        return answer


class Wire:
    """The router between `down`, the client's transport, and `up`, the upstream's."""

    def __init__(self) -> None:
        clock = Clock()
        agent = OneConnection()
        metrics = Metrics(CollectorRegistry())
        source = FixedPicture(picture_of("m"))
        upstream = Upstream(
            HTTPClient(TransparentAgent(agent, accept_encoding=b"identity")),
            "http://up.test",
            clock=clock,
        )
        router = router_over(
            upstream,
            source,
            clock=clock,
            limits=Limits(aliases=("auto",), max_list_items=8, max_attempts=3),
        )
        limits = replace(LIMITS, body_bytes=1000)
        connections = Connections(limits)
        api = Api(
            router,
            source,
            metrics=metrics,
            clock=clock,
            monotonic=clock.seconds,
            max_ages=MaxAges(catalog=1, utilization=1),
            aliases=("auto",),
            trusted_proxies=(),
            connections=connections,
        )
        site = AutopilotSite(
            api.app.resource(),
            limits=limits,
            connections=connections,
            cors=Cors(()),
            refused=lambda _request_id, _error: None,
            reactor=clock,
            monotonic=clock.seconds,
        )
        self.clock = clock
        self.up = agent.transport
        self.client = agent.protocol
        self.down = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 1))
        self.server: Any = site.buildProtocol(None)
        self.server.makeConnection(self.down)

    def leave(self) -> None:
        """The client goes away."""
        self.server.connectionLost(Failure(error.ConnectionLost()))


@pytest.fixture
def wire() -> Wire:
    return Wire()


def producer_of(transport: StringTransport) -> IPushProducer:
    producer = transport.producer
    assert isinstance(producer, object)
    return IPushProducer(producer)


def test_a_client_that_stops_reading_stops_the_upstream_and_resumes_it(wire: Wire) -> None:
    wire.server.dataReceived(REQUEST)
    wire.client.dataReceived(HEADERS)
    wire.client.dataReceived(CHUNK)
    assert wire.down.value().endswith(CHUNK)
    assert wire.up.producerState == "producing"
    producer_of(wire.down).pauseProducing()
    assert wire.up.producerState == "paused"
    producer_of(wire.down).resumeProducing()
    assert wire.up.producerState == "producing"
    wire.leave()


def test_a_complete_answer_ends_with_the_last_chunk(wire: Wire) -> None:
    wire.server.dataReceived(REQUEST)
    done = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    wire.client.dataReceived(HEADERS + done)
    assert wire.down.value().endswith(done)
    assert not wire.down.disconnecting


def test_a_broken_answer_ends_without_it(wire: Wire) -> None:
    wire.server.dataReceived(REQUEST)
    wire.client.dataReceived(HEADERS + CHUNK)
    wire.client.connectionLost(Failure(error.ConnectionLost()))
    assert wire.down.value().endswith(CHUNK)
    assert wire.down.disconnecting
    wire.leave()
    assert [call for call in wire.clock.getDelayedCalls() if call.active()] == []


@pytest.mark.parametrize("sent", [b"", HEADERS, HEADERS + CHUNK])
def test_a_client_that_leaves_closes_the_upstream_in_the_same_turn(wire: Wire, sent: bytes) -> None:
    wire.server.dataReceived(REQUEST)
    wire.client.dataReceived(sent)
    wire.leave()
    assert wire.up.disconnecting or wire.up.disconnected or wire.up.producerState == "stopped"


def test_a_client_that_leaves_while_paused_closes_the_upstream(wire: Wire) -> None:
    wire.server.dataReceived(REQUEST)
    wire.client.dataReceived(HEADERS + CHUNK)
    producer_of(wire.down).pauseProducing()
    wire.leave()
    assert wire.up.producerState == "stopped" or wire.up.disconnecting
