"""Whom a client wishes to come before whom: neither a strategy nor its last model changes that.

Those in `provider.order` come first, in that order; of the others, and of those that a maker's name puts
into one place, the models known to be slower than `provider.preferred_max_latency` come last.
"""

import math
from collections.abc import Iterable, Mapping

from autopilot.policy.catalog import Catalog
from autopilot.policy.modelspec import entry, model_behind
from autopilot.policy.provider_member import NameList
from autopilot.policy.scene import Moment
from autopilot.policy.timings import size_class
from autopilot.policy.wishes import Wishes

Precedence = Mapping[str, tuple[float, bool]]
"""The place of each name, lowest first; names of one place are anybody's to order. Empty is one place."""


def precedence(
    names: Iterable[str], wishes: Wishes, moment: Moment | None, catalog: Catalog
) -> Precedence:
    """The places of `names` by `wishes`; without a `moment` nobody is known to be slow."""
    if wishes.order is None and wishes.latency is None:
        return {}
    limit = math.inf if wishes.latency is None else wishes.latency
    seen = {} if moment is None else moment.timings.first_byte[_size(moment)]
    first = NameList(wishes.order or ())

    def place(name: str) -> tuple[float, bool]:
        model = model_behind(name, catalog)
        found, mean = first.place(model, entry(name, catalog)), seen.get(model)
        return math.inf if found is None else found, mean is not None and mean.value > limit

    return {name: place(name) for name in names}


def placed(order: tuple[str, ...], places: Precedence) -> tuple[str, ...]:
    """`order` by `places`; names of one place stay as they are."""
    return tuple(sorted(order, key=places.__getitem__)) if places else order


def _size(moment: Moment) -> int:
    return size_class(moment.needs.prompt_tokens)
