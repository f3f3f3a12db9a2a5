"""The evidence client on the wire: against the simulator's own resource, and against hostile answers.

The real client of `autopilot.http_client` sends on a `Line`; what arrives there is either handed to a
simulator in memory, whose answer goes back, or answered by the test.
"""

import gzip
import json
from collections.abc import Coroutine
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from autopilot.connection_pool import ConnectionPool
from autopilot.controlplane.evidence import (
    NonceError,
    evidence_question,
    fetch_evidence,
    new_nonce,
)
from autopilot.controlplane.fetch import Answer, FetchError, FetchFault, Question, ask
from autopilot.http_client import make_client
from autopilot.policy.evidence import EvidenceOutcome, Judgement, judge_evidence, nonce_fault
from tests.simulator.harness import Bench as SimulatorBench
from tests.test_http_client import Line, Net, header_lines

API = "http://api.test"
CHUTE = "sim/Alpha-70B-TEE"
NONCE = "0123456789abcdef" * 4
WITHIN = 10.0
LIMIT = 1000


class Asking:
    """A request under way, and the line that it is on."""

    def __init__(self, net: Net, asking: Coroutine[Deferred[Any], Any, Any]) -> None:
        self.net = net
        self.ended: list[Any] = []
        Deferred.fromCoroutine(asking).addBoth(self.ended.append)

    @property
    def result(self) -> Any:
        (result,) = self.ended
        return result

    @property
    def fault(self) -> FetchFault:
        error = self.result.value
        assert isinstance(error, FetchError)
        return error.fault


class Bench:
    def __init__(self) -> None:
        self.net = Net()
        pool = ConnectionPool(self.net.reactor, max_idle=1, connect_timeout=WITHIN)
        self.client = make_client(
            self.net.reactor, pool, accept_encoding=b"gzip", retried=lambda: None
        )

    def evidence(self, chute: str = CHUTE, nonce: str = NONCE, *, limit: int = LIMIT) -> Asking:
        return Asking(
            self.net,
            fetch_evidence(
                self.client,
                API,
                chute,
                nonce=nonce,
                clock=self.net.reactor,
                within=WITHIN,
                max_bytes=limit,
            ),
        )

    def ask(self, question: Question, *, limit: int = LIMIT) -> Asking:
        return Asking(
            self.net,
            ask(self.client, question, clock=self.net.reactor, within=WITHIN, max_bytes=limit),
        )


def refused(status: bytes, body: bytes, fields: bytes = b"") -> Judgement:
    bench = Bench()
    asking = bench.evidence()
    bench.net.accept().answer(body, status=status, fields=fields)
    judgement = asking.result
    assert isinstance(judgement, Judgement)
    return judgement


def relay(line: Line, simulator: SimulatorBench) -> None:
    """Have the simulator answer what was sent on `line`."""
    method, target, _version = line.received.split(b"\r\n", 1)[0].decode().split(" ")
    answer = simulator.call(method, target)
    line.answer(answer.body, status=b"%d Word" % answer.status)


def of_simulator(chute: str, nonce: str | None) -> Judgement:
    bench = Bench()
    asking = bench.ask(evidence_question(API, chute, nonce), limit=1_000_000)
    relay(bench.net.accept(), SimulatorBench())
    answer = asking.result
    assert isinstance(answer, Answer)
    return judge_evidence(answer.status, answer.body)


def test_a_nonce_is_new_each_time_and_one_the_platform_takes() -> None:
    nonces = {new_nonce() for _ in range(10)}
    assert len(nonces) == 10
    assert all(nonce_fault(nonce) is None for nonce in nonces)


@pytest.mark.parametrize("nonce", ["", "abcde", "z" * 64])
def test_a_bad_nonce_costs_no_request(nonce: str) -> None:
    bench = Bench()
    error = bench.evidence(nonce=nonce).result.value
    assert isinstance(error, NonceError)
    assert error.outcome is nonce_fault(nonce)
    assert bench.net.dialled == 0


def test_the_simulators_evidence_is_shape_valid() -> None:
    bench = Bench()
    asking = bench.evidence(limit=1_000_000)
    relay(bench.net.accept(), SimulatorBench())
    assert asking.result.outcome is EvidenceOutcome.SHAPE_VALID
    assert len(asking.result.instances) == 3


@pytest.mark.parametrize(
    ("chute", "nonce", "outcome"),
    [
        (CHUTE, None, EvidenceOutcome.NONCE_MISSING),
        (CHUTE, "abcde", EvidenceOutcome.NONCE_LENGTH),
        (CHUTE, "z" * 64, EvidenceOutcome.NONCE_NOT_HEX),
        ("sim/Epsilon-235B-TEE", NONCE, EvidenceOutcome.VERSION_TOO_OLD),
        ("sim/Gamma-32B", NONCE, EvidenceOutcome.NOT_TEE),
        ("sim/Nobody", NONCE, EvidenceOutcome.NOT_FOUND),
    ],
)
def test_each_refusal_of_the_simulator_is_known(
    chute: str, nonce: str | None, outcome: EvidenceOutcome
) -> None:
    assert of_simulator(chute, nonce).outcome is outcome


def test_a_name_is_one_segment_of_the_path_and_nothing_is_sent_along() -> None:
    bench = Bench()
    bench.evidence("a/../b?c#d \u00e9")
    received = bench.net.accept().received
    assert received.startswith(
        b"GET /chutes/a%2F..%2Fb%3Fc%23d%20%C3%A9/evidence?nonce=" + NONCE.encode() + b" HTTP/1.1"
    )
    assert header_lines(received, b"authorization") == []


def test_a_redirect_is_an_outcome_and_is_not_followed() -> None:
    bench = Bench()
    asking = bench.evidence()
    bench.net.accept().answer(status=b"302 Found", fields=b"location: http://elsewhere.test/\r\n")
    bench.net.turn()
    assert asking.result.outcome is EvidenceOutcome.UNEXPECTED
    assert bench.net.dialled == 1


def test_an_edge_page_is_a_refusal() -> None:
    page = b"<html><title>429 Too Many Requests</title></html>"
    assert refused(b"429 Too Many", page).outcome is EvidenceOutcome.RATE_LIMITED
    assert refused(b"502 Bad", page).outcome is EvidenceOutcome.FAILED


@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad"])
def test_a_body_over_the_limit_is_cut_whatever_the_status(status: bytes) -> None:
    bench = Bench()
    asking = bench.evidence()
    line = bench.net.accept()
    line.send(b"HTTP/1.1 %s\r\ncontent-length: 100000000\r\n\r\n" % status)
    line.send(b"x" * LIMIT)
    assert asking.ended == []
    line.send(b"x")
    assert asking.fault is FetchFault.TOO_LARGE
    bench.net.turn()
    assert not line.is_open()


def test_a_bomb_is_too_large() -> None:
    bench = Bench()
    asking = bench.evidence()
    bench.net.accept().answer(gzip.compress(bytes(1 << 20)), fields=b"content-encoding: gzip\r\n")
    assert asking.fault is FetchFault.TOO_LARGE


def test_the_refusal_and_its_body_share_one_deadline() -> None:
    bench = Bench()
    asking = bench.evidence()
    line = bench.net.accept()
    bench.net.reactor.advance(WITHIN / 2)
    line.send(b"HTTP/1.1 502 Bad\r\ncontent-length: 100\r\n\r\n{")
    bench.net.reactor.advance(WITHIN / 2 - 0.01)
    assert asking.ended == []
    bench.net.reactor.advance(0.01)
    assert asking.fault is FetchFault.TIMEOUT
    bench.net.turn()
    assert not line.is_open()
    assert bench.net.reactor.getDelayedCalls() == []


def test_half_an_answer_is_no_answer() -> None:
    bench = Bench()
    asking = bench.evidence()
    line = bench.net.accept()
    line.send(b"HTTP/1.1 404 Gone\r\ncontent-length: 100\r\n\r\n{")
    line.hang_up()
    assert asking.fault is FetchFault.BROKEN


def test_what_is_asked_goes_out_as_it_is_and_a_refusal_comes_back_whole() -> None:
    bench = Bench()
    asking = bench.ask(Question(url=f"{API}/x", method="POST", fields=[("X-One", "1")]))
    line = bench.net.accept()
    assert line.received.startswith(b"POST /x HTTP/1.1\r\n")
    assert header_lines(line.received, b"x-one") == [b"1"]
    line.answer(json.dumps({"detail": 1}).encode(), status=b"402 Pay", fields=b"x-two: 2\r\n")
    assert asking.result.status == 402
    assert asking.result.body == b'{"detail": 1}'
    assert [v for n, v in asking.result.fields if n.lower() == b"x-two"] == [b"2"]
