"""The eager transport over real sockets: at once where there is room, in order and bounded where not."""

import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from autopilot.setting_values import ListenAddress
from autopilot.web.eager import EagerServer
from autopilot.web.listener import Listener
from tests.web.harness import Bench

MORE_THAN_A_SOCKET_HOLDS = 8 * 1024 * 1024


class Pair:
    """An `EagerServer` and the socket of its client. The reactor only remembers who waits for what."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.client = socket.create_connection(listening.getsockname())
            ours, _address = listening.accept()
        self.reactor: Any = MemoryReactorClock()
        nowhere: Any = None
        self.server = EagerServer(ours, Protocol(), ("", 0), nowhere, 0, self.reactor)

    def arrived(self) -> bytes:
        """What the client can read now."""
        self.client.setblocking(False)
        parts = []
        try:
            while part := self.client.recv(1 << 20):
                parts.append(part)
        except BlockingIOError:
            pass
        return b"".join(parts)

    @property
    def waits_to_write(self) -> Any:
        return self.server in self.reactor.getWriters()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.server.socket.close()
    made.client.close()


@implementer(IPushProducer)
class Producer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


def test_what_is_written_is_there_and_the_reactor_is_not_asked(pair: Pair) -> None:
    pair.server.write(b"one ")
    pair.server.writeSequence([b"two ", b"three"])
    assert pair.arrived() == b"one two three"
    assert not pair.waits_to_write


def test_what_is_held_is_sent_with_what_is_written_next(pair: Pair) -> None:
    with pair.server.holding():
        pair.server.writeSequence([b"head ", b"of it "])
    assert pair.arrived() == b""
    assert not pair.waits_to_write
    pair.server.write(b"piece")
    assert pair.arrived() == b"head of it piece"
    pair.server.write(b"next")
    assert pair.arrived() == b"next"


def test_what_is_held_is_sent_by_release_when_nothing_follows(pair: Pair) -> None:
    with pair.server.holding():
        pair.server.write(b"head")
    pair.server.release()
    pair.server.doWrite()
    assert pair.arrived() == b"head"
    pair.server.release()
    assert not pair.waits_to_write


def test_what_is_held_is_sent_before_the_connection_is_closed(pair: Pair) -> None:
    with pair.server.holding():
        pair.server.write(b"head")
    pair.server.loseConnection()
    pair.server.doWrite()
    assert pair.arrived() == b"head"


def test_what_waits_in_the_buffer_is_not_overtaken(pair: Pair) -> None:
    data = bytes(MORE_THAN_A_SOCKET_HOLDS)
    pair.server.write(data)
    with pair.server.holding():
        pair.server.write(b"head ")
    pair.server.write(b"piece")
    received = pair.arrived()
    while pair.waits_to_write:
        pair.server.doWrite()
        received += pair.arrived()
    assert received == data + b"head piece"
    pair.server.write(b"third")
    assert pair.arrived() == b"third"


def test_what_a_full_socket_does_not_take_is_kept_in_order_and_pauses_the_producer(
    pair: Pair,
) -> None:
    producer = Producer()
    pair.server.registerProducer(producer, True)
    data = bytes(range(256)) * (MORE_THAN_A_SOCKET_HOLDS // 256)
    pair.server.write(data)
    assert producer.calls == ["pause"]
    assert pair.waits_to_write
    pair.server.write(b"the end")
    received = pair.arrived()
    assert 0 < len(received) < len(data)
    while pair.waits_to_write:
        pair.server.doWrite()
        received += pair.arrived()
    assert received == data + b"the end"
    assert producer.calls == ["pause", "pause", "resume"]


def test_a_client_that_is_gone_is_found_by_the_reactor_and_raises_nothing(pair: Pair) -> None:
    pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.client.close()
    pair.server.write(b"to nobody")
    assert pair.waits_to_write
    assert isinstance(pair.server.doWrite(), Exception)


def test_nothing_is_written_after_the_connection_was_lost(pair: Pair) -> None:
    pair.server.connected = False
    pair.server.write(b"late")
    assert pair.arrived() == b""
    assert not pair.waits_to_write


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_an_answer_leaves_in_one_piece_with_or_without_a_body(method: bytes) -> None:
    with Bench() as bench:
        pair = Pair()
        channel: Any = bench.site.buildProtocol(IPv4Address("TCP", "192.0.2.7", 50000))
        pair.server.protocol = channel
        channel.makeConnection(pair.server)
        channel.dataReceived(method + b" /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        if method == b"HEAD":
            assert pair.arrived() == b""
            pair.server.doWrite()
        answer = pair.arrived()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\n" if method == b"HEAD" else b"\r\n\r\nok")
        pair.server.connectionLost(Failure(ConnectionDone()))
        pair.client.close()


def test_the_connections_of_the_port_are_eager() -> None:
    with Bench() as bench:
        listener = Listener(
            MemoryReactorClock(), ListenAddress(host="127.0.0.1", port=0), bench.site
        )
        listener.startService()
        assert listener.port.transport is EagerServer
        listener.stop_listening()


def test_after_an_abort_nothing_more_leaves(pair: Pair) -> None:
    pair.server.abortConnection()
    pair.server.write(b"late")
    assert pair.arrived() == b""


def test_a_producer_that_waits_to_be_asked_is_asked_when_all_has_left(pair: Pair) -> None:
    producer = Producer()
    pair.server.registerProducer(producer, False)
    producer.calls.clear()
    pair.server.write(b"piece")
    pair.server.doWrite()
    assert (pair.arrived(), producer.calls) == (b"piece", ["resume"])
