"""A client stays on the model that served it: known by its token, else by its address."""

from ipaddress import ip_network

import pytest

from autopilot.policy.rest import BRIEF_SECONDS
from autopilot.testing import FakeResponse
from tests.web.harness import ALIAS, Bench, chat, post

PROXY = "10.0.0.5"
TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
Who = tuple[str, list[tuple[str, str]]]


def served(who: Who, other: Who, *, trusted: bool = False, name: str = ALIAS) -> str:
    """The model that `other` gets after `who` was moved to the second by a failure of the first."""
    answers = [FakeResponse().send(b"x").end() for _ in range(2)]
    with Bench(
        FakeResponse(503).end(), *answers, trusted_proxies=TRUSTED if trusted else ()
    ) as bench:
        for peer, fields in (who, other):
            bench.client(peer).send(post(chat(name), fields))
            # The failed model's rest is over: only stickiness is left to decide.
            bench.clock.advance(BRIEF_SECONDS)
        assert bench.asked[:2] == ["org/one", "org/two"]
        return bench.asked[2]


def token(text: str, scheme: str = "Bearer") -> list[tuple[str, str]]:
    return [("Authorization", f"{scheme} {text}")]


def forwarded(*values: str) -> list[tuple[str, str]]:
    return [("X-Forwarded-For", value) for value in values]


@pytest.mark.parametrize("name", [ALIAS, "org/one,org/two"])
def test_the_same_token_stays_on_its_model_from_any_address(name: str) -> None:
    one: Who = ("192.0.2.1", token("key"))
    assert served(one, ("192.0.2.2", token("key")), name=name) == "org/two"
    assert served(one, ("192.0.2.2", token("key", "bearer")), name=name) == "org/two"
    assert served(one, ("192.0.2.1", token("another")), name=name) == "org/one"
    assert served(one, ("192.0.2.1", []), name=name) == "org/one"


def test_without_a_token_the_address_counts() -> None:
    assert served(("192.0.2.1", []), ("192.0.2.1", [])) == "org/two"
    assert served(("192.0.2.1", []), ("192.0.2.2", [])) == "org/one"
    assert served(("192.0.2.1", []), ("::ffff:192.0.2.1", [])) == "org/two"
    assert served(("192.0.2.1", []), ("192.0.2.1", token("x", "Basic"))) == "org/two"


def test_a_forwarded_address_is_believed_of_a_trusted_peer_only() -> None:
    known: Who = (PROXY, forwarded("192.0.2.1, 10.0.0.9"))
    assert served(known, (PROXY, forwarded("192.0.2.1")), trusted=True) == "org/two"
    assert served(known, ("fd00::1", forwarded("[::ffff:192.0.2.1]:99")), trusted=True) == "org/two"
    assert served(known, (PROXY, forwarded("192.0.2.2, 192.0.2.1")), trusted=True) == "org/one"
    assert served(known, (PROXY, forwarded("192.0.2.2", "192.0.2.1")), trusted=True) == "org/one"
    assert served(known, ("192.0.2.1", []), trusted=True) == "org/two"
    assert served(known, ("192.0.2.9", forwarded("192.0.2.1")), trusted=True) == "org/one"


def test_without_trust_a_forwarded_address_is_nobodys() -> None:
    assert served((PROXY, forwarded("192.0.2.1")), (PROXY, forwarded("192.0.2.2"))) == "org/two"
    assert served((PROXY, forwarded("192.0.2.1")), ("192.0.2.1", [])) == "org/one"


@pytest.mark.parametrize("claim", ["unknown", "", "999.1.1.1", "caf\u00e9", "1.2.3.4:x"])
def test_a_forwarded_address_that_is_none_leaves_the_peers(claim: str) -> None:
    assert served((PROXY, forwarded(claim)), (PROXY, []), trusted=True) == "org/two"
