"""The relay behind a gate, for any stream in any pieces: bounded while it holds, exact in what it sends.

Each example is one body in pieces, a gate, and the moment at which it flows. As in the engine, a relay
whose gate has opened flows in the same turn.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from autopilot.dataplane.relay import Relay
from autopilot.interfaces import IDownstream, IUpstreamResponse
from autopilot.policy.ending import BodyEnd, End, error_event
from autopilot.policy.failover import JUDGED_BODY_BYTES
from autopilot.policy.gate import HOLD_BYTES, FirstBytes, Gate, StreamOpening, WholeDocument
from autopilot.testing import JSON_FIELDS, PLAIN_FIELDS, STREAM_FIELDS, FakeDownstream, FakeResponse

IDLE = 30.0
ONE_READ = 64 * 1024
"""Most that Twisted takes from a TCP socket at once, and so the largest piece of a body."""

FRAGMENTS = st.sampled_from(
    [
        b": comment\n\n",
        b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":""}}]}\r\n\r\n',
        b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n',
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\r\r',
        b'data:{"choices":\ndata:[{"text":"x"}]}\n\n',
        b'data: {"error":{"message":"x"}}\n\n',
        b'{"detail":"x"}\n',
        b'{"error":"x"}',
        b'{"choices":[]}',
        b"data: [DONE]\n\n",
        b"data: [[[[\n\n",
        b"event: x\nid: 1\n\n",
        b"\r",
        b"\n",
        b"\r\n",
        b"\xff\x00\xc3",
    ]
) | st.binary(max_size=30)
LONG = st.builds(
    lambda filler, length: filler * (length // len(filler)),
    st.sampled_from([b": x\n", b"\n", b"\r", b"x", b"data: {}\n", b'data: {"a":1}\n\n']),
    st.integers(1_000, 2 * HOLD_BYTES),
)
GATES: Sequence[type[Gate]] = (StreamOpening, WholeDocument, FirstBytes)
KINDS = (STREAM_FIELDS, JSON_FIELDS, PLAIN_FIELDS)


@st.composite
def pieces(draw: st.DrawFn) -> list[bytes]:
    """A body in pieces, none longer than one read."""
    body = b"".join(draw(st.lists(FRAGMENTS, max_size=12)))
    if draw(st.booleans()):
        body += draw(LONG) + b"".join(draw(st.lists(FRAGMENTS, max_size=3)))
    # Small pieces of small bodies only: a look at each costs as much as what is held.
    longest = draw(st.sampled_from([1, 7, 500, ONE_READ])) if len(body) < 2_000 else ONE_READ
    cuts = {0, len(body), *range(0, len(body), longest)}
    cuts |= draw(st.sets(st.integers(0, len(body)), max_size=20))
    return [body[start:stop] for start, stop in pairwise(sorted(cuts))]


def gate_of(kind: type[Gate]) -> Gate:
    return FirstBytes(JUDGED_BODY_BYTES) if kind is FirstBytes else kind()


class Carried:
    """One relay, its upstream and its client."""

    def __init__(self, kind: type[Gate], fields: Sequence[tuple[bytes, bytes]]) -> None:
        self.clock = Clock()
        self.upstream = FakeResponse(200, fields)
        self.client = FakeDownstream()
        self.relay = Relay(cast("IUpstreamResponse", self.upstream), clock=self.clock, idle=IDLE)
        self.gate = gate_of(kind)
        self.most_held = 0
        self.most_held_shut = 0
        self.opened = False
        self.ended: list[End] = []
        self.flowing: Deferred[End] | None = None

    def hold(self) -> None:
        self.relay.hold(self.gate).addCallback(self._flow)
        self._look()

    def send(self, piece: bytes) -> None:
        self.upstream.send(piece)
        self._look()

    def _flow(self, _opened: None) -> None:
        self.opened = True
        self._look()
        self.gate.outcome(self.relay.held, self.relay.framing)
        self.client.begin(200, (), None)
        self.flowing = self.relay.flow_to(cast("IDownstream", self.client))
        self.flowing.addCallback(self.ended.append)
        self._look()

    def _look(self) -> None:
        held = len(self.relay.held)
        self.most_held = max(self.most_held, held)
        if not self.opened:
            self.most_held_shut = max(self.most_held_shut, held)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(GATES),
    st.sampled_from(KINDS),
    pieces(),
    st.sampled_from(BodyEnd) | st.none(),
    st.lists(st.booleans(), max_size=10),
)
def test_any_body_in_any_pieces_is_held_within_the_bound_and_sent_exactly(
    kind: type[Gate],
    fields: Sequence[tuple[bytes, bytes]],
    parts: list[bytes],
    end: BodyEnd | None,
    pauses: list[bool],
) -> None:
    """While the gate is shut less than `HOLD_BYTES` is held; the piece that opens it comes on top.

    That is all, since a relay whose gate has opened flows before anything else can arrive. The
    largest piece is one read of the socket.
    """
    carried = Carried(kind, fields)
    carried.hold()
    sent = b""
    for number, piece in enumerate(parts):
        carried.send(piece)
        sent += piece
        if carried.opened:
            assert carried.relay.held == b""
            assert sum(map(len, carried.client.parts)) == len(sent)
            if number < len(pauses) and pauses[number] and carried.client.producer is not None:
                carried.client.producer.pauseProducing()
                carried.client.producer.resumeProducing()
    if end is not None:
        carried.upstream.end(end)
    else:
        carried.clock.advance(IDLE + 1)
    event(f"{kind.__name__}: {carried.client.end}")

    assert carried.most_held_shut < HOLD_BYTES
    assert carried.most_held < HOLD_BYTES + max(map(len, parts), default=1)
    if not carried.opened:
        # Nothing has ended it and nothing has opened it: it is all there, for whoever asks.
        assert carried.relay.held == sent
        assert carried.client.status is None
        return
    (ended,) = carried.ended
    added = carried.client.received.removeprefix(sent)
    assert carried.client.received == sent + added
    assert added in ({b""} if ended is End.COMPLETE else {b"", error_event(ended)})
    assert carried.client.end == ("finished" if ended is End.COMPLETE else "broken")
    assert carried.relay.bytes_sent == len(sent)
    assert not carried.clock.getDelayedCalls()


@settings(deadline=None)
@given(st.sampled_from(GATES), st.sampled_from(KINDS), pieces(), st.data())
def test_a_hold_that_is_over_before_its_gate_opens_loses_nothing_either(
    kind: type[Gate], fields: Sequence[tuple[bytes, bytes]], parts: list[bytes], data: st.DataObject
) -> None:
    """As at a deadline: the hold is cancelled, and what was held flows with the rest behind it."""
    carried = Carried(kind, fields)
    holding = carried.relay.hold(carried.gate)
    holding.addErrback(lambda _cancelled: None)
    late = data.draw(st.integers(0, len(parts)))
    for piece in parts[:late]:
        if not holding.called:
            carried.upstream.send(piece)
    arrived = carried.relay.held
    holding.cancel()
    carried.client.begin(200, (), None)
    carried.relay.flow_to(cast("IDownstream", carried.client)).addCallback(carried.ended.append)
    for piece in parts[late:]:
        carried.upstream.send(piece)
    carried.upstream.end(BodyEnd.BROKEN)
    sent = arrived + b"".join(parts[late:])
    assert carried.client.received in {sent, sent + error_event(carried.ended[0])}


@settings(deadline=None)
@given(st.sampled_from(GATES), st.lists(st.binary(min_size=1, max_size=500), max_size=100))
def test_what_came_with_the_head_is_held_in_one_go_and_bounded_by_that_read(
    kind: type[Gate], early: list[bytes]
) -> None:
    """Twisted hands over what it read behind the head before `hold` returns: less than one read."""
    carried = Carried(kind, STREAM_FIELDS)
    carried.upstream.send(*early)
    carried.hold()
    assert carried.most_held <= len(b"".join(early)) < ONE_READ
    carried.upstream.end()
    assert carried.client.received.startswith(b"".join(early))


@pytest.mark.parametrize("size", [1024, 1023, ONE_READ])
@pytest.mark.parametrize("kind", [StreamOpening, WholeDocument])
def test_the_bound_is_reached_and_no_more(kind: type[Gate], size: int) -> None:
    carried = Carried(kind, STREAM_FIELDS)
    carried.hold()
    for _ in range(HOLD_BYTES // size + 10):
        carried.send(b"x" * size)
    assert HOLD_BYTES <= carried.most_held < HOLD_BYTES + size
    assert carried.client.received == b"x" * size * (HOLD_BYTES // size + 10)
