"""Leaving in order: no new work, what is under way may end, the rest is broken off visibly."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from autopilot.web.connections import Connections

_POLL_SECONDS = 0.05
_LAST_SECONDS = 0.5
"""How long broken answers may take to be flushed: the whole drain ends within a second of its grace."""


async def drain(
    connections: Connections,
    clock: IReactorTime,
    *,
    stop_listening: Callable[[], Deferred[None]],
    lag: float,
    grace: float,
) -> None:
    """Drain `connections`: unready for `lag` seconds, then closed to new ones, ended within `grace`.

    Cannot be cancelled: it is what a service does to stop.
    """
    connections.draining = True
    if lag:
        await deferLater(clock, lag)
    await stop_listening()
    for connection in connections:
        connection.close_idle()
    if not await _gone(connections, clock, grace):
        for connection in connections:
            connection.break_off()
    if not await _gone(connections, clock, _LAST_SECONDS):
        for connection in connections:
            connection.cut()


async def _gone(connections: Connections, clock: IReactorTime, seconds: float) -> bool:
    deadline = clock.seconds() + seconds
    while len(connections) and clock.seconds() < deadline:
        await deferLater(clock, min(_POLL_SECONDS, seconds))
    return not len(connections)
