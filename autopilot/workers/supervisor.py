"""Keeps the workers running: spawns them, replaces the dead, and sees all of them end.

A worker inherits three descriptors: the listening socket, its end of the link, and the shared cells. It
finds them by number; see `autopilot.worker`.
"""

import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from autopilot.exposition import SLOT
from autopilot.ledger import SharedCells
from autopilot.logs import say
from autopilot.workers.hub import Hub
from autopilot.workers.link import Link

_log = Logger(namespace="autopilot.workers")

LISTENING, LINK, CELLS, ADMIN = 3, 4, 5, 6
"""The numbers of the descriptors that a worker inherits; the last one where the operator has a port."""

SLOTS = "AUTOPILOT_SLOTS"
"""The variable that tells it how many places there are."""

FIRST_BACKOFF = 0.5
MAX_BACKOFF = 30.0
"""Seconds before a worker that has died is replaced: at once at first, doubling while successors die."""

WELL_SECONDS = 10.0
"""A worker that has lived so long was well: its death is the first of its kind."""


@dataclass(slots=True, kw_only=True)
class _Place:
    """One worker's place: its process, if it has one, and what is known of those before."""

    slot: int
    process: Any = None
    pid: int = 0
    link: Link | None = None
    started_at: float = 0.0
    backoff: float = 0.0
    restart: IDelayedCall | None = None
    ended: Deferred[None] = field(default_factory=Deferred)


class Supervisor(Service):
    """`count` workers that serve `listening`, a socket that listens, with what `hub` shares.

    `admin` is another, of the operator's, if he has one. `environment` is theirs. `gone` is called with
    the slot of a worker that has ended. At stop they have `patience` seconds to drain before they are
    killed.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        count: int,
        hub: Hub,
        cells: SharedCells,
        listening: Callable[[], int],
        admin: Callable[[], int] | None = None,
        environment: Mapping[str, str],
        gone: Callable[[int], None],
        patience: float,
    ) -> None:
        self._reactor = reactor
        self._hub = hub
        self._cells = cells
        self._listening = listening
        self._admin = admin
        self._environment = environment
        self._gone = gone
        self._patience = patience
        self._places = [_Place(slot=slot) for slot in range(count)]

    @property
    def processes(self) -> tuple[int, ...]:
        """The ids of the workers that run."""
        return tuple(place.pid for place in self._places if place.process is not None)

    def startService(self) -> None:
        """Spawn them all."""
        super().startService()
        for place in self._places:
            place.backoff = 0.0
            self._spawn(place)

    def stopService(self) -> Deferred[object]:
        """Have them all drain. Fires when the last one is gone."""
        super().stopService()
        for place in self._places:
            if place.restart is not None:
                place.restart.cancel()
                place.restart = None
        running = [place for place in self._places if place.process is not None]
        self.signal("TERM")
        killing = self._reactor.callLater(self._patience, self.signal, "KILL")
        ended = DeferredList([place.ended for place in running])

        def done(_results: object) -> None:
            if killing.active():
                killing.cancel()

        return ended.addCallback(done)

    def signal(self, name: str) -> None:
        """Send a signal to all of them, by its name without SIG."""
        for place in self._places:
            if place.process is not None:
                try:
                    place.process.signalProcess(name)
                except ProcessExitedAlready:
                    # It has ended, and `_ended` is about to be told.
                    continue

    def _spawn(self, place: _Place) -> None:
        place.restart = None
        place.started_at = self._reactor.seconds()
        place.ended = Deferred()
        link = self._hub.link()
        try:
            process = self._process(place, link)
        except OSError as error:
            if link.connected:
                link.transport.abortConnection()
            say(_log, "worker_not_started", level="error", slot=place.slot, error=error.strerror)
            self._replace(place)
            return
        place.process, place.pid, place.link = process, process.pid, link
        self._cells.ledger(place.slot).enter(place.pid)
        self._hub.welcome(link)
        say(_log, "worker_started", slot=place.slot, process=place.pid)

    def _process(self, place: _Place, link: Link) -> Any:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, Joining(link))
            return self._reactor.spawnProcess(
                _Worker(lambda reason: self._ended(place, reason)),
                sys.executable,
                [sys.executable, "-m", "autopilot.worker"],
                env={
                    **self._environment,
                    SLOT: str(place.slot),
                    SLOTS: str(len(self._places)),
                },
                childFDs={
                    0: 0,
                    1: 1,
                    2: 2,
                    LISTENING: self._listening(),
                    LINK: theirs.fileno(),
                    CELLS: self._cells.descriptor,
                    **({} if self._admin is None else {ADMIN: self._admin()}),
                },
            )

    def _ended(self, place: _Place, reason: Failure) -> None:
        link = place.link
        place.process = place.link = None
        self._cells.ledger(place.slot).leave()
        if link is not None and link.connected:
            link.transport.abortConnection()
        self._gone(place.slot)
        ending: Any = reason.value
        stopped = not self.running
        if not stopped:
            self._replace(place)
        say(
            _log,
            "worker_ended",
            level="info" if stopped else "error",
            slot=place.slot,
            status=ending.exitCode,
            signal=ending.signal,
            again_in_s=None if stopped else place.backoff,
        )
        place.ended.callback(None)

    def _replace(self, place: _Place) -> None:
        lived = self._reactor.seconds() - place.started_at
        if lived >= WELL_SECONDS:
            place.backoff = 0.0
        else:
            place.backoff = min(max(place.backoff * 2, FIRST_BACKOFF), MAX_BACKOFF)
        place.restart = self._reactor.callLater(place.backoff, self._spawn, place)


class _Worker(ProcessProtocol):
    """Tells of the end of a process. What it writes goes where the parent's lines go."""

    def __init__(self, ended: Callable[[Failure], None]) -> None:
        self._ended = ended

    def processEnded(self, reason: Failure) -> None:
        """See `IProcessProtocol`."""
        self._ended(reason)


class Joining(Factory):
    """Gives one connection that exists already its protocol."""

    noisy = False

    def __init__(self, link: Link) -> None:
        self._link = link

    def buildProtocol(self, _address: object) -> Link:
        """See `IProtocolFactory`."""
        return self._link


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What a worker has of its parent: its slot among so many, and the numbers of the descriptors."""

    slot: int
    slots: int
    listening: int = LISTENING
    link: int = LINK
    cells: int = CELLS
    admin: int = ADMIN


def inherited(environment: Mapping[str, str]) -> Inherited:
    """What the parent has told this process.

    Raises:
        SystemExit: nothing; it was not started by a parent.
    """
    try:
        return Inherited(slot=int(environment[SLOT]), slots=int(environment[SLOTS]))
    except (KeyError, ValueError):
        raise SystemExit(
            "autopilot.worker is started by the router with WORKERS, not by hand"
        ) from None
