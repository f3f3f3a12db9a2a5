"""What the kernel holds of the connections between the lab's clients and a router, from both ends."""

import time
from collections.abc import Mapping
from pathlib import Path

from lab_client import Client

_TCP = Path("/proc/net/tcp")


class Progress:
    """Follows connections of clients that do not read, at a router on `port`.

    What the router's kernel has taken of an answer lies in the router's send queue or in the client's
    receive queue. Their sum grows with each byte that the router gets rid of, and only then: a
    probe of a shut window that moves bytes from the one to the other does not count. Moments are
    those of `time.monotonic`.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._most: dict[int, int] = {}
        self._grown_at: dict[int, float] = {}
        self.cut_at: dict[int, float] = {}

    def follow(self, client: Client) -> None:
        """Follow this one too, from now on."""
        port = client.socket.getHost().port
        self._most[port] = -1
        self._grown_at[port] = time.monotonic()

    def look(self) -> None:
        """Note which connections have taken more, and which are gone at the router's end."""
        sent, received = self._queues()
        now = time.monotonic()
        for port, most in self._most.items():
            if port not in sent:
                self.cut_at.setdefault(port, now)
                continue
            # The kernel's list may miss one while others come and go.
            self.cut_at.pop(port, None)
            if (taken := sent[port] + received.get(port, 0)) > most:
                self._most[port] = taken
                self._grown_at[port] = now

    def patience(self) -> list[float]:
        """For each connection that was cut, in seconds: from the last byte taken to the cut."""
        return [moment - self._grown_at[port] for port, moment in self.cut_at.items()]

    def _queues(self) -> tuple[Mapping[int, int], Mapping[int, int]]:
        """The router's send queues and the clients' receive queues, by the client's port."""
        sent: dict[int, int] = {}
        received: dict[int, int] = {}
        for line in _TCP.read_text(encoding="ascii").splitlines()[1:]:
            _number, local, remote, _state, queues, *_rest = line.split()
            here, there = (int(end.rpartition(":")[2], 16) for end in (local, remote))
            send_queue, receive_queue = (int(part, 16) for part in queues.split(":"))
            if here == self._port and there in self._most:
                sent[there] = send_queue
            elif there == self._port and here in self._most:
                received[here] = receive_queue
        return sent, received
