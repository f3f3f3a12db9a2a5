"""An exception of our own while a body crosses: the answer breaks, and nothing ends as if it were whole.

Over `Wire` of `tests/dataplane/test_backpressure.py`: the whole router between Twisted's own protocols.
"""

from collections.abc import Iterator

import pytest
from twisted.python.failure import Failure

from autopilot.policy.deadlines import Deadlines
from autopilot.policy.ending import StreamWatch
from autopilot.policy.gate import FirstBytes
from autopilot.web.downstream import RequestDownstream
from tests.dataplane.test_backpressure import CHUNK, HEADERS, REQUEST, Wire

DEADLINES = Deadlines(headers=10, completion=600, first_body_byte=120)
LAST_CHUNK = b"0\r\n\r\n"
DONE = b"10\r\n\n\ndata: [DONE]\n\n\r\n"


def fail(*_arguments: object) -> None:
    raise RuntimeError("the code is wrong")


@pytest.fixture
def wire(lost_errors: list[Failure]) -> Iterator[Wire]:
    """A router that carries a stream; whatever fails, it must be noted, and nothing be left behind."""
    carrying = Wire()
    carrying.server.dataReceived(REQUEST)
    carrying.client.dataReceived(HEADERS + CHUNK)
    yield carrying
    assert not carrying.down.value().endswith(LAST_CHUNK)
    assert carrying.down.disconnecting
    carrying.leave()
    assert [call for call in carrying.clock.getDelayedCalls() if call.active()] == []
    assert [failure.type for failure in lost_errors] == [RuntimeError]
    lost_errors.clear()


def closed(wire: Wire) -> bool:
    return wire.up.disconnecting or wire.up.producerState == "stopped"


def test_one_while_bytes_arrive_breaks_the_answer(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StreamWatch, "feed", fail)
    wire.client.dataReceived(CHUNK)
    assert closed(wire)


def test_one_with_the_rest_of_a_whole_answer_breaks_it_too(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StreamWatch, "feed", fail)
    wire.client.dataReceived(DONE + LAST_CHUNK)


def test_one_when_the_body_ends_breaks_the_answer(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StreamWatch, "end", fail)
    wire.client.dataReceived(DONE + LAST_CHUNK)


def test_one_when_the_answer_is_closed_breaks_it(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RequestDownstream, "finish", fail)
    wire.client.dataReceived(DONE + LAST_CHUNK)


def test_one_at_the_idle_timeout_breaks_the_answer(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.client.dataReceived(b"2\r\n\n\n\r\n")
    monkeypatch.setattr("autopilot.dataplane.relay.error_event", fail)
    wire.clock.advance(DEADLINES.idle + 1)
    assert closed(wire)


def test_one_before_commit_is_an_internal_error(
    monkeypatch: pytest.MonkeyPatch, lost_errors: list[Failure]
) -> None:
    carrying = Wire()
    carrying.server.dataReceived(REQUEST)
    carrying.client.dataReceived(HEADERS)
    monkeypatch.setattr(FirstBytes, "feed", fail)
    carrying.client.dataReceived(CHUNK)
    assert carrying.down.value().startswith(b"HTTP/1.1 500 ")
    assert b'"internal_error"' in carrying.down.value()
    assert closed(carrying)
    carrying.leave()
    assert [failure.type for failure in lost_errors] == [RuntimeError]
    lost_errors.clear()
