"""Connections to an upstream: one deadline for everything before a request, and a strict pool.

Name resolution, TCP and TLS handshake share the connect deadline; Twisted bounds TCP alone, and takes a
TLS connection for made before its handshake. The newest idle connection is used first, since it is the
least likely to be found closed; one that dies leaves the pool at once. What may be reused at all is
judged in `client_protocol`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import HTTPConnectionPool, _HTTP11ClientFactory

from autopilot.client_protocol import ClientProtocol, HandshakeFailed
from autopilot.logs import say

__all__ = ["IDLE_SECONDS", "ClientPool", "ConnectionPool", "HandshakeFailed", "HandshakeTimedOut"]

_log = Logger(namespace="autopilot.connection_pool")

IDLE_SECONDS = 30
"""How long an idle connection is kept: below the 75 s after which common front ends close theirs."""


class HandshakeTimedOut(error.TimeoutError):
    """TCP connected, and the connect deadline passed in the TLS handshake."""


class _ClientFactory(_HTTP11ClientFactory):
    noisy = False

    def buildProtocol(self, _addr: object) -> ClientProtocol:
        return ClientProtocol(self._quiescentCallback)


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
        self._closed = False
        self._tls_faults: dict[Any, str] = {}

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
        idle = self._connections.get(key)
        if idle:
            # Twisted takes the first, which is the one that has been idle longest.
            idle.insert(0, idle.pop())
        return super().getConnection(key, endpoint)

    def open(self) -> None:
        """Keep idle connections again, as a new pool does."""
        self._closed = False

    def closeCachedConnections(self) -> Deferred[None]:
        """See `HTTPConnectionPool`. Until `open`, connections in use are closed once idle."""
        self._closed = True
        closing: Deferred[None] = super().closeCachedConnections()
        return closing

    def _newConnection(self, key: Any, endpoint: Any) -> Deferred[Any]:
        # Reached from getConnection only when no idle connection was left.
        self.handed_out_reused = False
        shaking_hands = False

        def secure(protocol: ClientProtocol) -> Deferred[ClientProtocol]:
            nonlocal shaking_hands
            shaking_hands = True
            return protocol.secured()

        def late(_result: object, seconds: float) -> Failure:
            kind = HandshakeTimedOut if shaking_hands else error.TimeoutError
            return Failure(kind(f"no connection within {seconds} s"))

        connecting: Deferred[Any] = super()._newConnection(key, endpoint)
        over_tls = key[0] == b"https"
        if over_tls:
            connecting.addCallback(secure)
        connecting.addTimeout(self._connect_timeout, self._reactor, onTimeoutCancel=late)
        if over_tls:
            connecting.addBoth(self._note_tls, key)
        return connecting

    def _putConnection(self, key: Any, connection: ClientProtocol) -> None:
        # Before Twisted makes room: it would wait for the peer's close_notify.
        idle = self._connections.get(key)
        if idle and len(idle) >= self.maxPersistentPerHost:
            self._drop(key, idle[0])
        if self._closed:
            connection.abort()
            return
        super()._putConnection(key, connection)
        connection.unusable = partial(self._forget, key, connection)

    def _removeConnection(self, key: Any, connection: ClientProtocol) -> None:
        # Called when a connection has been idle for too long; as above, Twisted might never close it.
        self._drop(key, connection)

    def _drop(self, key: Any, connection: ClientProtocol) -> None:
        self._forget(key, connection)
        connection.abort()

    def _forget(self, key: Any, connection: ClientProtocol) -> None:
        timer = self._timeouts.pop(connection, None)
        if timer is None:
            return
        if timer.active():
            timer.cancel()
        self._connections[key].remove(connection)

    def _note_tls(self, result: Any, key: Any) -> Any:
        """Log what TLS came to, once for each change; retries would repeat it for every request."""
        known = isinstance(result, ClientProtocol)
        fault = _tls_fault(result) if isinstance(result, Failure) else None
        if (known or fault is not None) and fault != self._tls_faults.get(key):
            host = key[1].decode("ascii", "replace")
            if fault is None:
                del self._tls_faults[key]
                say(_log, "tls_recovered", host=host, port=key[2])
            else:
                self._tls_faults[key] = fault
                say(
                    _log,
                    "tls_configuration_error",
                    level="error",
                    host=host,
                    port=key[2],
                    error=fault,
                )
        return result


def _tls_fault(failure: Failure) -> str | None:
    """The class of what TLS stumbled over; None if it was not TLS."""
    if failure.check(HandshakeTimedOut):
        return HandshakeTimedOut.__name__
    if not isinstance(failure.value, HandshakeFailed):
        return None
    reason = failure.value.reason
    # A peer that hangs up may just be restarting.
    if reason.check(error.ConnectionDone, error.ConnectionLost, error.ConnectionAborted):
        return None
    kind = type(reason.value)
    return f"{kind.__module__}.{kind.__qualname__}"


class ClientPool(Service):
    """The pool of one treq client, empty again when stopped."""

    def __init__(self, reactor: Any, *, max_idle: int, connect_timeout: float) -> None:
        self.pool = ConnectionPool(reactor, max_idle=max_idle, connect_timeout=connect_timeout)

    def startService(self) -> None:
        """Keep what becomes idle."""
        super().startService()
        self.pool.open()

    def stopService(self) -> Deferred[None]:
        """Close what is idle. Fires when it is gone, which a reset connection is at once."""
        super().stopService()
        return self.pool.closeCachedConnections()
