"""One worker of a service of several: a process that its parent starts, and nobody else.

It finds what it inherits by number (`autopilot.workers.supervisor`), begins to serve when the parent has
told it what all share, and leaves in order at SIGTERM or when the parent is gone.

It is told to leave once and perhaps again: a terminal or an init system may signal it beside its parent.
Only the parent knows which signal is a second one, and kills.
"""

import os
import shutil
import signal
import socket
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger, globalLogBeginner

from autopilot.exposition import DIRECTORY
from autopilot.ledger import SharedCells
from autopilot.logs import say
from autopilot.observing import lines_of
from autopilot.policy.stickiness import StickyTable
from autopilot.process import yield_to_the_loop
from autopilot.selectors.finding import find_selectors
from autopilot.settings import Settings, load
from autopilot.workers.member import Member
from autopilot.workers.share import Share
from autopilot.workers.supervisor import Inherited, Joining, inherited

_log = Logger(namespace="autopilot.workers")


class Worker:
    """The process's one worker: a member of the service first, then a server."""

    def __init__(self, settings: Settings, reactor: Any, inherits: Inherited) -> None:
        self._settings = settings
        self._reactor = reactor
        self._inherits = inherits
        self._ledger = SharedCells(inherits.cells, inherits.slots).ledger(inherits.slot)
        self._serving: Any = None
        self._leaving = False
        self._has_admin = settings.admin_listen_addr is not None
        self._parent = os.getppid()
        self._member = Member(
            StickyTable(ttl=settings.sticky_ttl, max_entries=settings.sticky_max_entries),
            monotonic=time.monotonic,
            orphaned=self._orphaned,
        )

    def join(self) -> None:
        """Take up the link; serve as soon as the parent has said all that is needed."""
        self._member.welcomed.addCallback(self._serve)
        self._member.welcomed.addErrback(self._failed)
        link = self._inherits.link
        self._reactor.adoptStreamConnection(link, socket.AF_UNIX, Joining(self._member.link))
        os.close(link)

    @property
    def orphan(self) -> bool:
        """Whether the parent is gone, and not the link to it alone."""
        return os.getppid() != self._parent

    def stop(self) -> None:
        """Have the process end, in order; to be called any number of times."""
        if not self._leaving:
            self._leaving = True
            self._reactor.stop()

    def leave(self) -> Deferred[None] | None:
        """Drain and stop. Fires when nothing is left; None if nothing was begun."""
        self._leaving = True
        stopping: Deferred[None] | None = self._serving and self._serving.stopService()
        return stopping

    def _serve(self, _none: None) -> Deferred[None]:
        from autopilot.service import make_service  # noqa: PLC0415 - klein installs a reactor

        self._serving = make_service(
            self._settings,
            find_selectors(self._settings.selector, self._settings.shadow_selector),
            self._reactor,
            share=Share(
                member=self._member,
                ledger=self._ledger,
                listening=self._inherits.listening,
                admin=self._inherits.admin if self._has_admin else None,
                parent=self._parent,
            ),
        )
        # A client of a worker that follows another must not find it unready.
        return self._member.caught_up().addCallback(self._accept)

    def _accept(self, _published: object) -> None:
        if self._leaving:
            return
        self._serving.startService()
        # Each port has a copy, and must be the only one that keeps the socket open here.
        os.close(self._inherits.listening)
        if self._has_admin:
            os.close(self._inherits.admin)

    def _failed(self, failure: Any) -> None:
        _log.failure("a worker could not begin", failure)
        self.stop()

    def _orphaned(self) -> None:
        """The parent is gone: serve what is under way, and end."""
        if not self._leaving:
            say(_log, "parent_gone", level="error")
            self.stop()


def main() -> None:
    """Run the worker until it has left."""
    inherits = inherited(os.environ)
    settings = load(os.environ)
    globalLogBeginner.beginLoggingTo(
        [lines_of(settings, worker=inherits.slot)], redirectStandardIO=False
    )

    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

    yield_to_the_loop()
    running: Any = reactor
    worker = Worker(settings, running, inherits)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _number, _frame: running.callFromThread(worker.stop))
    running.addSystemEventTrigger("before", "shutdown", worker.leave)
    running.callWhenRunning(worker.join)
    running.run(installSignalHandlers=False)
    if worker.orphan:
        # Its owner cannot any more.
        shutil.rmtree(os.environ[DIRECTORY], ignore_errors=True)


if __name__ == "__main__":
    main()
