"""What the kernel tells of a connection, asked of a real one."""

import socket
import sys
from contextlib import suppress

import pytest

from autopilot.web.tcp import acknowledged_bytes, unsent_bytes

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells what the other end has taken"
)


def fill(connection: socket.socket) -> None:
    """Write until nothing more fits."""
    connection.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            connection.send(b"x" * 65536)


def test_what_a_reader_takes_counts_and_what_it_leaves_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as reader:
        reader.connect(server.getsockname())
        writer, _address = server.accept()
        with writer:
            fill(writer)
            taken, unsent = acknowledged_bytes(writer), unsent_bytes(writer.fileno())
            assert unsent > 0
            assert acknowledged_bytes(writer) == taken
            # Once it has read everything, the kernel has nothing left to deliver.
            reader.settimeout(10)
            while unsent_bytes(writer.fileno()):
                reader.recv(1 << 20)
            assert acknowledged_bytes(writer) == taken + unsent
