"""Applies rules, wishes and needs to the models of a picture, and keeps what came of it.

What came of equal wishes and needs is worked out once for a picture: most requests are given what was
worked out for another.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from autopilot.policy.catalog import Catalog
from autopilot.policy.constraints import (
    Constraint,
    Lookup,
    Sifted,
    abilities,
    emptied,
    room,
    ruled,
    sift,
    wished,
)
from autopilot.policy.errors import Code, Refusal
from autopilot.policy.modelspec import entry
from autopilot.policy.needs import Needs
from autopilot.policy.picture import Picture
from autopilot.policy.rules import Rules
from autopilot.policy.wishes import NOTHING, Wishes, listed, shown

MAX_KEPT = 64
"""Results kept for one picture: clients can wish for no end of things."""


class _Key(NamedTuple):
    """All of a request that `Sieve.eligible` looks at."""

    wishes: Wishes
    images: bool
    tools: bool
    structured: bool
    json_mode: bool
    parameters: frozenset[str]


class Sieve:
    """Holds the operator's `rules`."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._ruled = ruled(rules)
        self._picture = Picture()
        self._contexts: list[int] = []
        self._kept: OrderedDict[tuple[_Key | None, tuple[int, int] | None], Sifted] = OrderedDict()

    def eligible(self, picture: Picture, wishes: Wishes, needs: Needs) -> Sifted:
        """The candidates of `picture` that a request may be sent to."""
        if picture is not self._picture:
            self._picture = picture
            self._kept.clear()
            contexts = {model.traits.context for model in picture.catalog.models}
            self._contexts = sorted(context for context in contexts if context is not None)
        key = _key(wishes, needs)
        able = self._keep(
            (key, None), picture.order, lambda: self._constraints(wishes, needs), picture.catalog
        )
        large = room(needs)
        if large is None:
            return able
        # It depends on which of the contexts that there are have room, not on the exact size.
        fit = bisect_left(self._contexts, large.surely), bisect_left(self._contexts, large.perhaps)
        fitting = self._keep((key, fit), able.names, lambda: [large.constraint], picture.catalog)
        step = replace(fitting.steps[0], constraint=large.constraint.words)
        return Sifted(
            names=fitting.names,
            later=fitting.later.union(able.later.intersection(fitting.names)),
            steps=(*able.steps, step),
        )

    def _keep(
        self,
        key: tuple[_Key | None, tuple[int, int] | None],
        names: Sequence[str],
        constraints: Callable[[], list[Constraint]],
        catalog: Catalog,
    ) -> Sifted:
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = sift(names, constraints(), _entries(catalog))
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return kept

    def named(self, names: Sequence[str], catalog: Catalog, wishes: Wishes, needs: Needs) -> Sifted:
        """Of the models that a client named, those that meet its own wishes.

        Raises:
            Refusal: `model_not_allowed` for those that the operator does not allow, `no_candidates` if
                that cannot be known yet.
        """
        self._allow(names, catalog)
        if wishes is NOTHING:
            return Sifted(names=tuple(names))
        return sift(names, wished(wishes, needs), _entries(catalog))

    def nobody(self, candidates: Sifted, picture: Picture, wishes: Wishes, needs: Needs) -> Refusal:
        """Why no candidate of `picture` is left for an alias."""
        large = room(needs)
        constraints = self._constraints(wishes, needs)
        if large is not None:
            constraints.append(large.constraint)
        catalog = picture.catalog
        everybody = sift((model.id for model in catalog.models), constraints, _entries(catalog))
        return emptied(candidates, everybody)

    def nobody_named(
        self, names: Sequence[str], catalog: Catalog, wishes: Wishes, needs: Needs
    ) -> Refusal:
        """Why none of the models that a client named is left."""
        constraints = wished(wishes, needs)
        named = sift(names, constraints, _entries(catalog))
        everybody = named if catalog.models else sift((), constraints, _entries(catalog))
        return emptied(named, everybody, of=" named")

    def _constraints(self, wishes: Wishes, needs: Needs) -> list[Constraint]:
        return [*self._ruled, *wished(wishes, needs), *abilities(needs)]

    def _allow(self, names: Iterable[str], catalog: Catalog) -> None:
        if not self._ruled:
            return
        if not catalog.models:
            raise Refusal(
                Code.NO_CANDIDATES,
                "No model can be asked yet: what the operator allows is judged by the catalogue, "
                "which is not known.",
            )
        models = ((name, entry(name, catalog)) for name in names)
        refused = [
            name
            for name, model in models
            if not self._rules.allows(name if model is None else model.id, model)
        ]
        if refused:
            raise Refusal(
                Code.MODEL_NOT_ALLOWED,
                f"The operator of this router does not allow {listed(shown(name) for name in refused)}. "
                "GET /v1/models lists what is allowed.",
                param="model",
            )


def _key(wishes: Wishes, needs: Needs) -> _Key | None:
    """None is for a request that asks for nothing special, as most do."""
    images, tools, structured, json = (
        needs.images,
        needs.tools,
        needs.structured,
        needs.json_mode,
    )
    if wishes is NOTHING and not (images or tools or structured or json):
        return None
    parameters = needs.parameters if wishes.strict_parameters else frozenset()
    return _Key(wishes, images, tools, structured, json, parameters)


def _entries(catalog: Catalog) -> Lookup:
    return partial(entry, catalog=catalog)
