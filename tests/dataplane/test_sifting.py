"""What is kept for a picture: the same for equal requests only, and no longer than the picture."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.dataplane.sifting import MAX_KEPT, Sieve
from autopilot.policy.catalog import Catalog, Chute, Model
from autopilot.policy.needs import Needs
from autopilot.policy.picture import Picture
from autopilot.policy.ranking import Candidate, score
from autopilot.policy.rules import Rules
from autopilot.policy.traits import Traits
from autopilot.policy.wishes import NOTHING, Wishes
from tests.policy.strategies import steady

TOOLS, SEED = frozenset({"tools"}), frozenset({"seed"})


def picture(**models: Traits) -> Picture:
    chutes = [Chute(name=name, chute_id=name, active_instance_count=1) for name in models]
    entries = [
        Model(id=name, chute_id=None, document=b"{}", traits=traits)
        for name, traits in models.items()
    ]
    return Picture(
        catalog=Catalog(tuple(entries)),
        candidates=tuple(Candidate(name=c.name, score=score(c), chute=c) for c in chutes),
    )


PICTURE = picture(
    small=Traits(context=10_000, features=TOOLS, confidential=True),
    large=Traits(context=100_000),
    vast=Traits(context=1_000_000, features=TOOLS, parameters=SEED),
    mute=Traits(),
)

_NEEDS = st.builds(
    Needs,
    prompt_tokens=st.sampled_from([0, 8_192, 8_193, 10_000, 40_001, 100_001, 500_000, 5_000_000]),
    completion_tokens=st.sampled_from([0, 1, 90_000]),
    tools=st.booleans(),
    images=st.booleans(),
    parameters=st.sampled_from([frozenset(), SEED, frozenset({"stop"})]),
)
_WISHES = st.sampled_from(
    [NOTHING, Wishes(tee=True), Wishes(strict_parameters=True), Wishes(ignore=("large",))]
)


@steady
@given(requests=st.lists(st.tuples(_WISHES, _NEEDS), min_size=2, max_size=20))
def test_what_came_before_changes_nothing(requests: list[tuple[Wishes, Needs]]) -> None:
    sieve = Sieve(Rules())
    for wishes, needs in requests:
        assert sieve.eligible(PICTURE, wishes, needs) == Sieve(Rules()).eligible(
            PICTURE, wishes, needs
        )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Needs(prompt_tokens=9_000), Needs(prompt_tokens=11_000)),
        (Needs(prompt_tokens=9_000), Needs(prompt_tokens=500_000)),
        (Needs(tools=True), Needs(images=True)),
        (Needs(parameters=SEED), Needs(parameters=frozenset({"stop"}))),
    ],
)
def test_requests_that_differ_are_told_apart(first: Needs, second: Needs) -> None:
    sieve = Sieve(Rules())
    wishes = Wishes(strict_parameters=True) if first.parameters else NOTHING
    one = sieve.eligible(PICTURE, wishes, first)
    other = sieve.eligible(PICTURE, wishes, second)
    assert (one.names, one.later) != (other.names, other.later)


def test_what_is_not_known_of_a_model_adds_up() -> None:
    needs = Needs(prompt_tokens=20_000, tools=True)
    sifted = Sieve(Rules()).eligible(PICTURE, NOTHING, needs)
    assert sifted.names == ("small", "large", "vast", "mute")
    assert sifted.later == {"small", "large", "mute"}
    assert [step.constraint for step in sifted.steps] == ["tools", "context >= 5000"]


def test_the_size_that_is_told_is_that_of_the_request() -> None:
    sieve = Sieve(Rules())
    for tokens in (40_000, 80_000):
        sifted = sieve.eligible(PICTURE, NOTHING, Needs(prompt_tokens=tokens))
        assert [step.constraint for step in sifted.steps] == [f"context >= {tokens // 4}"]


def test_what_is_kept_is_given_again_and_never_beyond_its_picture() -> None:
    sieve = Sieve(Rules(tee=True))
    needs: dict[str, Any] = {"wishes": NOTHING, "needs": Needs()}
    once = sieve.eligible(PICTURE, **needs)
    assert once.names == ("small",)
    assert sieve.eligible(PICTURE, **needs) is once
    later = picture(other=Traits(confidential=True))
    assert sieve.eligible(later, **needs).names == ("other",)
    for number in range(MAX_KEPT + 1):
        sieve.eligible(later, Wishes(latency=float(number)), Needs())
    assert sieve.eligible(PICTURE, **needs) == once
