"""Which conversation a request belongs to, and what leaving its model costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.affinity import (
    DEFAULT_DISCOUNT,
    HYSTERESIS,
    MAX_SESSION_BYTES,
    Stay,
    cache_worth,
    session_in,
)
from autopilot.policy.needs import Needs
from autopilot.policy.stickiness import client_key
from autopilot.policy.traits import Price

HALF_READ = Needs(prompt_tokens=1_000, prefix_tokens=500)
TENTH = Price(prompt=1.0, completion=2.0, cached_prompt=0.1)


@pytest.mark.parametrize(
    "name",
    [
        b"X-Session-Id",
        b"x-session-affinity",
        b"session_id",
        b"Session-Id",
        b"x-claude-code-session-id",
        b"X-LiteLLM-Session-Id",
        b"Helicone-Session-Id",
        b"x-conversation-id",
    ],
)
def test_the_names_that_clients_send_are_read_whatever_their_case(name: bytes) -> None:
    assert session_in([(b"accept", b"*/*"), (name, b"s-1")]) == b"s-1"


@pytest.mark.parametrize(
    "field",
    [
        (b"x-session", b"s"),
        (b"session", b"s"),
        (b"x--session-id-not", b"s"),
        (b"cookie", b"session-id=s"),
        (b"x-session-id", b""),
        (b"x-session-id", b"s" * (MAX_SESSION_BYTES + 1)),
    ],
)
def test_nothing_else_is_a_session(field: tuple[bytes, bytes]) -> None:
    assert session_in([field]) is None


def test_a_common_name_counts_before_that_of_a_product_wherever_it_stands() -> None:
    product, common = (b"x-some-tool-session-id", b"product"), (b"x-session-affinity", b"common")
    assert session_in([product, common]) == session_in([common, product]) == b"common"
    first, second = (b"x-session-id", b"first"), (b"thread-id", b"second")
    assert session_in([second, first]) == b"first"


def test_a_session_is_the_clients_own_who_names_it() -> None:
    def key(token: bytes | None, session: bytes | None, address: str = "192.0.2.1") -> bytes:
        return client_key(b"secret", token=token, address=address, session=session)

    keys = [
        key(b"one", None),
        key(b"one", b"s"),
        key(b"one", b"t"),
        key(b"two", b"s"),
        key(None, b"s"),
        key(None, b"s", "192.0.2.2"),
    ]
    assert len(set(keys)) == len(keys)
    assert {len(each) for each in keys} == {32}
    assert key(b"one", b"s") == key(b"one", b"s", "192.0.2.9")


@pytest.mark.parametrize(
    ("price", "discount"),
    [
        (TENTH, 0.9),
        (Price(prompt=1.0, cached_prompt=1.0), 0.0),
        (Price(prompt=1.0, cached_prompt=2.0), 0.0),
        (Price(prompt=0.0, cached_prompt=0.0), 0.0),
        (Price(prompt=1.0), DEFAULT_DISCOUNT),
        (Price(), DEFAULT_DISCOUNT),
    ],
)
def test_a_cache_is_worth_the_discount_on_what_was_read_before(
    price: Price, discount: float
) -> None:
    assert cache_worth(HALF_READ, price) == pytest.approx(discount * 0.5)
    assert cache_worth(Needs(prompt_tokens=1_000), price) == 0.0
    assert cache_worth(Needs(), price) == 0.0


@given(
    prompt=st.integers(0, 10**7),
    prefix=st.integers(0, 10**7),
    paid=st.none() | st.floats(0, 1e3),
    cached=st.none() | st.floats(0, 1e3),
)
def test_a_cache_is_a_share(
    prompt: int, prefix: int, paid: float | None, cached: float | None
) -> None:
    needs = Needs(prompt_tokens=prompt, prefix_tokens=prefix)
    assert 0.0 <= cache_worth(needs, Price(prompt=paid, cached_prompt=cached)) <= 1.0


def test_a_model_is_left_when_its_disadvantage_is_worth_more_than_its_cache_and_the_trouble() -> (
    None
):
    def stays(disadvantage: float, cache: float) -> bool:
        return Stay(model="a", rival="b", disadvantage=disadvantage, cache=cache).stays

    assert stays(HYSTERESIS, 0.0)
    assert not stays(HYSTERESIS + 0.01, 0.0)
    assert stays(HYSTERESIS + 0.4, 0.4)
    assert not stays(HYSTERESIS + 0.41, 0.4)
