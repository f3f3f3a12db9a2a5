"""Readiness: the first reason that applies, in a fixed order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.catalog import Utilization
from autopilot.policy.picture import Picture
from autopilot.policy.readiness import MEANING, MaxAges, NotReady, readiness
from autopilot.policy.rules import Rules
from autopilot.testing import picture_of

from .strategies import steady

LIMITS = MaxAges(catalog=600.0, utilization=20.0)
EMPTY_FEED = Utilization(chutes=())


def picture(
    *,
    catalog_at: float | None = 100.0,
    feed_at: float | None = 100.0,
    answered_empty: bool = False,
    order: tuple[str, ...] = ("org/a",),
) -> Picture:
    return Picture(
        catalog_fetched_at=catalog_at,
        catalog_answered_empty=answered_empty,
        utilization=None if feed_at is None else EMPTY_FEED,
        utilization_fetched_at=feed_at,
        candidates=picture_of(*order).candidates,
    )


def test_the_reasons_are_the_promised_codes_in_the_promised_order() -> None:
    assert [reason.value for reason in NotReady] == [
        "draining",
        "missing_allowlist",
        "allowlist_empty",
        "stale_allowlist",
        "no_snapshot",
        "no_candidates",
        "stale_snapshot",
    ]


def test_every_reason_has_its_own_words() -> None:
    assert set(MEANING) == set(NotReady)
    assert len(set(MEANING.values())) == len(NotReady)


def test_before_the_first_fetch_nothing_is_ready() -> None:
    assert readiness(Picture(), now=0.0, max_ages=LIMITS) is NotReady.MISSING_ALLOWLIST


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (picture(), None),
        (picture(catalog_at=None, feed_at=None, order=()), NotReady.MISSING_ALLOWLIST),
        (picture(catalog_at=None), NotReady.MISSING_ALLOWLIST),
        (picture(catalog_at=None, answered_empty=True), NotReady.ALLOWLIST_EMPTY),
        (picture(answered_empty=True), None),
        (picture(catalog_at=-501.0, feed_at=None), NotReady.STALE_ALLOWLIST),
        (picture(feed_at=None, order=()), NotReady.NO_SNAPSHOT),
        (picture(feed_at=0.0, order=()), NotReady.NO_CANDIDATES),
        (picture(feed_at=79.0), NotReady.STALE_SNAPSHOT),
    ],
)
def test_the_first_reason_that_applies_is_told(known: Picture, reason: NotReady | None) -> None:
    assert readiness(known, now=100.0, max_ages=LIMITS) is reason


def test_a_candidate_that_the_operator_forbids_is_none() -> None:
    def ready(rules: Rules) -> NotReady | None:
        return readiness(picture(order=("org/a", "org/b")), now=100.0, max_ages=LIMITS, rules=rules)

    assert ready(Rules(deny=("*/a",))) is None
    assert ready(Rules(deny=("*/a", "*/b"))) is NotReady.NO_CANDIDATES
    assert ready(Rules(tee=True)) is NotReady.NO_CANDIDATES


def test_an_age_that_equals_its_limit_is_still_fresh() -> None:
    known = picture(catalog_at=0.0, feed_at=580.0)
    assert readiness(known, now=600.0, max_ages=LIMITS) is None
    assert readiness(known, now=600.001, max_ages=LIMITS) is NotReady.STALE_ALLOWLIST
    assert readiness(picture(), now=120.0, max_ages=LIMITS) is None
    assert readiness(picture(), now=120.001, max_ages=LIMITS) is NotReady.STALE_SNAPSHOT


moments = st.none() | st.sampled_from([0.0, 99.0, 100.0])


@steady
@given(
    catalog_at=moments,
    feed_at=moments,
    order=st.sampled_from([(), ("org/a",)]),
    limits=st.builds(
        MaxAges, catalog=st.sampled_from([0.5, 50.0]), utilization=st.sampled_from([0.5, 50.0])
    ),
    answered_empty=st.booleans(),
    draining=st.booleans(),
)
def test_of_all_reasons_that_hold_the_first_in_order_is_told(
    catalog_at: float | None,
    feed_at: float | None,
    order: tuple[str, ...],
    limits: MaxAges,
    *,
    answered_empty: bool,
    draining: bool,
) -> None:
    now = 100.0
    never = catalog_at is None
    holds = {
        NotReady.DRAINING: draining,
        NotReady.MISSING_ALLOWLIST: never and not answered_empty,
        NotReady.ALLOWLIST_EMPTY: never and answered_empty,
        NotReady.STALE_ALLOWLIST: catalog_at is not None and now - catalog_at > limits.catalog,
        NotReady.NO_SNAPSHOT: feed_at is None,
        NotReady.NO_CANDIDATES: order == (),
        NotReady.STALE_SNAPSHOT: feed_at is not None and now - feed_at > limits.utilization,
    }
    known = picture(
        catalog_at=catalog_at, feed_at=feed_at, answered_empty=answered_empty, order=order
    )
    expected = next((reason for reason in NotReady if holds[reason]), None)
    assert readiness(known, now=now, max_ages=limits, draining=draining) is expected
