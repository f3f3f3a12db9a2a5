"""What the operator allows, whatever a client asks for and however it names a model.

A rule is strict: a model of which the catalogue does not say that it keeps a rule does not keep it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import translate

from autopilot.policy.catalog import Model
from autopilot.policy.traits import UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Globs over catalogue ids, case-sensitive, and what a model must be and may cost.

    No `allow` allows all. Prices are in US dollars for a million tokens.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    tee: bool = False
    prompt_price: float | None = None
    completion_price: float | None = None
    _allowed: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _denied: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_allowed", _any_of(self.allow or ("*",)))
        object.__setattr__(self, "_denied", _any_of(self.deny))

    def __bool__(self) -> bool:
        """Whether anything is forbidden at all."""
        return self != FREE

    def named(self, model_id: str) -> bool:
        """Whether the id is one that `allow` allows."""
        return self._allowed.match(model_id) is not None

    def denied(self, model_id: str) -> bool:
        """Whether the id is one that `deny` denies."""
        return self._denied.match(model_id) is not None

    def affordable(self, model: Model | None) -> bool:
        """Whether the model is known to cost no more than it may."""
        return within(self.prompt_price, self.completion_price, model)

    def allows(self, model_id: str, model: Model | None) -> bool:
        """Whether the model may be asked. `model` is its catalogue entry, if it has one."""
        return (
            self.named(model_id)
            and not self.denied(model_id)
            and (not self.tee or confidential(model))
            and self.affordable(model)
        )


def confidential(model: Model | None) -> bool:
    """Whether the catalogue says that the model computes confidentially."""
    return model is not None and model.traits.confidential is True


def within(prompt: float | None, completion: float | None, model: Model | None) -> bool:
    """Whether the catalogue says that the model costs no more than this; None is no limit."""
    price = UNKNOWN.price if model is None else model.traits.price
    return _at_most(price.prompt, prompt) and _at_most(price.completion, completion)


def _at_most(costs: float | None, most: float | None) -> bool:
    return most is None or (costs is not None and costs <= most)


def _any_of(globs: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(translate(glob) for glob in globs) or r"(?!)")


FREE = Rules()
"""Nothing is forbidden."""
