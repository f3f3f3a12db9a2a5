"""What the catalogue says that a model can do and costs: each of it may be unsaid, which is never "no".

Shapes are those of `research/PLATFORM.md`, "Catalogue". Of a field of the wrong type nothing is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autopilot.policy.figures import figure

MAX_WORDS = 200
"""Most items read of a list. The longest seen has 8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars for a million tokens; a part that is not said is None."""

    prompt: float | None = None
    completion: float | None = None
    cached_prompt: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """A model's traits. None is "not said"; lengths are in tokens."""

    confidential: bool | None = None
    context: int | None = None
    features: frozenset[str] | None = None
    modalities: frozenset[str] | None = None
    parameters: frozenset[str] | None = None
    quantization: str | None = None
    price: Price = Price()


UNKNOWN = Traits()
"""Of whom nothing is said."""


def traits_of(row: Mapping[str, Any]) -> Traits:
    """The traits in a catalogue entry."""
    confidential = row.get("confidential_compute")
    quantization = row.get("quantization")
    # `context_length` is what is sold, `max_model_len` what the engine was started with.
    context = _length(row.get("context_length"))
    return Traits(
        confidential=confidential if isinstance(confidential, bool) else None,
        context=_length(row.get("max_model_len")) if context is None else context,
        features=_words(row.get("supported_features")),
        modalities=_words(row.get("input_modalities")),
        parameters=_words(row.get("supported_sampling_parameters")),
        quantization=quantization.lower() if isinstance(quantization, str) else None,
        price=_price(row),
    )


def _words(value: object) -> frozenset[str] | None:
    if not isinstance(value, list):
        return None
    return frozenset(word.lower() for word in value[:MAX_WORDS] if isinstance(word, str))


def _length(value: object) -> int | None:
    number = figure(value)
    return int(number) if number is not None and number >= 1 else None


def _price(row: Mapping[str, Any]) -> Price:
    pricing, price = row.get("pricing"), row.get("price")
    pricing = pricing if isinstance(pricing, dict) else {}
    price = price if isinstance(price, dict) else {}

    def dollars(flat: str, nested: str) -> float | None:
        said = figure(pricing.get(flat))
        amounts = price.get(nested)
        if said is None and isinstance(amounts, dict):
            said = figure(amounts.get("usd"))
        return said

    return Price(
        prompt=dollars("prompt", "input"),
        completion=dollars("completion", "output"),
        cached_prompt=dollars("input_cache_read", "input_cache_read"),
    )
