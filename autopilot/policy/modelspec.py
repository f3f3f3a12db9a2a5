"""What the client asked for in `model` and `models`: an alias, a preference list, or one model.

Rule 1: an alias is an alias wherever it stands, whatever the platform lists under its name.
Rule 2: a name that exactly equals an alias, a catalogue id or a chute id is that, commas and colons
        included; only what is no such name is read for suffixes, and then for commas.
Rule 3: a catalogue that holds nothing knows nothing: names then go upstream unchecked.
Rule 4: a name is never guessed or mended; what is unknown is refused by name.
Rule 5: a suffix speaks for the whole request, wherever it stands in a list.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from autopilot.policy.catalog import Catalog, Model
from autopilot.policy.errors import Code, Refusal
from autopilot.policy.wishes import SORTS, SUFFIXES, TEE, Wishes, listed, merge, shown

_ASCII_WHITE_SPACE = " \t\n\r\v\f"
_NATIVE_SUFFIXES = frozenset({"latency", "throughput"})
_MOST_SUFFIXES = 16
Said = tuple[tuple[str, Wishes], ...]
"""Wishes with the words that say where they were found, for `autopilot.policy.wishes.merge`."""


@dataclass(frozen=True, slots=True)
class Alias:
    """Any model: the router chooses."""


@dataclass(frozen=True, slots=True)
class PreferenceList:
    """The client's own order. An alias among the names stands for the ranked candidates."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Direct:
    """One model, asked for upstream as `name`.

    That is what the client wrote, if the platform knows the form; `model` is what is left of it without
    suffixes.
    """

    name: str
    model: str


ModelSpec = Alias | PreferenceList | Direct


@dataclass(frozen=True, slots=True)
class _Item:
    """One name with its suffixes, as they were written, first one first."""

    text: str
    base: str
    suffixes: tuple[str, ...] = ()


def parse_model(
    model: str | None,
    *,
    models: Sequence[str] = (),
    aliases: Collection[str],
    catalog: Catalog,
    max_items: int,
) -> tuple[ModelSpec, Said]:
    """What `model` asks for, followed by `models` if there are any, and what their suffixes wish.

    Raises:
        Refusal: `invalid_model_list` for a list without a name or with more than `max_items`;
            `unknown_model`, naming every item that a catalogue with entries does not know;
            `invalid_wish` for a suffix that is none.
    """
    if model in aliases and not models:
        return Alias(), ()
    known = _Known(aliases, catalog)
    items: list[_Item] = []
    single = False
    if model is not None:
        whole = known.read(model)
        single = "," not in model or known.complete(whole)
        parts = [model] if single else [part.strip(_ASCII_WHITE_SPACE) for part in model.split(",")]
        items = [whole] if single else [known.read(part) for part in parts if part]
        if not items:
            raise Refusal(Code.INVALID_MODEL_LIST, "The model list names no model.", param="model")
    more = [known.read(name) for name in models]
    single = single and not more
    items += more
    names = tuple(dict.fromkeys(item.base for item in items))
    if not single and len(names) > max_items:
        raise Refusal(
            Code.INVALID_MODEL_LIST,
            f"The model list names {len(names)} models; at most {max_items} are accepted.",
            param="models" if more else "model",
        )
    known.refuse_unknown(items, behind=len(items) - len(more))
    said = _said(items)
    if not single:
        return PreferenceList(names), said
    [item] = items
    if item.base in aliases:
        return Alias(), said
    return Direct(_native(item), item.base), said


def expand(
    names: Iterable[str], *, aliases: Collection[str], order: tuple[str, ...]
) -> tuple[str, ...]:
    """The names of a list with each alias replaced by the ranked `order`, each name once."""
    expanded: dict[str, None] = {}
    for name in names:
        expanded.update(dict.fromkeys(order if name in aliases else (name,)))
    return tuple(expanded)


def catalog_id(name: str, catalog: Catalog) -> str | None:
    """The catalogue id behind a candidate's name, or None when there is none.

    Known forms (`research/PLATFORM.md`, "Native routing"): an id, a chute id, and either of them with
    one trailing `:latency` or `:throughput`.
    """
    model = entry(name, catalog)
    if model is None:
        base, colon, suffix = name.rpartition(":")
        model = entry(base, catalog) if colon and suffix.lower() in _NATIVE_SUFFIXES else None
    return None if model is None else model.id


def model_behind(name: str, catalog: Catalog) -> str:
    """What is learned of a model is kept under this: its catalogue id, else the name as it is."""
    return catalog_id(name, catalog) or name


def entry(name: str, catalog: Catalog) -> Model | None:
    """The catalogue entry of exactly this id or chute id."""
    return catalog.by_id.get(name) or catalog.by_chute_id.get(name)


@dataclass(frozen=True, slots=True)
class _Known:
    """Reads names by what is known."""

    aliases: Collection[str]
    catalog: Catalog

    def read(self, text: str) -> _Item:
        """`text` less its suffixes: as few of them as leave a known name."""
        base = text
        suffixes: tuple[str, ...] = ()
        for _suffix in range(_MOST_SUFFIXES):
            if self._exact(base):
                return _Item(text, base, suffixes)
            base, colon, suffix = base.rpartition(":")
            if not colon:
                break
            suffixes = (suffix, *suffixes)
        return _Item(text, text) if self.catalog.models else _unchecked(text)

    def complete(self, item: _Item) -> bool:
        """Whether all of a text that holds commas is one name with its suffixes."""
        return self._exact(item.base) and all(word.lower() in SUFFIXES for word in item.suffixes)

    def refuse_unknown(self, items: Sequence[_Item], *, behind: int) -> None:
        """`behind` so many of `model` come those of `models`."""
        if not self.catalog.models:
            return
        exact = [self._exact(item.base) for item in items]
        unknown = dict.fromkeys(
            item.text for item, known in zip(items, exact, strict=True) if not known
        )
        if unknown:
            named = ", ".join(f"'{name}'" for name in unknown)
            raise Refusal(
                Code.UNKNOWN_MODEL,
                f"The catalogue knows no model named {named}. GET /v1/models lists those it knows.",
                param="models" if all(exact[:behind]) else "model",
            )

    def _exact(self, name: str) -> bool:
        return name in self.aliases or entry(name, self.catalog) is not None


def _unchecked(text: str) -> _Item:
    """A name of which nothing can be known: what looks like a suffix is one."""
    base = text
    suffixes: tuple[str, ...] = ()
    for _suffix in range(_MOST_SUFFIXES):
        before, _colon, suffix = base.rpartition(":")
        if not before or suffix.lower() not in SUFFIXES:
            break
        base, suffixes = before, (suffix, *suffixes)
    return _Item(text, base, suffixes)


def _said(items: Iterable[_Item]) -> Said:
    said: list[tuple[str, Wishes]] = []
    for item in items:
        for suffix in item.suffixes:
            word = suffix.lower()
            if word not in SUFFIXES:
                raise Refusal(
                    Code.INVALID_WISH,
                    f"The model suffix {shown(suffix)} is not known. Accepted are: "
                    f"{listed(f':{accepted}' for accepted in SUFFIXES)}.",
                    param="model",
                )
            wishes = Wishes(tee=True) if word == TEE else Wishes(sort=SORTS[word])
            said.append((f"the suffix ':{word}'", wishes))
    return tuple(said)


def _native(item: _Item) -> str:
    """How the platform is asked for the model: as the client did, wherever that says it all."""
    words = [suffix.lower() for suffix in item.suffixes]
    if not words or (len(words) == 1 and words[0] in _NATIVE_SUFFIXES):
        return item.text
    sort = merge(_said([item])).sort
    return f"{item.base}:{sort}" if sort in _NATIVE_SUFFIXES else item.base
