"""The port: bound before privileges are dropped, closed first when the router stops."""

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from autopilot.logs import say
from autopilot.setting_values import ListenAddress
from autopilot.web.eager import EagerServer
from autopilot.web.server import AutopilotSite

_log = Logger(namespace="autopilot.service")

LISTEN_BACKLOG = 1024
"""Twisted's 50 makes a burst of connections wait a second for a repeated SYN."""


class Listener(Service):
    """Listens from before privileges are dropped until stopped. `port` tells where."""

    def __init__(self, reactor: Any, address: ListenAddress, factory: AutopilotSite) -> None:
        self.port: Any = None
        self._reactor = reactor
        self._address = address
        self._factory = factory

    def privilegedStartService(self) -> None:
        """Bind: ports below 1024 need the privileges that twistd may drop afterwards."""
        super().privilegedStartService()
        self._listen()

    def startService(self) -> None:
        """Bind, unless that has been done."""
        super().startService()
        self._listen()

    def stopService(self) -> Deferred[None]:
        """Stop listening. Connections that are open stay so."""
        super().stopService()
        return self.stop_listening()

    def stop_listening(self) -> Deferred[None]:
        """Close the port, if it is open."""
        port, self.port = self.port, None
        return (port.stopListening() if port is not None else None) or succeed(None)

    def _listen(self) -> None:
        if self.port is None:
            try:
                self.port = self._reactor.listenTCP(
                    self._address.port,
                    self._factory,
                    backlog=LISTEN_BACKLOG,
                    interface=self._address.host,
                )
            except CannotListenError as error:
                address = f"{self._address.host}, port {self._address.port}"
                reason = getattr(error.socketError, "strerror", None) or "not possible"
                raise SystemExit(f"autopilot: cannot listen on {address}: {reason}") from None
            # See `Port` in twisted.internet.tcp: what it makes of an accepted connection.
            self.port.transport = EagerServer
            say(_log, "listening", port=bound_port(self.port))


def bound_port(port: IListeningPort) -> int:
    """The TCP port that `port` listens on."""
    address: Any = port.getHost()
    return int(address.port)
