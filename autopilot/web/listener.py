"""The port: bound before privileges are dropped, or inherited; closed first when the router stops."""

import os
import socket
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from autopilot.ledger import Ledger
from autopilot.listening import LISTEN_BACKLOG, cannot_listen
from autopilot.logs import say
from autopilot.setting_values import ListenAddress
from autopilot.web.eager import EagerServer
from autopilot.web.fair import FairPort
from autopilot.web.server import AutopilotSite

_log = Logger(namespace="autopilot.service")


class Listener(Service):
    """Listens from before privileges are dropped until stopped. `port` tells where.

    With `inherited`, the descriptor of a socket that listens and is not of this process, it accepts
    there, turn by turn with those who have the same. `told` is what the log says when it does.
    """

    def __init__(
        self,
        reactor: Any,
        address: ListenAddress,
        factory: AutopilotSite,
        *,
        inherited: int | None = None,
        ledger: Ledger | None = None,
        told: str = "listening",
    ) -> None:
        self.port: Any = None
        self._inherited = inherited
        self._ledger = ledger
        self._reactor = reactor
        self._address = address
        self._factory = factory
        self._told = told

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
            self.port = self._bound() if self._inherited is None else self._adopted(self._inherited)
            # See `Port` in twisted.internet.tcp: what it makes of an accepted connection.
            self.port.transport = EagerServer
            say(_log, self._told, port=bound_port(self.port))

    def _bound(self) -> IListeningPort:
        try:
            port: IListeningPort = self._reactor.listenTCP(
                self._address.port,
                self._factory,
                backlog=LISTEN_BACKLOG,
                interface=self._address.host,
            )
        except CannotListenError as error:
            raise cannot_listen(self._address, error.socketError) from None
        return port

    def _adopted(self, descriptor: int) -> IListeningPort:
        with socket.socket(fileno=os.dup(descriptor)) as known:
            family = known.family
        port = FairPort.of(self._reactor, descriptor, family, self._factory)
        port.ledger = self._ledger
        port.startListening()
        return port


def bound_port(port: IListeningPort) -> int:
    """The TCP port that `port` listens on."""
    address: Any = port.getHost()
    return int(address.port)
