"""Scenes and moments for selectors: small ones to read, and any that may come."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

from hypothesis import strategies as st

from autopilot.policy.catalog import Catalog, Chute, Model
from autopilot.policy.needs import Needs
from autopilot.policy.scene import Moment, Scene
from autopilot.policy.timings import SIZES, Mean, Means, Timings
from autopilot.policy.traits import Price, Traits

NAMES = ("org/a", "org/b", "org/c", "org/d", "org/e")


def chute(
    name: str,
    instances: float = 2.0,
    *,
    busy: float = 0.0,
    usually: float | None = None,
    refusing: float = 0.0,
) -> Chute:
    """A row of the feed; `usually` is the mean of an hour, where it differs."""
    return Chute(
        name=name,
        chute_id=name,
        active_instance_count=instances,
        utilization_5m=busy,
        utilization_1h=usually,
        rate_limit_ratio_5m=refusing,
    )


def model(name: str, price: Price | None = None) -> Model:
    return Model(id=name, chute_id=name, document=b"{}", traits=Traits(price=price or Price()))


def scene_of(*chutes: Chute, prices: Mapping[str, Price] | None = None) -> Scene:
    """Models in the order given, with their rows and prices."""
    names = tuple(each.name for each in chutes)
    return Scene(
        names=names,
        chutes={each.name: each for each in chutes},
        catalog=Catalog(tuple(model(name, (prices or {}).get(name)) for name in names)),
    )


def timings_of(
    *,
    size: int = 0,
    first_byte: Means | None = None,
    pace: Means | None = None,
    failures: Means | None = None,
) -> Timings:
    """What was measured; times to the first byte for prompts of one class of sizes."""
    classes: list[Means] = [{} for _size in range(len(SIZES) + 1)]
    classes[size] = first_byte or {}
    return Timings(first_byte=tuple(classes), pace=pace or {}, failures=failures or {})


# Of values that are expensive to draw there is a stock: a draw is then one choice.
_SHARES = (None, 0.0, 1e-9, 0.3, 0.5, 0.97, 1.0, 1.4, 1e300)
_COUNTS = (0.0, 0.5, 1.0, 2.0, 2.0, 40.0, 1e308)
_DOLLARS = (None, 0.0, 0.01, 0.3, 1.2, 1e308)
_SECONDS = (0.0, 1e-9, 0.2, 1.0, 1.0, 7.5, 600.0, 1e9)
_PACES = (0.0, 1.0, 900.0, 12_000.0, 70_000.0, 1e12)
_WEIGHTS = (0.01, 0.5, 1.0, 8.0)
_TOKENS = (0, 1, 400, 999, 1_000, 5_000, 30_000, 100_000, 10**9)
_AGES = (0.0, 5.0, 60.0, 299.0, 301.0, 1_800.0, 1e9, math.inf)


def _stock(chance: random.Random) -> Chute:
    return Chute(
        name="",
        chute_id="",
        active_instance_count=chance.choice(_COUNTS),
        utilization_current=chance.choice(_SHARES),
        utilization_5m=chance.choice(_SHARES),
        utilization_15m=chance.choice(_SHARES),
        utilization_1h=chance.choice(_SHARES),
        rate_limit_ratio_5m=chance.choice(_SHARES),
        rate_limit_ratio_15m=chance.choice(_SHARES),
        rate_limit_ratio_1h=chance.choice(_SHARES),
    )


_CHANCE = random.Random(6)  # noqa: S311 - the same stock every time
_ROWS = st.sampled_from([_stock(_CHANCE) for _row in range(300)])
_PRICES = st.sampled_from(
    [
        Price(prompt=prompt, completion=completion, cached_prompt=cached)
        for prompt, completion, cached in product(_DOLLARS, repeat=3)
    ]
)
_SOME = st.lists(st.sampled_from(NAMES), unique=True)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Any scene: names without a row or an entry, rows without a name among them."""
    return Scene(
        names=tuple(draw(_SOME)),
        chutes={name: replace(draw(_ROWS), name=name, chute_id=name) for name in draw(_SOME)},
        catalog=Catalog(tuple(model(name, draw(_PRICES)) for name in draw(_SOME))),
    )


def _means(values: Sequence[float]) -> st.SearchStrategy[Means]:
    stock = [Mean(value, weight) for value, weight in product(values, _WEIGHTS)]
    names = st.sampled_from([*NAMES, "org/elsewhere"])
    return st.dictionaries(names, st.sampled_from(stock), max_size=4)


_FIRST_BYTE, _PACE, _FAILURES = (
    _means(values) for values in (_SECONDS, _PACES, (0.0, 0.2, 0.9, 1.0))
)
_IN_FLIGHT = st.dictionaries(
    st.sampled_from([*NAMES, "org/elsewhere"]), st.sampled_from([1, 2, 7, 30, 10_000]), max_size=4
)


@st.composite
def moments(draw: st.DrawFn) -> Moment:
    """Any moment."""
    common = draw(_FIRST_BYTE)
    own = draw(st.integers(0, len(SIZES)))
    prompt, prefix, completion = (draw(st.sampled_from(_TOKENS)) for _kind in range(3))
    return Moment(
        feed_age=draw(st.sampled_from(_AGES)),
        seed=draw(st.integers(0, 2**64 - 1)),
        needs=Needs(prompt_tokens=prompt, prefix_tokens=prefix, completion_tokens=completion),
        in_flight=draw(_IN_FLIGHT),
        timings=Timings(
            first_byte=tuple(
                draw(_FIRST_BYTE) if size == own else common for size in range(len(SIZES) + 1)
            ),
            pace=draw(_PACE),
            failures=draw(_FAILURES),
        ),
    )
