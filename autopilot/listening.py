"""Listening: how long the queue is, a socket for several processes, what is said if there is none."""

import socket
from typing import Any

from autopilot.setting_values import ListenAddress

LISTEN_BACKLOG = 1024
"""Twisted's 50 makes a burst of connections wait a second for a repeated SYN."""


def cannot_listen(address: ListenAddress, error: Any) -> SystemExit:
    """What ends the start when `address` cannot be had."""
    reason = getattr(error, "strerror", None) or "not possible"
    return SystemExit(f"autopilot: cannot listen on {address.host}, port {address.port}: {reason}")


def listening_socket(address: ListenAddress) -> socket.socket:
    """A socket that listens, for other processes to accept from.

    Raises:
        SystemExit: the address cannot be had; the text says why.
    """
    # socket.create_server has words of its own for what goes wrong.
    listens = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    try:
        listens.setblocking(False)
        listens.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listens.bind((address.host, address.port))
        listens.listen(LISTEN_BACKLOG)
    except OSError as error:
        listens.close()
        raise cannot_listen(address, error) from None
    return listens
