"""A strategy that somebody else wrote may do anything: nobody is asked whom it was not given."""

import math
from collections.abc import Mapping
from typing import Any, cast

import pytest
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from autopilot.dataplane.learning import Learned
from autopilot.dataplane.planning import Planner
from autopilot.interfaces import IPlan, ISelector
from autopilot.policy.needs import Needs
from autopilot.policy.rest import RestTable
from autopilot.policy.scene import Moment, Scene
from autopilot.testing import picture_of

NAMES = ("org/one", "org/two")
PICTURE = picture_of(*NAMES)


@implementer(ISelector, IPlan)
class Stranger:
    """Answers with what it is told to, whatever it is asked."""

    name = "stranger"

    def __init__(self, answer: object) -> None:
        self._answer: Any = answer

    def plan(self, scene: Scene) -> IPlan:  # noqa: ARG002 - whatever it is asked
        return IPlan(self)

    def order(self, moment: Moment) -> tuple[str, ...]:  # noqa: ARG002
        return cast("tuple[str, ...]", self._answer)

    def terms(self, name: str, moment: Moment) -> Mapping[str, float]:  # noqa: ARG002
        return cast("Mapping[str, float]", self._answer)

    def disadvantage(self, name: str, rival: str, moment: Moment) -> float:  # noqa: ARG002
        return cast("float", self._answer)


def planner_of(answer: object) -> tuple[Planner, Moment]:
    clock = Clock()
    planner = Planner(
        {"stranger": ISelector(Stranger(answer))},
        "stranger",
        learned=Learned(RestTable(), now=clock.seconds),
        monotonic=clock.seconds,
        wall=clock.seconds,
        seed=lambda: 0,
    )
    return planner, planner.moment(PICTURE, Needs())


@pytest.mark.parametrize(
    "answer",
    [
        ("org/one", "evil/one"),
        ("org/one", "org/one"),
        ("org/one",),
        (*NAMES, "evil/one"),
        (1, 2),
        [["org/one"], ["org/two"]],
        iter(NAMES),
        "xy",
        None,
    ],
)
def test_an_order_of_other_names_than_those_given_counts_for_nothing(
    answer: object, lost_errors: list[Failure]
) -> None:
    planner, moment = planner_of(answer)
    assert planner.order(PICTURE, NAMES, moment, selector="stranger") == NAMES
    lost_errors.clear()


def test_an_order_of_those_given_counts_whatever_it_comes_in() -> None:
    planner, moment = planner_of(["org/two", "org/one"])
    assert planner.order(PICTURE, NAMES, moment, selector="stranger") == ("org/two", "org/one")


@pytest.mark.parametrize("answer", ["much", None, math.nan, math.inf, -math.inf, 1j, 10**400])
def test_a_disadvantage_that_is_no_number_is_none(
    answer: object, lost_errors: list[Failure]
) -> None:
    planner, moment = planner_of(answer)
    found = planner.disadvantage(PICTURE, NAMES, *NAMES, moment, selector="stranger")
    assert found == 0.0
    lost_errors.clear()


@pytest.mark.parametrize("answer", [{"a": "much"}, {"a": object()}, {"a": 10**400}, [1], None])
def test_terms_that_are_no_numbers_are_none(answer: object, lost_errors: list[Failure]) -> None:
    planner, moment = planner_of(answer)
    assert planner.terms(PICTURE, NAMES, moment, selector="stranger") == {}
    lost_errors.clear()


def test_the_names_of_terms_are_text() -> None:
    planner, moment = planner_of({("a", 1): 2})
    terms = planner.terms(PICTURE, NAMES, moment, selector="stranger", of=["org/one"])
    assert terms == {"org/one": {"('a', 1)": 2.0}}
