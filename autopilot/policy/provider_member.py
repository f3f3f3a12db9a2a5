"""The member `provider` of a body, in the words of OpenRouter's API: what of it means something here.

A "provider" there is a model here: `order`, `only` and `ignore` name catalogue ids, chute ids, or a
maker, which is what stands before the slash of an id. Whatever has no meaning here is refused by name,
so that nobody believes that it was obeyed.
"""

import math
from collections.abc import Callable, Iterable, Mapping

from autopilot.policy.catalog import Catalog, Model
from autopilot.policy.errors import Code, Refusal
from autopilot.policy.wishes import NOTHING, Wishes, listed, shown

MAX_NAMES = 100
"""Most items of a list in the member."""

MAX_NAME_CHARS = 256
"""Longest of them: as long as the longest id of a catalogue."""

UNKNOWN_QUANTIZATION = "unknown"
"""Stands in `quantizations` for models of which the catalogue does not say."""

_SORTS = {"price": "cost", "throughput": "throughput", "latency": "latency"}
_PRICES = {"prompt": "prompt_price", "completion": "completion_price"}
_PERCENTILES = ("p50", "p75", "p90", "p99")


def provider_wishes(value: object, catalog: Catalog) -> Wishes:
    """What the value of the member asks for.

    Raises:
        Refusal: `invalid_wish`, naming the member and what is accepted; `unknown_model` for a name in
            `order` or `only` that fits nothing in a catalogue with entries.
    """
    if value is None:
        return NOTHING
    if not isinstance(value, dict):
        raise _refused("provider", "an object")
    found: dict[str, object] = {}
    for name, said in value.items():
        if said is None:
            continue
        reader = _READERS.get(name)
        if reader is None:
            raise Refusal(
                Code.INVALID_WISH,
                f"'provider' has a member {shown(name)}, which means nothing here. Accepted are: "
                f"{listed(_READERS)}.",
                param="provider",
            )
        found |= reader(f"provider.{name}", said)
    wishes = Wishes(**found)  # type: ignore[arg-type]  # each reader fills its own fields
    _check_names(wishes, catalog)
    return wishes


class NameList:
    """The names in `order`, `only` or `ignore`, and which models they stand for."""

    def __init__(self, names: Iterable[str]) -> None:
        self._exact: dict[str, int] = {}
        self._makers: dict[str, int] = {}
        for place, name in enumerate(names):
            self._exact.setdefault(name, place)
            self._makers.setdefault(name.lower(), place)

    def place(self, model_id: str, model: Model | None) -> int | None:
        """Where the first name that stands for the model is; None if none does.

        `model` is its catalogue entry, if it has one.
        """
        maker, slash, _rest = model_id.partition("/")
        found = (
            self._exact.get(model_id),
            None if model is None or model.chute_id is None else self._exact.get(model.chute_id),
            self._makers.get(maker.lower()) if slash else None,
        )
        return min((place for place in found if place is not None), default=None)


def _check_names(wishes: Wishes, catalog: Catalog) -> None:
    ignored = NameList(wishes.ignore or ())
    for member, names in (("order", wishes.order), ("only", wishes.only)):
        models = {name: _models(name, catalog) for name in names or ()}
        unknown = [name for name, found in models.items() if not found]
        if unknown and catalog.models:
            raise Refusal(
                Code.UNKNOWN_MODEL,
                f"'provider.{member}' names {listed(shown(name) for name in unknown)}, which is no "
                "model, chute or maker of the catalogue. GET /v1/models lists those it knows.",
                param=f"provider.{member}",
            )
        both = [
            name
            for name, found in models.items()
            if name in (wishes.ignore or ())
            or (found and all(ignored.place(model.id, model) is not None for model in found))
        ]
        if both:
            raise Refusal(
                Code.INVALID_WISH,
                f"'provider.ignore' contradicts 'provider.{member}': all that "
                f"{listed(shown(name) for name in both)} stands for is ignored.",
                param="provider.ignore",
            )


def _models(name: str, catalog: Catalog) -> list[Model]:
    """The models of the catalogue for which `name` stands."""
    exact = catalog.by_id.get(name) or catalog.by_chute_id.get(name)
    if exact is not None:
        return [exact]
    maker = f"{name.lower()}/"
    return [model for model in catalog.models if model.id.lower().startswith(maker)]


def _refused(member: str, accepted: str) -> Refusal:
    return Refusal(
        Code.INVALID_WISH, f"'{member}' is not accepted: expected {accepted}.", param=member
    )


def _names(member: str, said: object) -> tuple[str, ...]:
    if (
        not isinstance(said, list)
        or not 0 < len(said) <= MAX_NAMES
        or not all(isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARS for name in said)
    ):
        raise _refused(member, f"a list of 1 to {MAX_NAMES} names")
    return tuple(dict.fromkeys(said))


def _named(field: str) -> Callable[[str, object], dict[str, object]]:
    return lambda member, said: {field: _names(member, said)}


def _sort(member: str, said: object) -> dict[str, object]:
    if isinstance(said, dict) and set(said) == {"by"}:
        said = said["by"]
    if not isinstance(said, str) or said not in _SORTS:
        raise _refused(member, f"one of {listed(_SORTS)}, or an object with it as its 'by'")
    return {"sort": _SORTS[said]}


def _amount(said: object) -> float | None:
    if isinstance(said, str):
        try:
            said = float(said)
        except ValueError:
            return None
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    return float(said) if math.isfinite(said) and said >= 0 else None


def _max_price(member: str, said: object) -> dict[str, object]:
    prices = _without_nulls(said)
    found: dict[str, object] = {
        _PRICES[name]: _amount(price) for name, price in prices.items() if name in _PRICES
    }
    if not isinstance(said, dict) or len(found) < len(prices) or None in found.values():
        raise _refused(
            member,
            "an object with 'prompt', 'completion' or both: US dollars for a million tokens, from 0",
        )
    return found


def _latency(member: str, said: object) -> dict[str, object]:
    expected = "seconds above 0, or an object with them as its 'p50'"
    if isinstance(said, dict):
        percentiles = _without_nulls(said)
        if not percentiles.keys() <= set(_PERCENTILES):
            raise _refused(member, expected)
        if others := percentiles.keys() - {"p50"}:
            raise Refusal(
                Code.INVALID_WISH,
                f"'{member}' asks for {listed(sorted(others))}: only p50 is known here.",
                param=member,
            )
        if not percentiles:
            return {}
        said = percentiles["p50"]
    seconds = None if isinstance(said, str) else _amount(said)
    if not seconds:
        raise _refused(member, expected)
    return {"latency": seconds}


def _without_nulls(said: object) -> dict[str, object]:
    items = said.items() if isinstance(said, dict) else ()
    return {name: value for name, value in items if value is not None}


def _switch(field: str, *, when: bool) -> Callable[[str, object], dict[str, object]]:
    def read(member: str, said: object) -> dict[str, object]:
        if not isinstance(said, bool):
            raise _refused(member, "true or false")
        return {field: said is when}

    return read


def _quantizations(member: str, said: object) -> dict[str, object]:
    return {"quantizations": frozenset(name.lower() for name in _names(member, said))}


_READERS: Mapping[str, Callable[[str, object], dict[str, object]]] = {
    "order": _named("order"),
    "only": _named("only"),
    "ignore": _named("ignore"),
    "sort": _sort,
    "max_price": _max_price,
    "require_parameters": _switch("strict_parameters", when=True),
    "allow_fallbacks": _switch("single", when=False),
    "preferred_max_latency": _latency,
    "quantizations": _quantizations,
}
