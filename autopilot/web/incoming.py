"""A whole request as the data plane receives it."""

from collections.abc import Sequence
from typing import Any

from autopilot.dataplane.router import Incoming
from autopilot.policy.clientaddress import Network, client_address
from autopilot.web.server import AutopilotRequest


def incoming_of(
    request: AutopilotRequest, *, path: str, trusted_proxies: Sequence[Network]
) -> Incoming:
    """`request`, whose body is taken out of it, for `path` upstream.

    `trusted_proxies` may name the client's address.
    """
    headers = request.requestHeaders
    return Incoming(
        path=path,
        fields=[(name, value) for name, values in headers.getAllRawHeaders() for value in values],
        body=request.take_body(),
        request_id=request.request_id,
        address=_address(request, trusted_proxies),
    )


def _address(request: AutopilotRequest, trusted_proxies: Sequence[Network]) -> str:
    peer: Any = request.getClientAddress()
    forwarded: Sequence[bytes] = (
        request.requestHeaders.getRawHeaders(b"x-forwarded-for", []) if trusted_proxies else ()
    )
    return client_address(
        getattr(peer, "host", ""),
        forwarded_for=[value.decode("latin-1") for value in forwarded],
        trusted_proxies=trusted_proxies,
    )
