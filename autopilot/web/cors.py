"""Cross-origin access from browsers: off unless origins are configured (WHATWG Fetch, CORS protocol)."""

from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from autopilot.policy.headers import (
    ATTEMPTS,
    REQUEST_ID,
    SELECTED,
    SERVER_TIMING,
    SHOULD_RETRY,
)

_PREFLIGHT_SECONDS = b"600"
_EXPOSED = b", ".join((REQUEST_ID, SELECTED, ATTEMPTS, SERVER_TIMING, SHOULD_RETRY, b"retry-after"))
_METHODS = b"GET, HEAD, POST, OPTIONS"
_USUAL_FIELDS = b"authorization, content-type"
_NO_CONTENT = 204

PREFIX = b"access-control-"
"""How the names of all fields of the protocol begin."""


class Cors:
    """Says yes to `origins`; `*` among them says yes to all."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.encode("ascii").lower() for origin in origins)

    @property
    def enabled(self) -> bool:
        """Whether any origin may call."""
        return bool(self._origins)

    def allow(self, request: Any) -> None:
        """Set the fields that let the page which sent `request` read the answer."""
        origin = request.getHeader(b"origin")
        if not self.enabled:
            return
        if not self._any:
            request.responseHeaders.setRawHeaders(b"vary", [b"Origin"])
        if origin is not None and (self._any or origin.lower() in self._origins):
            request.setHeader(b"access-control-allow-origin", b"*" if self._any else origin)
            request.setHeader(b"access-control-expose-headers", _EXPOSED)

    def preflight(self, request: Any) -> Resource | None:
        """What answers `request`, if it is a preflight from an allowed origin."""
        asked = request.getHeader(b"access-control-request-method")
        allowed = request.responseHeaders.hasHeader(b"access-control-allow-origin")
        return _Preflight() if request.method == b"OPTIONS" and asked and allowed else None


class _Preflight(Resource):
    """Says which methods and fields a page may use: those that it asks for."""

    isLeaf = True

    def render(self, request: Any) -> int:
        request.setResponseCode(_NO_CONTENT)
        request.setHeader(b"access-control-allow-methods", _METHODS)
        asked = request.getHeader(b"access-control-request-headers")
        request.setHeader(b"access-control-allow-headers", asked or _USUAL_FIELDS)
        request.setHeader(b"access-control-max-age", _PREFLIGHT_SECONDS)
        request.finish()
        return NOT_DONE_YET
