"""Expected and seen: facts by name, ways to expect more than one value, and a scenario as a value."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab_bench import Lab

Facts = Mapping[str, object]
"""What is expected or seen, by name."""


@dataclass(frozen=True, slots=True)
class Between:
    """A number within these bounds, both included."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"

    def holds(self, seen: object) -> bool:
        """Whether `seen` is such a number."""
        return (
            isinstance(seen, int | float)
            and not isinstance(seen, bool)
            and self.low <= seen <= self.high
        )


def at_most(high: float) -> Between:
    """A number that is not above `high`."""
    return Between(float("-inf"), high)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of these values."""

    values: tuple[object, ...]

    def __str__(self) -> str:
        return " or ".join(map(str, self.values))

    def holds(self, seen: object) -> bool:
        """Whether `seen` is among them."""
        return seen in self.values


def any_of(*values: object) -> AnyOf:
    """One of these values."""
    return AnyOf(values)


def agrees(expected: object, seen: object) -> bool:
    """Whether what was seen is what was expected."""
    if isinstance(expected, Between | AnyOf):
        return expected.holds(seen)
    return type(expected) is type(seen) and expected == seen


def deviations(expected: Facts, seen: Facts) -> list[str]:
    """The names of the facts that are not as expected; one that is missing is none of the expected."""
    missing = object()
    return [name for name, value in expected.items() if not agrees(value, seen.get(name, missing))]


def differences(expected: Facts, seen: Facts) -> Facts:
    """The facts of `seen` that deviate, for a person to read."""
    return {name: seen.get(name, "(not seen)") for name in deviations(expected, seen)}


def worded(facts: Facts) -> str:
    """Facts on one line."""
    return ", ".join(f"{name}={_short(value)}" for name, value in facts.items())


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


_LONGEST = 160

Look = Callable[["Lab"], Awaitable[Facts]]
"""Finds the facts out."""

QUICK, DEFAULT, FULL = range(3)
"""How much is run: `--quick`, without an option, `--full`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What should be seen of one row of the contract, and how to look.

    `alone`: nothing else may run meanwhile, since what is seen are milliseconds or bytes of memory.
    `starts`: starts a router of its own, which costs the others the processor. `repeats`: may be run a
    hundred times when it is fast. `least`: the smallest run that has it.
    """

    row: str
    name: str
    expected: Facts
    look: Look
    alone: bool = False
    starts: bool = False
    repeats: bool = False
    least: int = QUICK


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One scenario as the scorecard shows it."""

    row: str
    name: str
    expected: Facts
    seen: Facts
    ms: float
    repeats: int = 1
    deviating: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all was as expected."""
        return not self.deviating
