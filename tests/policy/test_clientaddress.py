"""Whose request it is: the peer's, unless a proxy that is trusted says otherwise."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.clientaddress import client_address, parse_address

from .strategies import steady

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48"))

addresses: st.SearchStrategy[IPv4Address | IPv6Address] = st.ip_addresses()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.2.3.4", "1.2.3.4"),
        (" 1.2.3.4\t", "1.2.3.4"),
        ("1.2.3.4:80", "1.2.3.4"),
        ("[1.2.3.4]:80", "1.2.3.4"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[::1]:80", "::1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("[2001:db8::1]:65535", "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("::ffff:102:304", "1.2.3.4"),
        ("[::ffff:1.2.3.4]:80", "1.2.3.4"),
        ("::1.2.3.4", "::102:304"),
    ],
)
def test_an_address_is_read_in_every_form_that_proxies_write(text: str, expected: str) -> None:
    assert str(parse_address(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "unknown", "_hidden", "example.org", "example.org:80", "1234", "1.2.3"),
        *("1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4:", "1.2.3.4:http", "1.2.3.4:-1", ":80"),
        *("1.2.3.4:\u0661", "\u0661.2.3.4", "[::1", "::1]", "[::1]80", "[::1]:", "[::1]:x", "[]"),
        *("[]:80", ":::", "1::2::3", "2001:db8::g", "10.0.0.0/8", "1.2.3.4 5.6.7.8", "\x00"),
        *("1.2.3.4:80:90", "[[::1]]", "'1.2.3.4'"),
    ],
)
def test_garbage_is_no_address(text: str) -> None:
    assert parse_address(text) is None


@steady
@given(address=addresses, port=st.integers(min_value=0, max_value=65535))
def test_an_address_is_the_same_with_and_without_port_and_brackets(
    address: IPv4Address | IPv6Address, port: int
) -> None:
    plain = parse_address(str(address))
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    assert plain == (mapped or address)
    assert parse_address(f"[{address}]") == plain
    assert parse_address(f"[{address}]:{port}") == plain
    if isinstance(address, IPv4Address):
        assert parse_address(f"{address}:{port}") == plain
        assert parse_address(f"::ffff:{address}") == plain
    else:
        assert parse_address(address.exploded.upper()) == plain


@steady
@given(text=st.text(alphabet="0123456789abcdef.:[]% ") | st.text())
def test_any_text_is_an_address_or_none(text: str) -> None:
    address = parse_address(text)
    # A zone (RFC 4007) may hold anything at all, white space at its ends included.
    if address is not None and "%" not in text:
        assert parse_address(str(address)) == address


def client(peer: str, *forwarded: str) -> str:
    return client_address(peer, forwarded_for=forwarded, trusted_proxies=TRUSTED)


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8:1::7"])
@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (["192.0.2.9"], "192.0.2.9"),
        (["192.0.2.9:4711, 10.0.0.1"], "192.0.2.9"),
        (["192.0.2.9", "198.51.100.1"], "192.0.2.9"),
        ([" [2001:DB8::9]:443 ,192.0.2.9"], "2001:db8::9"),
        (["::ffff:192.0.2.9"], "192.0.2.9"),
    ],
)
def test_a_trusted_proxy_is_believed_and_the_left_most_entry_is_the_client(
    peer: str, forwarded: list[str], expected: str
) -> None:
    assert client(peer, *forwarded) == expected


@pytest.mark.parametrize(
    "peer", ["192.0.2.1", "::ffff:192.0.2.1", "11.0.0.1", "2001:db8:2::7", "::1", "::a00:1"]
)
def test_the_claim_of_a_peer_that_is_not_trusted_counts_for_nothing(peer: str) -> None:
    assert client(peer, "203.0.113.9") == str(parse_address(peer))


def test_nobody_is_trusted_by_default() -> None:
    address = client_address("10.0.0.1", forwarded_for=["203.0.113.9"], trusted_proxies=())
    assert address == "10.0.0.1"


@pytest.mark.parametrize(
    "forwarded", [[], [""], ["unknown, 192.0.2.9"], [",192.0.2.9"], ["", "192.0.2.9"], ["a.b:1"]]
)
def test_a_trusted_proxy_that_names_no_address_leaves_the_peer(forwarded: list[str]) -> None:
    assert client("10.0.0.1", *forwarded) == "10.0.0.1"


def test_a_peer_has_one_spelling() -> None:
    assert client("::ffff:192.0.2.1") == client("192.0.2.1") == "192.0.2.1"
    assert client("2001:DB8:0::1") == "2001:db8::1"


@pytest.mark.parametrize("peer", ["", "/run/autopilot.sock", "unix"])
def test_a_peer_without_an_ip_address_stays_what_it_is_and_is_never_trusted(peer: str) -> None:
    assert client(peer, "192.0.2.9") == peer


@steady
@given(
    peer=addresses | st.sampled_from(TRUSTED).flatmap(lambda net: st.ip_addresses(network=net)),
    forwarded=st.lists(
        st.sampled_from(["", "unknown", "[::1", "1.2.3.4:x"]) | addresses.map(str), max_size=3
    ),
    several_fields=st.booleans(),
)
def test_the_answer_is_the_peer_or_the_first_claim_of_a_trusted_one(
    peer: IPv4Address | IPv6Address, forwarded: list[str], *, several_fields: bool
) -> None:
    fields = forwarded if several_fields else [", ".join(forwarded)]
    own = parse_address(str(peer))
    assert own is not None
    claimed = parse_address(forwarded[0]) if forwarded else None
    trusted = any(own in network for network in TRUSTED)
    expected = claimed if trusted and claimed is not None else own
    assert client(str(peer), *fields) == str(expected)
