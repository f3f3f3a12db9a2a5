"""One connection to Redis, made when it is asked for and gone for good when it fails.

It does not reconnect by itself: who uses it decides when that is worth trying. Commands are pipelined,
and what comes back is bounded, since a server may be another than one thinks.
"""

from typing import Any, cast

from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from txredisapi import RedisProtocol  # type: ignore[import-untyped]  # has no annotations

from autopilot.http_client import ATTEMPT_DELAY
from autopilot.setting_values import RedisAddress

CONNECT_SECONDS = 2.0
"""Deadline from the name to the first answer: no request waits for it longer than for any other."""

MAX_UNANSWERED_BYTES = 65_536
"""What may come without completing an answer; the longest that is asked for has some hundred bytes."""


class NotConnectedError(Exception):
    """There was no connection, or the attempt to make one failed."""


class RefusedError(Exception):
    """The server did not take the password or does not have the database."""


class _Protocol(RedisProtocol):  # type: ignore[misc]  # as above
    """txredisapi's, but closed at once by an answer that cannot be one."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._unanswered = 0

    @property
    def pending(self) -> int:
        """Commands whose answers are still to come, of requests that no longer wait as well."""
        return len(self.replyQueue.waiting)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:  # noqa: FBT001, FBT002 - as there
        """Read `data`, whatever it is."""
        if not unpause:
            self._unanswered += len(data)
        try:
            super().dataReceived(data, unpause)
        except Exception:  # noqa: BLE001 - its parser trusts the server, and its texts hold the bytes
            self.transport.abortConnection()
        if self._unanswered > MAX_UNANSWERED_BYTES:
            self.transport.abortConnection()

    def replyReceived(self, reply: object) -> None:
        """Hand on a whole answer, unless nobody has asked: the next one would get it as its own."""
        self._unanswered = 0
        if self.replyQueue.waiting:
            super().replyReceived(reply)
        else:
            self.transport.abortConnection()


class _Factory(Factory):
    """For one connection; `usable` fires when the server has taken password and database."""

    noisy = False
    isLazy = False  # or the protocol would log in its own words

    def __init__(self, address: RedisAddress, clock: IReactorTime) -> None:
        self._address = address
        self._clock = clock
        self.usable: Deferred[None] = Deferred()

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: ARG002 - Twisted's signature
        """See `IProtocolFactory`."""
        address = self._address
        protocol = _Protocol(
            charset=None,
            convertNumbers=False,
            username=address.username,
            password=address.password,
            dbid=address.database or None,
        )
        protocol.factory = self
        protocol.callLater = self._clock.callLater  # it takes each answer of a segment in a turn
        protocol.whenConnected().addCallback(self._settle, None)
        protocol.whenDisconnected().addCallback(self._settle, ConnectionLost())
        return protocol

    def stopTrying(self) -> None:
        """Asked for by the protocol; nothing here tries again."""

    def connectionError(self, why: str) -> None:  # noqa: ARG002 - the server's own words
        """Asked for by the protocol when it was refused, or lost before it was not."""
        self._settle(None, RefusedError())

    def _settle(self, _protocol: object, error: Exception | None) -> None:
        if self.usable.called:
            return
        if error is None:
            self.usable.callback(None)
        else:
            self.usable.errback(error)


def redis_endpoint(reactor: Any, address: RedisAddress) -> IStreamClientEndpoint:
    """Where `address` is: TCP, with TLS verified against the system's trust store for rediss."""
    endpoint: Any = HostnameEndpoint(
        reactor, address.host, address.port, timeout=CONNECT_SECONDS, attemptDelay=ATTEMPT_DELAY
    )
    if address.tls:
        endpoint = wrapClientTLS(optionsForClientTLS(address.host), endpoint)
    return cast("IStreamClientEndpoint", endpoint)


class RedisLink:
    """At most one connection to `address`, which is at `endpoint`."""

    def __init__(
        self, endpoint: IStreamClientEndpoint, address: RedisAddress, *, clock: IReactorTime
    ) -> None:
        self._endpoint = endpoint
        self._address = address
        self._clock = clock
        self._protocol: Any = None
        self._attempt: Deferred[None] | None = None
        self._waiting: list[Deferred[Any]] = []
        self._alive: set[Any] = set()

    @property
    def idle(self) -> bool:
        """Whether there is neither a connection nor an attempt to make one."""
        return self._protocol is None and self._attempt is None

    @property
    def connected(self) -> bool:
        """Whether there is a connection that can be used, as far as is known."""
        return self._protocol is not None

    @property
    def pending(self) -> int:
        """Commands that have no answer yet."""
        return len(self._waiting) + (0 if self._protocol is None else self._protocol.pending)

    def connect(self) -> Deferred[None]:
        """Make the connection, which must be `idle`.

        Fires when the server has answered a first command over it, and fails with whatever prevents
        that, a deadline and `drop` included.
        """
        attempt = Deferred.fromCoroutine(self._establish())
        attempt.addTimeout(CONNECT_SECONDS, self._clock)
        self._attempt = attempt
        outcome: Deferred[None] = Deferred()
        attempt.addBoth(self._ended, outcome)
        return outcome

    def command(self, *words: str | bytes | int) -> Deferred[Any]:
        """Send a command, as soon as there is a connection if one is being made; its answer.

        To cancel it is to no longer wait for the answer. Fails with NotConnectedError, or the
        exceptions of txredisapi: ResponseError is the server's refusal, ConnectionError a lost one.
        """
        if self._protocol is not None:
            return _send(self._protocol, words)
        if self._attempt is None:
            return fail(NotConnectedError())
        waiting: Deferred[Any] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting.addCallback(_send, words)

    def drop(self) -> None:
        """Close the connection, or end the attempt to make one, at once; fail all commands."""
        if self._attempt is not None:
            self._attempt.cancel()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.transport.abortConnection()

    def close(self) -> Deferred[Any]:
        """Drop it, and fire when nothing is left."""
        self.drop()
        return gatherResults([protocol.whenDisconnected() for protocol in self._alive])

    async def _establish(self) -> None:
        factory = _Factory(self._address, self._clock)
        protocol: Any = await self._endpoint.connect(factory)
        self._alive.add(protocol)
        protocol.whenDisconnected().addCallback(self._lost)
        try:
            # Else a command would wait for the acknowledgement of the one before.
            protocol.transport.setTcpNoDelay(True)
            await factory.usable
            # One that accepts connections may still hang.
            await _send(protocol, ("PING",))
        except BaseException:
            protocol.transport.abortConnection()
            raise
        self._protocol = protocol

    def _ended(self, result: Failure | None, outcome: Deferred[None]) -> None:
        self._attempt = None
        protocol = self._protocol
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if isinstance(result, Failure):
                each.errback(NotConnectedError())
            else:
                each.callback(protocol)
        outcome.callback(result)

    def _lost(self, protocol: Any) -> None:
        self._alive.discard(protocol)
        if protocol is self._protocol:
            self._protocol = None


def _send(protocol: Any, words: tuple[str | bytes | int, ...]) -> Deferred[Any]:
    # What is not connected any more raises instead of failing.
    return maybeDeferred(protocol.execute_command, *words)
