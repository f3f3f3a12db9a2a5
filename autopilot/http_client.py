"""treq made transparent: bytes and header fields cross it as they are, and it remembers nobody.

Beneath treq stands one small `IAgent` for each concern. Left to itself treq decodes bodies, asks for
gzip, follows redirects and keeps one cookie jar for all users; see `make_client` for what turns each
of these off.
"""

from collections.abc import Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import Any, cast

from OpenSSL.SSL import Error as TlsError
from service_identity import VerificationError
from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from twisted.web._newclient import RequestNotSent
from twisted.web.client import (
    URI,
    Agent,
    BrowserLikePolicyForHTTPS,
    HostnameCachingHTTPSPolicy,
    RequestTransmissionFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from autopilot.connection_pool import ConnectionPool

ATTEMPT_DELAY = 0.05
"""Seconds between addresses of one host. Twisted's 0.3 is also how late it notices a refusal."""

NEVER_ANSWERED = (ResponseNeverReceived, RequestTransmissionFailed, RequestNotSent)
"""How Twisted says that not one byte of a response came."""


@implementer(IAgentEndpointFactory)
class EndpointFactory:
    """TCP, with TLS verified against the system's trust store for https."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        # Without the cache each request would build a TLS context, on pooled connections too.
        self._policy = HostnameCachingHTTPSPolicy(BrowserLikePolicyForHTTPS())
        # As few as there are origins in the settings. Making one encodes the host's name anew.
        self._endpoints: dict[tuple[bytes, bytes, int], IStreamClientEndpoint] = {}

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """See `IAgentEndpointFactory`."""
        origin = (uri.scheme, uri.host, uri.port)
        if origin not in self._endpoints:
            self._endpoints[origin] = self._endpoint(uri)
        return self._endpoints[origin]

    def _endpoint(self, uri: URI) -> IStreamClientEndpoint:
        endpoint: Any = HostnameEndpoint(
            self._reactor,
            uri.host,
            uri.port,
            attemptDelay=ATTEMPT_DELAY,
        )
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return cast("IStreamClientEndpoint", endpoint)


@implementer(IAgent)
class StaleRetryAgent:
    """Tries once more, on a new connection, when a pooled connection turns out to have been closed.

    A POST may be sent again only because not one byte of a response came: the upstream closed an
    idle connection in the moment in which it was picked. `retried` is called for each retry.
    """

    def __init__(self, agent: IAgent, pool: ConnectionPool, retried: Any) -> None:
        self._agent = agent
        self._pool = pool
        self._retried = retried

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """See `IAgent`. `bodyProducer` must be able to produce twice."""

        def send_again(failure: Failure) -> Deferred[IResponse] | Failure:
            if not _found_closed(failure):
                return failure
            self._retried()
            with self._pool.only_fresh():
                return self._agent.request(method, uri, headers, bodyProducer)

        response = self._agent.request(method, uri, headers, bodyProducer)
        if self._pool.handed_out_reused:
            response.addErrback(send_again)
        return response


def _found_closed(failure: Failure) -> bool:
    """Whether a reused connection was closed before any response byte, and not by us or by TLS."""
    return failure.check(*NEVER_ANSWERED) is not None and not any(
        reason.check(CancelledError, TlsError, VerificationError) for reason in reasons_of(failure)
    )


def reasons_of(failure: Failure) -> Sequence[Failure]:
    """The failures inside one of Twisted's wrappers; empty for any other failure."""
    return getattr(failure.value, "reasons", ())


class WireResponse(proxyForInterface(IResponse)):  # type: ignore[misc]
    """A response that shows treq no field at all, so that nothing is decoded, added or remembered.

    `wire_headers` are the fields as they came.
    """

    def __init__(self, original: IResponse) -> None:
        super().__init__(original)
        self.wire_headers: Headers = original.headers
        self._shown = Headers()

    @property
    def headers(self) -> Headers:
        """What treq may see and change."""
        return self._shown


@implementer(IAgent)
class TransparentAgent:
    """Sends `Accept-Encoding` as `accept_encoding` instead of treq's own, and hides encodings."""

    def __init__(self, agent: IAgent, *, accept_encoding: bytes) -> None:
        self._agent = agent
        self._accept_encoding = accept_encoding

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """See `IAgent`."""
        # Not copied once more: treq hands over a copy that it made to write its own value into.
        sent = Headers() if headers is None else headers
        sent.setRawHeaders(b"accept-encoding", [self._accept_encoding])
        response = self._agent.request(method, uri, sent, bodyProducer)
        return response.addCallback(WireResponse)


def make_client(
    reactor: Any,
    pool: ConnectionPool,
    *,
    accept_encoding: bytes,
    retried: Any,
) -> HTTPClient:
    """A treq client over `pool` that changes nothing and keeps nothing.

    Callers pass `allow_redirects=False, unbuffered=True` and no `timeout` with each request: treq
    has no other place for these.
    """
    agent: IAgent = Agent.usingEndpointFactory(reactor, EndpointFactory(reactor), pool)
    agent = StaleRetryAgent(agent, pool, retried)
    agent = TransparentAgent(agent, accept_encoding=accept_encoding)
    no_cookies = IndexableCookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
    return HTTPClient(agent, cookiejar=no_cookies)
