"""What the catalogue says of a model, and that what it does not say stays unsaid."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.catalog import parse_catalog
from autopilot.policy.traits import UNKNOWN, Price, Traits, traits_of

WHOLE: dict[str, Any] = {
    "id": "org/a",
    "confidential_compute": True,
    "context_length": 40_960,
    "max_model_len": 65_536,
    "supported_features": ["json_mode", "Tools"],
    "input_modalities": ["text", "image"],
    "supported_sampling_parameters": ["temperature"],
    "quantization": "FP8",
    "pricing": {"prompt": 0.08, "completion": 0.24, "input_cache_read": 0.04},
}


def test_a_whole_entry_says_everything() -> None:
    assert traits_of(WHOLE) == Traits(
        confidential=True,
        context=40_960,
        features=frozenset({"json_mode", "tools"}),
        modalities=frozenset({"text", "image"}),
        parameters=frozenset({"temperature"}),
        quantization="fp8",
        price=Price(prompt=0.08, completion=0.24, cached_prompt=0.04),
    )


def test_an_entry_without_any_of_it_says_nothing() -> None:
    assert traits_of({"id": "org/a"}) == UNKNOWN


@pytest.mark.parametrize("value", [None, 1, "yes", [], {}, -1.5, True, "nan"])
def test_a_field_of_the_wrong_type_is_unsaid_or_what_it_says(value: object) -> None:
    for field in WHOLE:
        traits = traits_of({field: value})
        assert traits.confidential in {None, value is True}
        assert traits.context in {None, 1}
        assert traits.price == Price()


def test_prices_are_found_in_either_of_their_two_places() -> None:
    nested = {
        "price": {
            "input": {"usd": 1, "tao": 9},
            "output": {"usd": 2.5},
            "input_cache_read": {"tao": 9},
        }
    }
    assert traits_of(nested).price == Price(prompt=1.0, completion=2.5)
    assert traits_of(nested | {"pricing": {"prompt": 3}}).price.prompt == 3.0


def test_the_engines_length_counts_where_none_is_sold() -> None:
    assert traits_of({"max_model_len": 8_192}).context == 8_192


@pytest.mark.parametrize("amount", [-1, True, "0.1", 10**400, None, [0.1]])
def test_what_is_no_amount_is_no_price(amount: object) -> None:
    assert traits_of({"pricing": {"prompt": amount}}).price.prompt is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(row=st.fixed_dictionaries({}, optional=dict.fromkeys(WHOLE | {"price": 0}, json_values)))
def test_no_entry_is_too_odd(row: dict[str, Any]) -> None:
    assert isinstance(traits_of(row), Traits)


def test_a_parsed_catalogue_has_them() -> None:
    body = b'{"data":[{"id":"org/a","confidential_compute":false,"max_model_len":1024}]}'
    (model,) = parse_catalog(body).catalog.models
    assert (model.traits.confidential, model.traits.context) == (False, 1024)
