"""Upstream: reads one request at a time from raw sockets, plays the script of its model, and remembers.

What was asked, on which connection, and who closed it when, is what a fault lab compares with what its
client has seen.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from twisted.internet.interfaces import IDelayedCall, IPullProducer, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from autopilot.simulator.misbehaving.answers import refusal, whole
from autopilot.simulator.misbehaving.steps import (
    CloseWhenIdle,
    Fin,
    Pause,
    Played,
    Rst,
    Script,
    Send,
    Stall,
    Stamped,
    played,
)

Now = Callable[[], float]

_END_OF_HEAD = b"\r\n\r\n"


@dataclass(slots=True, kw_only=True)
class Connection:
    """One connection: what was asked on it, and its end as this side saw it."""

    opened: float
    asked: "list[Asked]" = field(default_factory=list)
    received: int = 0
    closed: float | None = None
    by_peer: bool = False


@dataclass(slots=True, kw_only=True)
class Asked:
    """One request, and how far its answer got. `reused`: not the first on its connection."""

    name: str
    connection: Connection
    at: float
    head: bytes
    body: bytes
    reused: bool
    sent: int = 0
    sent_at: float = 0.0
    """When the last of it was handed to the kernel."""
    stamps: list[float] = field(default_factory=list)
    over: float | None = None
    """When the script came to its end, by its own steps."""

    @property
    def last_on_connection(self) -> bool:
        """Whether nothing was asked after it on the same connection."""
        return self.connection.asked[-1] is self

    def closed_by_peer(self) -> float | None:
        """When the other side closed the connection, if it did."""
        return self.connection.closed if self.connection.by_peer else None


Play = Script | Callable[[Asked], Script]


class MisbehavingUpstream(Factory):
    """Plays `plays`, by model for a POST and by path for a GET; `bind` gives a script a free name."""

    noisy = False

    def __init__(self, free: Sequence[str], *, clock: IReactorTime, now: Now) -> None:
        self.plays: dict[str, Play] = {}
        self.asked: dict[str, list[Asked]] = {}
        self.connections: set[Wire] = set()
        self.received = 0
        self.accepted = 0
        self.strangers = 0
        """Requests for what nobody has bound: none should ever come this far."""
        self.clock = clock
        self.now = now
        self._free = free
        self._used = 0

    def buildProtocol(self, addr: object) -> "Wire":
        """See `IProtocolFactory`."""
        del addr
        connection = Wire(self)
        connection.factory = self
        return connection

    def bind(self, play: Play) -> str:
        """A model's name that nobody has used lately, and that now plays this."""
        name = self._free[self._used % len(self._free)]
        self._used += 1
        self.plays[name] = play
        self.asked[name] = []
        return name

    def next_names(self, number: int) -> Sequence[str]:
        """The names that `bind` will give out next."""
        size = len(self._free)
        return [self._free[(self._used + n) % size] for n in range(min(number, size))]

    def unbind(self, *names: str) -> None:
        """Forget what was bound; what is being played goes on."""
        for name in names:
            self.plays.pop(name, None)
            self.asked.pop(name, None)

    def serve(self, path: str, body: bytes) -> None:
        """Answer a GET of `path` with a JSON body."""
        self.plays[path] = (Send(whole(body)),)

    def script_for(self, asked: Asked) -> Script:
        """What is played for a request."""
        log = self.asked.get(asked.name)
        if log is not None:
            log.append(asked)
        play = self.plays.get(asked.name)
        if play is None:
            self.strangers += 1
            return (Send(refusal(404, f"model not found: {asked.name}")),)
        return play if isinstance(play, tuple) else play(asked)


@implementer(IPullProducer)
class Wire(Protocol):
    """One connection. As a pull producer it is told whenever all that it has sent has left."""

    def __init__(self, upstream: MisbehavingUpstream) -> None:
        self._upstream = upstream
        self._buffer = bytearray()
        self._steps: Iterator[Played] | None = None
        self._asked: Asked | None = None
        self._timer: IDelayedCall | None = None
        self._advancing = False
        self._closing = False
        self._stalled = False
        self._idle: IDelayedCall | None = None
        self.record = Connection(opened=upstream.now())

    @property
    def _socket(self) -> Any:
        return cast("Any", self.transport)

    def connectionMade(self) -> None:
        """See `IProtocol`."""
        self._upstream.connections.add(self)
        self._upstream.accepted += 1
        self._socket.setTcpNoDelay(True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `IProtocol`."""
        del reason
        self._upstream.connections.discard(self)
        self.record.closed = self._upstream.now()
        self.record.by_peer = not self._closing
        self._steps = None
        self._cancel_idle()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def dataReceived(self, data: bytes) -> None:
        """See `IProtocol`."""
        self.record.received += len(data)
        self._upstream.received += len(data)
        self._cancel_idle()
        self._buffer += data
        if self._steps is None or self._stalled:
            self._read()

    def reset(self) -> None:
        """Cut it now."""
        self._closing = True
        self._socket.abortConnection()

    def close(self) -> None:
        """Close it now: as a server does that has had enough of an idle connection."""
        self._closing = True
        self._socket.loseConnection()

    def _read(self) -> None:
        at = self._buffer.find(_END_OF_HEAD)
        if at < 0:
            return
        head = bytes(self._buffer[:at])
        end = at + len(_END_OF_HEAD) + _length(head)
        if len(self._buffer) < end:
            return
        body = bytes(self._buffer[at + len(_END_OF_HEAD) : end])
        del self._buffer[:end]
        self._asked = Asked(
            name=_name(head, body),
            connection=self.record,
            at=self._upstream.now(),
            head=head,
            body=body,
            reused=bool(self.record.asked),
        )
        self.record.asked.append(self._asked)
        if self._stalled:
            # Somebody was sent here who has nothing to do with the script that stalls.
            self.reset()
            return
        self._steps = played(self._upstream.script_for(self._asked))
        # Registering asks for the first step.
        self._socket.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """See `IPullProducer`: all that was sent has left."""
        if self._timer is None and not self._advancing:
            self._advancing = True
            try:
                self._advance()
            finally:
                self._advancing = False

    def stopProducing(self) -> None:
        """See `IPullProducer`: the connection is lost."""
        self._steps = None

    def _advance(self) -> None:
        asked = self._asked
        if self._steps is None or asked is None:
            return
        for step in self._steps:
            match step:
                case Send(data) | Stamped(data):
                    if not data:
                        continue
                    asked.sent += len(data)
                    asked.sent_at = self._upstream.now()
                    if isinstance(step, Stamped):
                        asked.stamps.append(self._upstream.now())
                    self._socket.write(data)
                case Pause(seconds):
                    self._timer = self._upstream.clock.callLater(seconds, self._resume)
                case Stall():
                    self._stalled = True
                    asked.over = self._upstream.now()
                    self._read()
                case _:
                    self._end(step)
            return
        self._end(None)

    def _end(self, step: Fin | Rst | CloseWhenIdle | None) -> None:
        """The script is over, and the connection is closed or waits for a next request."""
        clock = self._upstream.clock
        if self._asked is not None:
            self._asked.over = self._upstream.now()
        self._steps = None
        self._socket.unregisterProducer()
        match step:
            case Fin():
                self.close()
            case Rst():
                self.reset()
            case CloseWhenIdle(seconds):
                self._idle = clock.callLater(seconds, self._idle_over)
            case None:
                clock.callLater(0, self._next)

    def _resume(self) -> None:
        self._timer = None
        self.resumeProducing()

    def _idle_over(self) -> None:
        self._idle = None
        self.close()

    def _cancel_idle(self) -> None:
        idle, self._idle = self._idle, None
        if idle is not None:
            idle.cancel()

    def _next(self) -> None:
        # What came while the answer was played has waited in the buffer.
        if self._steps is None and self.record.closed is None:
            self._read()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _colon, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def _name(head: bytes, body: bytes) -> str:
    method, _space, rest = head.partition(b"\r\n")[0].partition(b" ")
    if method != b"POST":
        return rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
    try:
        # float() takes 5,000 digits, which int() refuses.
        wanted = json.loads(body, parse_int=float)
    except ValueError:
        return ""
    return str(wanted.get("model")) if isinstance(wanted, dict) else ""
