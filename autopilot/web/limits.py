"""How much a client may ask of the server: time, connections and requests, as one value."""

import resource
from dataclasses import dataclass

RESERVED_CONNECTIONS = 32
"""Connections above the limit, for probes and metrics: an overloaded server must still say so."""

_LEAST_CONNECTIONS = 16
_OTHER_DESCRIPTORS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """Seconds that a client may take for each thing, and how many may be there at once.

    `headers` counts from accept, or from the first byte of a later request; `body` from the end of the
    header fields; `idle` between requests; `stall` while there is something to read and it is not read.
    `requests` and `connections` are the service's, `connections_here` those of one of its processes.
    """

    headers: float
    body: float
    idle: float
    stall: float
    body_bytes: int
    requests: int
    connections: int
    connections_here: int
    require_authorization: bool = False


def connections_for(descriptors: int) -> int:
    """How many connections to accept with so many file descriptors: each may need one upstream too."""
    return max(descriptors // 2 - _OTHER_DESCRIPTORS, _LEAST_CONNECTIONS)


def descriptor_limit() -> int:
    """The process's soft limit of file descriptors."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft
