"""What a client asks for besides a model: one value, whoever of suffix, body and header said it.

Rule 1: a wish is obeyed or refused, never ignored.
Rule 2: two places may say the same; if they differ the request is refused, and both are named.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from autopilot.policy.errors import Code, Refusal

SORTS: Mapping[str, str] = {
    "latency": "latency",
    "throughput": "throughput",
    "nitro": "throughput",
    "cost": "cost",
    "floor": "cost",
}
"""The suffixes that ask for an order, with the selector that makes it."""

TEE = "tee"
"""The suffix, and the word in a header, that ask for confidential compute."""

SUFFIXES = (*SORTS, TEE)
"""All suffixes that a model may end in, after a colon and in any case."""

_MOST_SHOWN = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """All that may be asked for; None and False are "not said".

    `sort` is the name of a selector. `order`, `only` and `ignore` hold models, see
    `autopilot.policy.provider_member`; prices are in US dollars for a million tokens, `latency` in
    seconds to the first byte. `strict_parameters`: the catalogue must say that a model takes what the
    body sets. `single`: no other candidate may be asked than the first, or those in `order`.
    """

    sort: str | None = None
    tee: bool = False
    order: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None
    prompt_price: float | None = None
    completion_price: float | None = None
    quantizations: frozenset[str] | None = None
    strict_parameters: bool = False
    single: bool = False
    latency: float | None = None
    attempts: int | None = None


NOTHING = Wishes()
"""What most requests ask for."""

_UNSAID = {field.name: field.default for field in fields(Wishes)}


def merge(said: Iterable[tuple[str, Wishes]]) -> Wishes:
    """All wishes of one request. Each comes with the words that say where it was found.

    Raises:
        Refusal: `invalid_wish`, when two of them cannot both be had.
    """
    merged: dict[str, object] = {}
    where: dict[str, str] = {}
    for place, wishes in said:
        if wishes == NOTHING:
            continue
        for name, unsaid in _UNSAID.items():
            value = getattr(wishes, name)
            if value == unsaid:
                continue
            if name in merged and merged[name] != value:
                raise Refusal(
                    Code.INVALID_WISH,
                    f"The request contradicts itself: {where[name]} and {place} ask for different "
                    "things.",
                )
            merged[name] = value
            where.setdefault(name, place)
    return Wishes(**merged) if merged else NOTHING  # type: ignore[arg-type]  # by its own fields


def shown(text: str) -> str:
    """What a client wrote, quoted for a message: printable ASCII, and no more than a line holds."""
    cut = text[:_MOST_SHOWN]
    return ascii(cut) + ("..." if len(text) > _MOST_SHOWN else "")


def listed(words: Iterable[str]) -> str:
    """Words as they are listed in a message."""
    return ", ".join(words)
