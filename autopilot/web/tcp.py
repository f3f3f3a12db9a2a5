"""What the kernel knows of a client's connection: how much of what was written has arrived.

Linux only, like the containers this runs in; elsewhere a reader shows no progress until it has read
everything.
"""

import fcntl
import socket
import struct
import termios

_U64 = struct.Struct("@Q")
_BYTES_ACKED = 120
"""The place of `tcpi_bytes_acked` in the `tcp_info` of linux/tcp.h."""


def unsent_bytes(descriptor: int) -> int:
    """What the kernel has still to deliver: TIOCOUTQ of tcp(7)."""
    answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])


def acknowledged_bytes(connection: socket.socket) -> int:
    """How many bytes the client's side has taken so far; it takes no more than its program reads."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return 0
    info = connection.getsockopt(socket.IPPROTO_TCP, option, _BYTES_ACKED + _U64.size)
    # An old kernel gives a shorter structure.
    return (
        int(_U64.unpack_from(info, _BYTES_ACKED)[0]) if len(info) >= _BYTES_ACKED + _U64.size else 0
    )
