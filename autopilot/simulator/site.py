"""Site: a web server that knows its open connections, so that stopping leaves none behind."""

from typing import cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from twisted.web.resource import IResource
from twisted.web.server import Site


class _Channel(HTTPChannel):
    """A connection that its site can find."""

    site: "SimulatorSite"

    def connectionMade(self) -> None:
        self.site.channels.add(self)
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.site.lost(self)


class SimulatorSite(Site):
    """Serves one resource and can cut every connection."""

    # Site wraps its channels to choose between HTTP versions; here there is one, and no TLS.
    protocol = _Channel  # type: ignore[assignment]

    def __init__(self, resource: IResource, reactor: IReactorTime) -> None:
        # Bodies are JSON; parsing others as forms would only cost memory.
        super().__init__(resource, reactor=reactor, parsePOSTFormSubmission=False)
        self.channels: set[_Channel] = set()
        self._empty: Deferred[None] | None = None

    def log(self, request: Request) -> None:
        """Write no access log: the journal says more, and a line would hold the whole URI."""

    def lost(self, channel: _Channel) -> None:
        """One connection is gone."""
        self.channels.discard(channel)
        if not self.channels and self._empty is not None:
            waiting, self._empty = self._empty, None
            waiting.callback(None)

    def cut(self) -> Deferred[None]:
        """Reset every connection; fires when the last is gone."""
        if not self.channels:
            return succeed(None)
        self._empty = Deferred()
        for channel in tuple(self.channels):
            cast("ITCPTransport", channel.transport).abortConnection()
        return self._empty or succeed(None)
