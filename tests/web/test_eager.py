"""The eager transport over real sockets: at once where there is room, in order and bounded where not."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactor
from zope.interface import implementer

from autopilot.setting_values import ListenAddress
from autopilot.testing import FakeResponse
from autopilot.web.eager import EagerServer
from autopilot.web.listener import Listener
from tests.web.harness import ALIAS, Bench

MORE_THAN_A_SOCKET_HOLDS = 8 * 1024 * 1024


class Pair:
    """An `EagerServer` and the socket of its client. The reactor only remembers who waits for what."""

    def __init__(self) -> None:
        ours, self.client = socket.socketpair()
        self.reactor: Any = MemoryReactor()
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


def test_before_it_is_eager_what_is_written_is_joined_and_waits_for_the_reactor(pair: Pair) -> None:
    pair.server.write(b"head ")
    pair.server.writeSequence([b"and ", b"piece"])
    assert pair.arrived() == b""
    assert pair.waits_to_write
    pair.server.doWrite()
    assert pair.arrived() == b"head and piece"


def test_when_it_is_eager_what_is_written_is_there_and_the_reactor_is_not_asked(pair: Pair) -> None:
    pair.server.eager = True
    pair.server.write(b"one ")
    pair.server.writeSequence([b"two ", b"three"])
    assert pair.arrived() == b"one two three"
    assert not pair.waits_to_write


def test_what_waits_in_the_buffer_is_not_overtaken(pair: Pair) -> None:
    pair.server.write(b"first ")
    pair.server.eager = True
    pair.server.write(b"second")
    assert pair.arrived() == b""
    pair.server.doWrite()
    assert pair.arrived() == b"first second"
    pair.server.write(b"third")
    assert pair.arrived() == b"third"


def test_what_a_full_socket_does_not_take_is_kept_in_order_and_pauses_the_producer(
    pair: Pair,
) -> None:
    producer = Producer()
    pair.server.registerProducer(producer, True)
    pair.server.eager = True
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
    pair.server.eager = True
    pair.client.close()
    pair.server.write(b"to nobody")
    assert pair.waits_to_write
    assert isinstance(pair.server.doWrite(), Exception)


def test_nothing_is_written_after_the_connection_was_lost(pair: Pair) -> None:
    pair.server.eager = True
    pair.server.connected = False
    pair.server.write(b"late")
    assert pair.arrived() == b""
    assert not pair.waits_to_write


def test_it_is_eager_from_the_first_piece_of_an_answer_to_its_end() -> None:
    upstream = FakeResponse()
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        assert not client.wire.eager
        upstream.send(b"piece")
        assert client.received.endswith(b"piece\r\n")
        assert client.wire.eager
        upstream.end()
        assert client.answer().whole
        assert not client.wire.eager


def test_the_port_makes_its_connections_able_to_be_eager() -> None:
    with Bench() as bench:
        listener = Listener(MemoryReactor(), ListenAddress(host="127.0.0.1", port=0), bench.site)
        listener.startService()
        assert listener.port.transport is EagerServer
        listener.stop_listening()
