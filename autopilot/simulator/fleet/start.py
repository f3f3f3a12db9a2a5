"""Where a simulation begins: a smaller fleet in the proportions of a captured feed and catalogue.

The largest chutes of the capture are taken, with about `INSTANCES` in the capture's proportions, and
fewer slots in each than real ones have, which keeps a run quick. What they are busy with at the start
and after is in proportion to what they were busy with when captured.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autopilot.policy.catalog import Catalog, Chute, parse_catalog, parse_utilization
from autopilot.policy.ranking import rank
from autopilot.policy.traits import Price
from autopilot.simulator.fleet.instances import Engine

CHUTES = 10
"""How many of the capture's chutes take part: the largest, which hold two thirds of its instances."""

INSTANCES = 15
"""Instances of the whole fleet, before each chute's are rounded to whole ones."""

SLOTS_FOR_PACE = 1 / 3
"""Requests that an instance runs at once, for each token a second of an answer that is alone: what is
quick is small, and leaves room for more. That makes 8 to 22; real instances run some tens."""

STRAIN = 1.0
"""With all slots taken an answer takes twice as long as alone."""

READING = 100.0
"""Tokens of a prompt that are read in the time of one token of an answer."""

OPENING = 10.0
"""Tokens of an answer in whose time a request is begun: the platform's own way, and the engine's turn."""

BUSIEST = 0.9
"""Most of a chute that others may fill by themselves, so that a captured hot spot stays one chute's."""

_FASTEST, _SLOWEST = 70.0, 20.0
_DEAR = 1.0
_FEED, _CATALOGUE = "utilization", "models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One chute at the start. `others` is the share of its slots that others fill on average.

    `allowance` is how many instances may be added to it when it is busy.
    """

    name: str
    chute_id: str
    instances: int
    engine: Engine
    others: float
    allowance: int
    price: Price

    @property
    def slots(self) -> int:
        """Requests that all its instances run at once."""
        return self.instances * self.engine.slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The fleet at the start, and the catalogue that it is sold by."""

    origins: tuple[Origin, ...]
    catalog: Catalog

    @property
    def slots(self) -> int:
        """Requests that the whole fleet runs at once."""
        return sum(origin.slots for origin in self.origins)

    def under(self, load: float) -> "Start":
        """The same fleet where others fill `load` of it, each chute in proportion to what it had."""
        shares = [origin.others for origin in self.origins]
        slots = [origin.slots for origin in self.origins]
        filled = _fill(shares, slots, load * self.slots)
        origins = zip(self.origins, filled, strict=True)
        return replace(
            self, origins=tuple(replace(origin, others=share) for origin, share in origins)
        )


def start(folder: Path | None = None) -> Start:
    """The start that the feed and the catalogue in `folder` give, or those of `default_folder`."""
    folder = default_folder() if folder is None else folder
    catalog = parse_catalog(_only(folder, _CATALOGUE)).catalog
    ranked = rank(parse_utilization(_only(folder, _FEED)).utilization, catalog)
    largest = sorted(
        (candidate.chute for candidate in ranked),
        key=lambda chute: (-chute.active_instance_count, chute.name),
    )[:CHUTES]
    shrink = sum(chute.active_instance_count for chute in largest) / INSTANCES
    origins = tuple(_origin(chute, catalog, shrink) for chute in largest)
    names = {origin.name for origin in origins}
    return Start(
        origins=origins,
        catalog=Catalog(tuple(model for model in catalog.models if model.id in names)),
    )


def default_folder() -> Path:
    """Where `AUTOPILOT_CAPTURES` says, else the fixtures of the checkout."""
    captures = os.environ.get("AUTOPILOT_CAPTURES")
    return Path(captures) if captures else Path(__file__).parents[3] / "testdata"


def _only(folder: Path, kind: str) -> bytes:
    """The file of that kind: a capture has the day in its name."""
    return max(folder.glob(f"{kind}*.json")).read_bytes()


def _origin(chute: Chute, catalog: Catalog, shrink: float) -> Origin:
    price = catalog.by_id[chute.name].traits.price
    pace = _pace(price)
    allowance = (chute.scale_allowance or 0.0) if chute.scalable else 0.0
    return Origin(
        name=chute.name,
        chute_id=chute.chute_id,
        instances=_scaled(chute.active_instance_count, shrink),
        engine=Engine(
            pace=pace,
            reading=READING,
            opening=OPENING,
            slots=round(pace * SLOTS_FOR_PACE),
            strain=STRAIN,
        ),
        others=min(chute.utilization_5m or 0.0, BUSIEST),
        allowance=_scaled(allowance, shrink) if allowance else 0,
        price=price,
    )


def _scaled(count: float, shrink: float) -> int:
    return max(round(count / shrink), 1)


def _pace(price: Price) -> float:
    """Tokens a second. The feed does not say them: what is dear to write is a large model, and slow."""
    dollars = _DEAR if price.completion is None else price.completion
    return max(_FASTEST / math.pow(1.0 + dollars, 0.75), _SLOWEST)


def _fill(shares: Sequence[float], slots: Sequence[int], wanted: float) -> list[float]:
    """`shares` in proportion, none above `BUSIEST`, so that all together fill `wanted` slots."""
    weights = [max(share, 0.01) for share in shares]
    low, high = 0.0, 1_000.0
    for _step in range(60):
        factor = (low + high) / 2
        filled = sum(
            min(weight * factor, BUSIEST) * count
            for weight, count in zip(weights, slots, strict=True)
        )
        low, high = (factor, high) if filled < wanted else (low, factor)
    return [min(weight * high, BUSIEST) for weight in weights]
