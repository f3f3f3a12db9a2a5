"""The parent of several workers: it fetches, shares and watches over them, and serves nobody.

It stays small: neither the web room nor the data plane is ever imported here.
"""

import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.application.service import IProcess, MultiService, Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from autopilot.controlplane.feeds import feeds
from autopilot.controlplane.publisher import Publisher, in_a_thread
from autopilot.controlplane.state import RoutingState
from autopilot.exposition import PARENT_SLOT, Shared, process_gone
from autopilot.interfaces import Seconds
from autopilot.ledger import SharedCells
from autopilot.listening import listening_socket
from autopilot.logs import say
from autopilot.metrics import Metrics
from autopilot.observing import observe
from autopilot.policy.stickiness import StickyTable
from autopilot.setting_values import ListenAddress
from autopilot.settings import Settings
from autopilot.trust_store import TrustStoreCheck
from autopilot.workers.hub import Hub
from autopilot.workers.supervisor import Supervisor

_log = Logger(namespace="autopilot.service")

LAST_SECONDS = 2.0
"""How long after the end of their drain workers may take to end before they are killed."""


class ListeningSocket(Service):
    """A socket that all workers accept from, bound before privileges are dropped.

    `told` is what the log says when it is.
    """

    def __init__(self, address: ListenAddress, *, told: str = "listening") -> None:
        self._address = address
        self._told = told
        self._socket: socket.socket | None = None

    def fileno(self) -> int:
        """Its descriptor."""
        if self._socket is None:
            raise RuntimeError("the listening socket is not bound")
        return self._socket.fileno()

    def privilegedStartService(self) -> None:
        """Bind: ports below 1024 need the privileges that twistd may drop afterwards."""
        super().privilegedStartService()
        self._bind()

    def startService(self) -> None:
        """Bind, unless that has been done."""
        super().startService()
        self._bind()

    def stopService(self) -> None:
        """Close it here; the workers close theirs."""
        super().stopService()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _bind(self) -> None:
        if self._socket is None:
            self._socket = listening_socket(self._address)
            say(_log, self._told, port=self._socket.getsockname()[1])


class ParentService(MultiService):
    """The parent. `directory` holds the counts, and is gone when the service is.

    `forced` is called when it stops, with what ends all at once: for a second signal.
    """

    def __init__(
        self,
        settings: Settings,
        supervisor: Supervisor,
        *,
        directory: Path,
        forced: Callable[[Callable[[], None]], None],
    ) -> None:
        super().__init__()
        self._settings = settings
        self._supervisor = supervisor
        self._directory = directory
        self._forced = forced
        self._account: Any = None

    def privilegedStartService(self) -> None:
        """Bind the port; give the directory to whom twistd, and the workers, will be afterwards."""
        if self._account is not None and self._account.uid is not None:
            os.chown(self._directory, self._account.uid, -1)
        try:
            super().privilegedStartService()
        except BaseException:
            # There will be no stop.
            self._forget_counts()
            raise

    def stopService(self) -> Deferred[None]:
        """Have the workers drain, and stop all else. Fires when nothing is left."""
        self._forced(self._kill)
        stopping: Deferred[None] = super().stopService()
        return stopping.addCallback(self._forget_counts)

    def setServiceParent(self, parent: Any) -> None:
        """See `IService`."""
        observe(parent, self._settings)
        self._account = IProcess(parent, None)
        super().setServiceParent(parent)

    def _kill(self) -> None:
        self._supervisor.signal("KILL")
        self._forget_counts()

    def _forget_counts(self, _result: object = None) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


def make_parent(
    settings: Settings,
    reactor: Any,
    *,
    directory: Path,
    monotonic: Seconds = time.monotonic,
    forced: Callable[[Callable[[], None]], None],
) -> ParentService:
    """The parent as a service that has done nothing yet.

    `directory` is where all processes of the service count (`autopilot.exposition`); it is removed at the
    end. `forced` is called when the service stops, with what ends it at once.
    """
    metrics = Metrics(CollectorRegistry(), Shared(directory=directory, slot=PARENT_SLOT))
    sticky = StickyTable(ttl=settings.sticky_ttl, max_entries=settings.sticky_max_entries)
    hub = Hub(secret=secrets.token_bytes(32), sticky=sticky)
    publisher = Publisher(
        RoutingState(),
        parsing=in_a_thread(reactor),
        monotonic=monotonic,
        told=hub.fetched,
    )
    listening = ListeningSocket(settings.listen_addr)
    admin: ListeningSocket | None = None
    if settings.admin_listen_addr is not None:
        admin = ListeningSocket(settings.admin_listen_addr, told="admin_listening")
    supervisor = Supervisor(
        reactor,
        count=settings.workers,
        hub=hub,
        cells=SharedCells.make(settings.workers),
        listening=listening.fileno,
        admin=None if admin is None else admin.fileno,
        environment=os.environ,
        gone=lambda slot: process_gone(directory, str(slot)),
        patience=settings.drain_readiness_lag + settings.drain_grace + LAST_SECONDS,
    )
    service = ParentService(settings, supervisor, directory=directory, forced=forced)
    urls = (settings.backend_base_url, settings.models_url, settings.utilization_url)
    children = [
        TrustStoreCheck(urls),
        *feeds(settings, publisher, reactor=reactor, metrics=metrics),
        listening,
        *([] if admin is None else [admin]),
        supervisor,
    ]
    for child in children:
        child.setServiceParent(service)
    return service
