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
    six = ":" in address.host
    try:
        bound = socket.create_server(
            (address.host, address.port),
            family=socket.AF_INET6 if six else socket.AF_INET,
            backlog=LISTEN_BACKLOG,
            dualstack_ipv6=six,
        )
    except OSError as error:
        raise cannot_listen(address, error) from None
    bound.setblocking(False)
    return bound
