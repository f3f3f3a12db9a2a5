"""What the operator allows."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.catalog import Model
from autopilot.policy.rules import FREE, Rules
from autopilot.policy.traits import Price, Traits

from .strategies import steady

_PIECES = st.lists(st.sampled_from([*"abA/-.", "*", "?", "[ab]", "[!a]", "[", "\n"]), max_size=5)
_GLOBS = st.lists(_PIECES.map("".join).filter(bool), max_size=3)


def model(name: str = "org/a", **traits: object) -> Model:
    return Model(id=name, chute_id=None, document=b"{}", traits=Traits(**traits))  # type: ignore[arg-type]


@steady
@given(allow=_GLOBS, deny=_GLOBS, name=st.text(alphabet="abA/-.\n", max_size=5))
def test_globs_match_as_the_standard_library_matches_them(
    allow: list[str], deny: list[str], name: str
) -> None:
    rules = Rules(allow=tuple(allow), deny=tuple(deny))
    expected = not any(fnmatchcase(name, glob) for glob in deny)
    if allow:
        expected = expected and any(fnmatchcase(name, glob) for glob in allow)
    assert rules.allows(name, None) is expected


def test_without_rules_everything_is_allowed() -> None:
    assert not FREE
    assert FREE.allows("any/thing", None)
    assert Rules(deny=("x",))


@pytest.mark.parametrize(("confidential", "allowed"), [(True, True), (False, False), (None, False)])
def test_only_what_is_said_to_be_confidential_is(
    *, confidential: bool | None, allowed: bool
) -> None:
    assert Rules(tee=True).allows("org/a", model(confidential=confidential)) is allowed
    assert not Rules(tee=True).allows("org/a", None)


@pytest.mark.parametrize(
    ("price", "allowed"),
    [
        (Price(prompt=0.5, completion=2.0), True),
        (Price(prompt=0.0, completion=0.0), True),
        (Price(prompt=0.51, completion=2.0), False),
        (Price(prompt=0.5, completion=2.01), False),
        (Price(prompt=0.5), False),
        (Price(), False),
    ],
)
def test_a_price_that_is_not_said_is_too_high(price: Price, *, allowed: bool) -> None:
    rules = Rules(prompt_price=0.5, completion_price=2.0)
    assert rules.allows("org/a", model(price=price)) is allowed
    assert not rules.allows("org/a", None)


def test_one_part_of_a_price_may_be_limited_alone() -> None:
    assert Rules(prompt_price=1.0).allows("a", model(price=Price(prompt=1.0)))
    assert not Rules(completion_price=1.0).allows("a", model(price=Price(prompt=1.0)))
