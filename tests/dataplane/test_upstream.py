"""The upstream side over treq, without a socket: an agent that fails or answers as it is told."""

from collections.abc import Callable

import pytest
from OpenSSL.SSL import Error as TlsError
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol, ITransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web._newclient import (
    ParseError,
    RequestNotSent,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss, _DataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from zope.interface import implementer
from zope.interface.verify import verifyObject

from autopilot.connection_pool import HandshakeFailed
from autopilot.dataplane.upstream import (
    DRAIN_BYTES,
    DRAIN_SECONDS,
    AttemptFailed,
    BytesProducer,
    Upstream,
    outcome_of,
)
from autopilot.http_client import TransparentAgent
from autopilot.interfaces import IUpstream, IUpstreamBody, IUpstreamResponse
from autopilot.policy.ending import BodyEnd
from autopilot.policy.failover import Outcome


@implementer(IResponse)
class WireFake:
    """What Twisted's agent would answer; the test plays the body through `protocol`."""

    version = (b"HTTP", 1, 1)
    phrase = b"OK"
    request = None
    previousResponse = None

    def __init__(
        self, code: int = 200, headers: Headers | None = None, length: object = UNKNOWN_LENGTH
    ) -> None:
        self.code = code
        self.headers = headers or Headers({b"X-A": [b"1", b"2"], b"Content-Encoding": [b"gzip"]})
        self.length = length
        self.transport = Transport()
        self.protocol: IProtocol | None = None

    def deliverBody(self, protocol: IProtocol) -> None:
        self.protocol = protocol
        protocol.makeConnection(self.transport)
        self.transport.producerState = "producing"  # as Twisted does, whatever was asked for

    def setPreviousResponse(self, response: IResponse) -> None:
        raise NotImplementedError

    def play(self, data: bytes) -> None:
        assert self.protocol is not None
        self.protocol.dataReceived(data)

    def close(self, reason: Exception) -> None:
        assert self.protocol is not None
        self.protocol.connectionLost(Failure(reason))


@implementer(ITransport)
class Transport(StringTransport):
    """Remembers that it was told to stop."""

    stopped = False

    def stopProducing(self) -> None:
        self.stopped = True


@implementer(IAgent)
class ScriptedAgent:
    """Answers each request with the next of `answers`, and keeps what it was asked."""

    def __init__(self, *answers: Deferred[IResponse]) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[bytes, bytes, Headers, int]] = []

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        assert headers is not None
        assert bodyProducer is not None
        self.requests.append((method, uri, headers, bodyProducer.length))
        return self.answers.pop(0)


@implementer(IUpstreamBody)
class Record:
    """Keeps a body."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.ends: list[BodyEnd] = []

    def received(self, data: bytes) -> None:
        self.parts.append(data)

    def ended(self, end: BodyEnd) -> None:
        self.ends.append(end)


def upstream(*answers: Deferred[IResponse]) -> tuple[Upstream, ScriptedAgent, Clock]:
    agent = ScriptedAgent(*answers)
    clock = Clock()
    client = HTTPClient(TransparentAgent(agent, accept_encoding=b"identity"))
    return Upstream(client, "http://up.test", clock=clock), agent, clock


def answered(wire: WireFake) -> tuple[IUpstreamResponse, Upstream, Clock]:
    service, _agent, clock = upstream(succeed(wire))
    found: list[IUpstreamResponse] = []
    service.post("/v1/x", [], b"body", fresh=False).addCallback(found.append)
    return found[0], service, clock


def failed(
    *reasons: Exception, kind: Callable[[list[Failure]], Exception] = ResponseFailed
) -> Failure:
    return Failure(kind([Failure(reason) for reason in reasons]))


MEANINGS: list[tuple[Failure, Outcome]] = [
    (Failure(error.ConnectionRefusedError()), Outcome.CONNECT_FAILED),
    (Failure(error.DNSLookupError()), Outcome.DNS_FAILED),
    (Failure(error.NoRouteError()), Outcome.CONNECT_FAILED),
    (Failure(error.TimeoutError()), Outcome.CONNECT_TIMEOUT),
    (Failure(error.TCPTimedOutError()), Outcome.CONNECT_TIMEOUT),
    (failed(TlsError(), kind=ResponseNeverReceived), Outcome.TLS_FAILED),
    (Failure(HandshakeFailed()), Outcome.TLS_FAILED),
    (failed(VerificationError([]), kind=ResponseNeverReceived), Outcome.TLS_FAILED),
    (failed(error.ConnectionLost(), kind=ResponseNeverReceived), Outcome.CONNECTION_LOST),
    (failed(error.ConnectionDone(), kind=ResponseNeverReceived), Outcome.CONNECTION_LOST),
    (failed(error.ConnectionLost(), kind=RequestTransmissionFailed), Outcome.CONNECTION_LOST),
    (Failure(RequestNotSent()), Outcome.CONNECTION_LOST),
    (failed(error.ConnectionLost()), Outcome.CONNECTION_LOST),
    (failed(ParseError("x", b"y")), Outcome.PROTOCOL_ERROR),
    (failed(error.ConnectionDone(), ValueError("x")), Outcome.PROTOCOL_ERROR),
    (failed(KeyError("x")), Outcome.PROTOCOL_ERROR),
]


@pytest.mark.parametrize(("failure", "outcome"), MEANINGS)
def test_every_way_of_having_no_answer_has_one_outcome(failure: Failure, outcome: Outcome) -> None:
    service, _agent, _clock = upstream(fail(failure))
    found: list[Failure] = []
    service.post("/v1/x", [], b"", fresh=False).addErrback(found.append)
    assert isinstance(found[0].value, AttemptFailed)
    assert found[0].value.outcome is outcome


@pytest.mark.parametrize("kind", [ResponseNeverReceived, ResponseFailed])
def test_our_own_cancel_is_no_outcome(kind: type[ResponseFailed]) -> None:
    with pytest.raises(CancelledError):
        outcome_of(failed(CancelledError(), kind=kind))


def test_our_own_cancel_of_a_connection_attempt_is_none_either() -> None:
    address = IPv4Address("TCP", "192.0.2.1", 1)
    with pytest.raises(CancelledError):
        outcome_of(Failure(error.ConnectingCancelledError(address)))


def test_a_mistake_of_ours_is_not_blamed_on_the_upstream() -> None:
    with pytest.raises(TypeError):
        outcome_of(Failure(TypeError()))


def test_the_request_goes_to_the_fixed_base_with_its_fields_and_identity_encoding() -> None:
    service, agent, _clock = upstream(Deferred())
    service.post("/v1/x", [(b"A", b"1"), (b"A", b"2")], b"12345", fresh=False)
    method, uri, headers, length = agent.requests[0]
    assert (method, uri, length) == (b"POST", b"http://up.test/v1/x", 5)
    assert headers.getRawHeaders(b"a") == [b"1", b"2"]
    assert headers.getRawHeaders(b"accept-encoding") == [b"identity"]
    verifyObject(IUpstream, service)


def test_cancelling_reaches_the_agent() -> None:
    cancelled: list[bool] = []
    service, _agent, _clock = upstream(Deferred(lambda _d: cancelled.append(True)))
    answer = service.post("/v1/x", [], b"", fresh=False)
    answer.addErrback(lambda _failure: None)
    answer.cancel()
    assert cancelled == [True]


def test_fields_and_encoded_bytes_cross_as_they_are() -> None:
    wire = WireFake(length=4)
    response, _service, _clock = answered(wire)
    verifyObject(IUpstreamResponse, response)
    record = Record()
    response.deliver(record)
    wire.play(b"\x1f\x8b")
    wire.close(ResponseDone())
    assert sorted(response.fields) == [
        (b"Content-Encoding", b"gzip"),
        (b"X-A", b"1"),
        (b"X-A", b"2"),
    ]
    assert (response.length, record.parts, record.ends) == (4, [b"\x1f\x8b"], [BodyEnd.COMPLETE])


@pytest.mark.parametrize(
    ("reason", "end"),
    [
        (PotentialDataLoss(), BodyEnd.UNFRAMED),
        (ResponseFailed([Failure(_DataLoss())]), BodyEnd.BROKEN),
        (ResponseFailed([Failure(error.ConnectionLost())]), BodyEnd.BROKEN),
    ],
)
def test_only_a_body_that_its_framing_completes_is_complete(
    reason: Exception, end: BodyEnd
) -> None:
    wire = WireFake()
    response, _service, _clock = answered(wire)
    record = Record()
    response.deliver(record)
    wire.close(reason)
    assert record.ends == [end]


@pytest.mark.parametrize(
    "wire",
    [WireFake(code=-1), WireFake(code=2000), WireFake(headers=Headers({b"X": [b"a\0b"]}))],
)
def test_an_answer_that_cannot_be_passed_on_is_a_protocol_error_and_closed(wire: WireFake) -> None:
    service, _agent, _clock = upstream(succeed(wire))
    found: list[Failure] = []
    service.post("/v1/x", [], b"", fresh=False).addErrback(found.append)
    assert isinstance(found[0].value, AttemptFailed)
    assert found[0].value.outcome is Outcome.PROTOCOL_ERROR
    assert wire.transport.stopped


def test_pause_resume_and_abort_reach_the_connection_while_it_lives() -> None:
    wire = WireFake()
    response, _service, _clock = answered(wire)
    response.deliver(Record())
    response.pause()
    assert wire.transport.producerState == "paused"
    response.resume()
    assert wire.transport.producerState == "producing"
    response.abort()
    assert wire.transport.stopped


def test_a_pause_before_the_body_was_asked_for_holds() -> None:
    wire = WireFake()
    response, _service, _clock = answered(wire)
    response.pause()
    response.deliver(Record())
    assert wire.transport.producerState == "paused"


@pytest.mark.parametrize("act", ["pause", "resume", "abort"])
def test_after_the_end_the_connection_is_left_alone(act: str) -> None:
    wire = WireFake()
    response, _service, _clock = answered(wire)
    response.deliver(Record())
    wire.close(ResponseDone())
    wire.transport.producerState = "another tenant's"
    getattr(response, act)()
    assert (wire.transport.producerState, wire.transport.stopped) == ("another tenant's", False)


def test_an_abort_before_the_body_was_asked_for_closes_too() -> None:
    wire = WireFake()
    response, _service, _clock = answered(wire)
    response.abort()
    assert wire.transport.stopped


def _ends_cleanly(wire: WireFake, _clock: Clock) -> None:
    wire.play(b"x" * DRAIN_BYTES)
    wire.close(ResponseDone())


def _is_too_long(wire: WireFake, _clock: Clock) -> None:
    wire.play(b"x" * DRAIN_BYTES)
    wire.play(b"x")


def _hangs(_wire: WireFake, clock: Clock) -> None:
    clock.advance(DRAIN_SECONDS)


@pytest.mark.parametrize(
    ("play", "cut"), [(_ends_cleanly, False), (_is_too_long, True), (_hangs, True)]
)
def test_an_unwanted_body_is_drained_while_that_is_cheap(
    play: Callable[[WireFake, Clock], None], *, cut: bool
) -> None:
    wire = WireFake(503)
    response, _service, clock = answered(wire)
    response.discard(None)
    play(wire, clock)
    assert wire.transport.stopped is cut
    assert clock.getDelayedCalls() == []


def test_a_body_that_was_read_in_part_is_cut_when_unwanted() -> None:
    wire = WireFake(429)
    response, _service, clock = answered(wire)
    response.deliver(Record())
    response.discard(None)
    assert wire.transport.stopped
    assert clock.getDelayedCalls() == []


def test_closing_cuts_what_is_still_drained() -> None:
    wire = WireFake(503)
    response, service, clock = answered(wire)
    response.discard(None)
    service.close()
    assert wire.transport.stopped
    assert clock.getDelayedCalls() == []


def test_a_body_is_produced_again_for_a_silent_retry_and_let_go_afterwards() -> None:
    producer = BytesProducer(b"abc")
    first, second = StringTransport(), StringTransport()
    producer.startProducing(first)
    producer.startProducing(second)
    assert (first.value(), second.value()) == (b"abc", b"abc")
    assert producer.release("result") == "result"
    after = StringTransport()
    producer.startProducing(after)
    assert after.value() == b""
