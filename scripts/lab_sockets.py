"""What the kernel holds of the connections between the lab's clients and a router, from both ends."""

import time
from collections.abc import Mapping
from pathlib import Path

from lab_client import Client

_TCP = Path("/proc/net/tcp")
_ESTABLISHED = "01"


class Progress:
    """Follows connections of clients that do not read, at a router on `port`.

    What the router's kernel has taken of an answer lies in the router's send queue or in the client's
    receive queue. Their sum grows with each byte that the router gets rid of, and only then: a
    probe of a shut window that moves bytes from the one to the other does not count. Moments are
    those of `time.monotonic`.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._clients: dict[int, Client] = {}
        self._most: dict[Client, int] = {}
        self._grown_at: dict[Client, float] = {}
        self.cut_at: dict[Client, float] = {}

    def follow(self, client: Client) -> None:
        """Follow this one too, from now on."""
        port, now = client.socket.getHost().port, time.monotonic()
        if port in self._clients:
            # A client that does not read has not noticed its cut; its kernel has, and reuses the port.
            self.cut_at.setdefault(self._clients[port], now)
        self._clients[port] = client
        self._most[client] = -1
        self._grown_at[client] = now

    def look(self) -> None:
        """Note which connections have taken more, and which are gone at the router's end."""
        sent, received = self._queues()
        now = time.monotonic()
        for port, client in self._clients.items():
            if port not in sent:
                self.cut_at.setdefault(client, now)
                continue
            # The kernel's list may miss one while others come and go.
            self.cut_at.pop(client, None)
            if (taken := sent[port] + received.get(port, 0)) > self._most[client]:
                self._most[client] = taken
                self._grown_at[client] = now

    def patience(self) -> list[float]:
        """For each connection that was cut, in seconds: from the last byte taken to the cut."""
        return [moment - self._grown_at[client] for client, moment in self.cut_at.items()]

    def _queues(self) -> tuple[Mapping[int, int], Mapping[int, int]]:
        """The router's send queues and the clients' receive queues, by the client's port."""
        sent: dict[int, int] = {}
        received: dict[int, int] = {}
        for line in _TCP.read_text(encoding="ascii").splitlines()[1:]:
            _number, local, remote, state, queues, *_rest = line.split()
            here, there = (int(end.rpartition(":")[2], 16) for end in (local, remote))
            send_queue, receive_queue = (int(part, 16) for part in queues.split(":"))
            if state == _ESTABLISHED and here == self._port and there in self._clients:
                sent[there] = send_queue
            elif there == self._port and here in self._clients:
                received[here] = receive_queue
        return sent, received
