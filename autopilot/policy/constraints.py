"""Which models are left when the operator's rules, a client's wishes and a request's needs are applied.

Names in, names out, with what each constraint has removed, so that it can be shown to people.

Rule 1: rules and wishes are strict: what the catalogue does not say is not so.
Rule 2: needs are inferred from the body, and lenient: a model of which the catalogue does not say that
        it meets one stays, in a later place.
Rule 3: nothing here orders models; `later` is for who does.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from autopilot.policy.catalog import Model
from autopilot.policy.errors import Code, Refusal
from autopilot.policy.needs import Needs
from autopilot.policy.provider_member import UNKNOWN_QUANTIZATION, NameList
from autopilot.policy.rules import Rules, confidential, within
from autopilot.policy.traits import UNKNOWN
from autopilot.policy.wishes import Wishes, listed

MODEST_CONTEXT = 8_192
"""Tokens for which every chat model has room. The smallest context seen has 16,384."""

GENEROSITY = 4
"""By how much a generous estimate of a prompt may be too high: no text has twelve bytes a token.

A model that has room for so little of it may have room for the request: it is asked late, as one whose
context is not known. An estimate must not refuse what would be answered.
"""

_OPERATORS = frozenset({"ALLOW_MODELS", "DENY_MODELS", "REQUIRE_TEE", "MAX_PRICE"})
_SHOWN_WORDS = 8

Lookup = Callable[[str], Model | None]
"""The catalogue entry behind a candidate's name."""


class Constraint(NamedTuple):
    """`words` name it for people. `meets` says of a name whether it does; None is "perhaps"."""

    words: str
    meets: Callable[[str, Model | None], bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one constraint did to `before` names: `removed` are gone."""

    constraint: str
    before: int
    removed: tuple[str, ...]

    @property
    def left(self) -> int:
        """How many names it left."""
        return self.before - len(self.removed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifted:
    """The names that are left, in the order in which they came; `later` of them only perhaps fit."""

    names: tuple[str, ...]
    later: frozenset[str] = frozenset()
    steps: tuple[Step, ...] = ()

    def last(self, order: Sequence[str]) -> tuple[str, ...]:
        """`order` with those of `later` behind the others."""
        if not self.later:
            return tuple(order)
        later = self.later
        return (
            *(name for name in order if name not in later),
            *(name for name in order if name in later),
        )


def sift(names: Iterable[str], constraints: Iterable[Constraint], entry: Lookup) -> Sifted:
    """Apply `constraints` to `names` one after the other."""
    left = tuple(names)
    models: Mapping[str, Model | None] = {}
    later: set[str] = set()
    steps: list[Step] = []
    for constraint in constraints:
        models = models or {name: entry(name) for name in left}
        removed: list[str] = []
        for name in left:
            met = constraint.meets(name, models[name])
            if met is None:
                later.add(name)
            elif not met:
                removed.append(name)
        steps.append(Step(constraint=constraint.words, before=len(left), removed=tuple(removed)))
        gone = set(removed)
        left = tuple(name for name in left if name not in gone) if gone else left
    return Sifted(names=left, later=frozenset(later.intersection(left)), steps=tuple(steps))


def ruled(rules: Rules) -> list[Constraint]:
    """The operator's rules as constraints."""

    def model_id(name: str, model: Model | None) -> str:
        return name if model is None else model.id

    found: list[Constraint] = []
    if rules.allow:
        found.append(Constraint("ALLOW_MODELS", lambda n, m: rules.named(model_id(n, m))))
    if rules.deny:
        found.append(Constraint("DENY_MODELS", lambda n, m: not rules.denied(model_id(n, m))))
    if rules.tee:
        found.append(Constraint("REQUIRE_TEE", lambda _name, model: confidential(model)))
    if rules.prompt_price is not None or rules.completion_price is not None:
        found.append(Constraint("MAX_PRICE", lambda _name, model: rules.affordable(model)))
    return found


def wished(wishes: Wishes, needs: Needs) -> list[Constraint]:
    """What a client wishes as constraints. `needs` are what its body sets and asks for."""
    found: list[Constraint] = []
    if wishes.only is not None:
        found.append(_among("only", wishes.only))
    if wishes.ignore is not None:
        ignored = _among("ignore", wishes.ignore)
        found.append(Constraint(ignored.words, lambda n, m: not ignored.meets(n, m)))
    if wishes.single and wishes.order is not None:
        among = _among("order", wishes.order)
        found.append(Constraint(f"{among.words} without fallbacks", among.meets))
    if wishes.tee:
        found.append(Constraint("tee", lambda _name, model: confidential(model)))
    if (prompt := wishes.prompt_price) is not None:
        words = f"max_price prompt <= {prompt:g}"
        found.append(Constraint(words, lambda _name, model: within(prompt, None, model)))
    if (completion := wishes.completion_price) is not None:
        words = f"max_price completion <= {completion:g}"
        found.append(Constraint(words, lambda _name, model: within(None, completion, model)))
    if (quantizations := wishes.quantizations) is not None:
        words = f"quantizations {_some(sorted(quantizations))}"
        found.append(Constraint(words, lambda _name, model: _quantized(model) in quantizations))
    if wishes.strict_parameters:
        found.append(_strict_parameters(needs))
    return found


def abilities(needs: Needs) -> list[Constraint]:
    """What a request needs a model to be able to do, whatever its size."""
    found: list[Constraint] = []
    if needs.images:
        found.append(Constraint("images", _accepts_images))
    if needs.tools:
        found.append(_featured("tools", {"tools"}))
    if needs.structured:
        found.append(_featured("structured output", _STRUCTURED))
    if needs.json_mode:
        found.append(_featured("JSON mode", {"json_mode", *_STRUCTURED}))
    return found


class Room(NamedTuple):
    """How much context a request needs: with `surely` it fits, with less than `perhaps` it does not."""

    surely: int
    perhaps: int

    @property
    def constraint(self) -> Constraint:
        """It as a constraint."""

        def fits(_name: str, model: Model | None) -> bool | None:
            context = None if model is None else model.traits.context
            if context is None or self.perhaps <= context < self.surely:
                return None
            return context >= self.surely

        return Constraint(f"context >= {self.perhaps}", fits)


def room(needs: Needs) -> Room | None:
    """How much context a request needs, if it is so much that some model may not have it."""
    surely = needs.prompt_tokens + needs.completion_tokens
    if surely <= MODEST_CONTEXT:
        return None
    return Room(surely, needs.prompt_tokens // GENEROSITY + needs.completion_tokens)


def emptied(candidates: Sifted, everybody: Sifted, *, of: str = " of the catalogue") -> Refusal:
    """Why nobody is left of `candidates`; `everybody` are all who could ever be, sifted alike.

    `impossible_wish` if none of them fits, `no_candidates` if one may later; so also if nobody is known.
    `of` is said of the models that everybody is.
    """
    if everybody.names or not everybody.steps or not everybody.steps[0].before:
        return Refusal(
            Code.NO_CANDIDATES, f"No model can be chosen now: {_told(candidates, 'candidate', '')}."
        )
    emptying = next(step for step in everybody.steps if not step.left)
    if emptying.constraint in _OPERATORS and all(
        step.constraint in _OPERATORS for step in everybody.steps[: everybody.steps.index(emptying)]
    ):
        return Refusal(
            Code.NO_CANDIDATES,
            f"No model can be chosen: the operator's rules allow none: {_told(everybody, 'model', of)}.",
        )
    return Refusal(
        Code.IMPOSSIBLE_WISH, f"No model can meet this request: {_told(everybody, 'model', of)}."
    )


def _told(sifted: Sifted, one: str, of: str) -> str:
    """Such as "of 41 candidates, 12 were left by tee, none by max_price prompt <= 0.05"."""
    if not sifted.steps or not sifted.steps[0].before:
        return "none is known to have an active instance"
    parts: list[str] = []
    for step in sifted.steps:
        left = str(step.left) if step.left else "none"
        parts.append(
            f"{left} by {step.constraint}" if parts else f"{left} were left by {step.constraint}"
        )
        if not step.left:
            break
    before = sifted.steps[0].before
    return f"of {before} {one}{'' if before == 1 else 's'}{of}, {', '.join(parts)}"


_STRUCTURED = frozenset({"structured_outputs", "structured_output"})


def _among(member: str, names: tuple[str, ...]) -> Constraint:
    among = NameList(names)

    def meets(name: str, model: Model | None) -> bool:
        return among.place(name if model is None else model.id, model) is not None

    return Constraint(f"provider.{member}", meets)


def _quantized(model: Model | None) -> str:
    said = None if model is None else model.traits.quantization
    return UNKNOWN_QUANTIZATION if said is None else said


def _strict_parameters(needs: Needs) -> Constraint:
    strict = abilities(needs)

    def meets(name: str, model: Model | None) -> bool:
        traits = UNKNOWN if model is None else model.traits
        takes = not needs.parameters or (
            traits.parameters is not None and needs.parameters <= traits.parameters
        )
        return takes and all(ability.meets(name, model) for ability in strict)

    asked = [*sorted(needs.parameters), *(ability.words for ability in strict)]
    return Constraint(f"require_parameters {_some(asked)}".rstrip(), meets)


def _accepts_images(_name: str, model: Model | None) -> bool | None:
    modalities = None if model is None else model.traits.modalities
    return None if modalities is None else "image" in modalities


def _featured(words: str, features: Iterable[str]) -> Constraint:
    """Any of `features` will do."""
    wanted = frozenset(features)

    def meets(_name: str, model: Model | None) -> bool | None:
        known = None if model is None else model.traits.features
        return None if known is None else bool(wanted & known)

    return Constraint(words, meets)


def _some(words: Sequence[str]) -> str:
    more = len(words) - _SHOWN_WORDS
    return listed(words[:_SHOWN_WORDS]) + (f" and {more} more" if more > 0 else "")
