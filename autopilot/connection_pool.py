"""Connections to an upstream: one deadline for everything before a request, and a memory of their use.

Name resolution, TCP and TLS handshake share the connect deadline; Twisted bounds TCP alone, and takes a
TLS connection for made before its handshake.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol
from twisted.web.client import HTTPConnectionPool, _HTTP11ClientFactory
from zope.interface import implementer

IDLE_SECONDS = 30
"""How long an idle connection is kept: below the 75 s after which common front ends close theirs."""


class HandshakeFailed(error.ConnectError):
    """TLS could not be agreed on: the certificate, the name, or the peer hung up."""


@implementer(IHandshakeListener)
class _ClientProtocol(HTTP11ClientProtocol):
    """Tells when its TLS handshake is over."""

    def __init__(self, quiescent: Any) -> None:
        super().__init__(quiescent)
        self._secured = False
        self._handshake: Deferred[_ClientProtocol] | None = None

    def handshakeCompleted(self) -> None:
        """See `IHandshakeListener`."""
        self._secured = True
        if self._handshake is not None:
            self._handshake.callback(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See `IProtocol`."""
        super().connectionLost(reason)
        if self._handshake is not None and not self._handshake.called:
            self._handshake.errback(HandshakeFailed())

    def secured(self) -> "Deferred[_ClientProtocol]":
        """Fires with this protocol after the handshake. Cancelling it closes the connection."""
        self._handshake = Deferred(self._abandon)
        if self._secured:
            self._handshake.callback(self)
        return self._handshake

    def _abandon(self, _handshake: object) -> None:
        cast("Any", self.transport).abortConnection()


class _ClientFactory(_HTTP11ClientFactory):
    noisy = False

    def buildProtocol(self, _addr: object) -> _ClientProtocol:
        return _ClientProtocol(self._quiescentCallback)


class ConnectionPool(HTTPConnectionPool):
    """A pool that tells whether the connection it just handed out had been used before.

    `Agent.request` asks for a connection before it returns, so whoever calls the agent can read
    `handed_out_reused` right after, and can ask for a fresh connection around the call.
    """

    _factory = _ClientFactory
    # Only bodiless requests would be retried by Twisted; ours is StaleRetryAgent.
    retryAutomatically = False
    cachedConnectionTimeout = IDLE_SECONDS

    def __init__(self, reactor: Any, *, max_idle: int, connect_timeout: float) -> None:
        super().__init__(reactor)
        self.maxPersistentPerHost = max_idle
        self.handed_out_reused = False
        self._connect_timeout = connect_timeout
        self._only_fresh = False

    @contextmanager
    def only_fresh(self) -> Iterator[None]:
        """Within it, every connection handed out is a new one."""
        self._only_fresh = True
        try:
            yield
        finally:
            self._only_fresh = False

    def getConnection(self, key: Any, endpoint: Any) -> Deferred[Any]:
        """See `HTTPConnectionPool`."""
        if self._only_fresh:
            return self._newConnection(key, endpoint)
        self.handed_out_reused = True
        return super().getConnection(key, endpoint)

    def _newConnection(self, key: Any, endpoint: Any) -> Deferred[Any]:
        # Reached from getConnection only when no idle connection was left.
        self.handed_out_reused = False

        def late(_result: object, seconds: float) -> Failure:
            return Failure(error.TimeoutError(f"no connection within {seconds} s"))

        connecting: Deferred[Any] = super()._newConnection(key, endpoint)
        if key[0] == b"https":
            connecting.addCallback(lambda protocol: protocol.secured())
        return connecting.addTimeout(self._connect_timeout, self._reactor, onTimeoutCancel=late)
