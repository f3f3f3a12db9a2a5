"""What the client asked for in `model`: an alias, a preference list, or one model.

Rule 1: an alias is an alias wherever it stands, whatever the platform lists under its name.
Rule 2: a name that exactly equals a catalogue id is that model, commas and colons included.
Rule 3: a catalogue that holds nothing knows nothing: names then go upstream unchecked.
Rule 4: a name is never guessed or mended; what is unknown is refused by name.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from autopilot.policy.catalog import Catalog
from autopilot.policy.errors import Code, Refusal

_ASCII_WHITE_SPACE = " \t\n\r\v\f"
_NATIVE_SUFFIXES = frozenset({"latency", "throughput"})


@dataclass(frozen=True, slots=True)
class Alias:
    """Any model: the router chooses."""


@dataclass(frozen=True, slots=True)
class PreferenceList:
    """The client's own order. An alias among the names stands for the ranked candidates."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Direct:
    """One model, sent upstream as it was written."""

    name: str


ModelSpec = Alias | PreferenceList | Direct


def parse_model(
    model: str, *, aliases: Collection[str], catalog: Catalog, max_items: int
) -> ModelSpec:
    """What `model` asks for.

    Raises:
        Refusal: `invalid_model_list` for a list without a name or with more than `max_items`;
            `unknown_model`, naming every item that a catalogue with entries does not know.
    """
    if model in aliases:
        return Alias()
    if model in catalog.by_id:
        return Direct(model)
    if "," not in model:
        _refuse_unknown((model,), catalog)
        return Direct(model)
    items = (item.strip(_ASCII_WHITE_SPACE) for item in model.split(","))
    names = tuple(dict.fromkeys(item for item in items if item))
    if not names:
        raise Refusal(Code.INVALID_MODEL_LIST, "The model list names no model.", param="model")
    if len(names) > max_items:
        raise Refusal(
            Code.INVALID_MODEL_LIST,
            f"The model list names {len(names)} models; at most {max_items} are accepted.",
            param="model",
        )
    _refuse_unknown((name for name in names if name not in aliases), catalog)
    return PreferenceList(names)


def expand(
    names: Iterable[str], *, aliases: Collection[str], order: tuple[str, ...], max_items: int
) -> tuple[str, ...]:
    """The names of a list with each alias replaced by the ranked `order`, cut to `max_items`."""
    expanded: dict[str, None] = {}
    for name in names:
        expanded.update(dict.fromkeys(order if name in aliases else (name,)))
    return tuple(expanded)[:max_items]


def catalog_id(name: str, catalog: Catalog) -> str | None:
    """The catalogue id behind a name as a client may write it, or None when there is none.

    Known forms (`research/PLATFORM.md`, "Native routing"): an id, a chute id, and either of them with
    one trailing `:latency` or `:throughput`.
    """
    if (found := _exact(name, catalog)) is not None:
        return found
    base, colon, suffix = name.rpartition(":")
    if colon and suffix.lower() in _NATIVE_SUFFIXES:
        return _exact(base, catalog)
    return None


def model_behind(name: str, catalog: Catalog) -> str:
    """What is learned of a model is kept under this: its catalogue id, else the name as it is."""
    return catalog_id(name, catalog) or name


def _exact(name: str, catalog: Catalog) -> str | None:
    if name in catalog.by_id:
        return name
    model = catalog.by_chute_id.get(name)
    return model.id if model is not None else None


def _refuse_unknown(names: Iterable[str], catalog: Catalog) -> None:
    if not catalog.models:
        return
    unknown = [name for name in names if catalog_id(name, catalog) is None]
    if unknown:
        named = ", ".join(f"'{name}'" for name in unknown)
        raise Refusal(
            Code.UNKNOWN_MODEL,
            f"The catalogue knows no model named {named}. GET /v1/models lists those it knows.",
            param="model",
        )
