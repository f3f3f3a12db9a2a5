"""Whose request this is, by address: the peer's, unless a trusted proxy says otherwise.

`X-Forwarded-For` is anybody's claim, so it counts only when the connection itself comes from an
address that the operator trusts.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def client_address(
    peer: str, *, forwarded_for: Sequence[str], trusted_proxies: Sequence[Network]
) -> str:
    """The client's address in one spelling; `peer` as it is if it is no IP address.

    `forwarded_for` are the values of that header in their order; the left-most entry is the client.
    """
    address = _peer_address(peer)
    if address is None:
        return peer
    if forwarded_for and any(address in network for network in trusted_proxies):
        claimed = parse_address(forwarded_for[0].split(",", 1)[0])
        if claimed is not None:
            return str(claimed)
    return str(address)


@lru_cache(maxsize=1024)
def _peer_address(peer: str) -> Address | None:
    """Once for each peer, whose connection carries many requests."""
    return parse_address(peer)


def parse_address(text: str) -> Address | None:
    """An address from any of `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]`, `[::1]:80`, `::ffff:1.2.3.4`.

    An IPv4-mapped address is its IPv4 address. None when the text is no address.
    """
    text = text.strip()
    if text.startswith("["):
        text, closed, port = text[1:].partition("]")
        if not closed or (port and not _is_port(port)):
            return None
    elif text.count(":") == 1:
        text, _colon, port = text.partition(":")
        if not _is_port(f":{port}"):
            return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        # Without its zone, which is any text and means something on that machine only.
        return address.ipv4_mapped or IPv6Address(int(address))
    return address


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isascii() and text[1:].isdigit()
