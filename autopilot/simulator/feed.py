"""Feed: the utilization rows of one batch, either alive with the load or exactly as a file holds them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any

from autopilot.simulator.catalogue import Catalogue, Model, chute_id_for
from autopilot.simulator.load import Fleet, Load
from autopilot.simulator.wire import compact

Row = Mapping[str, Any]

PRIVATE = "[private chute]"
# The live feed names four private chutes for each public one; a few are enough to trip over.
_PRIVATE_FLEETS = ((20, 0.25), (6, 0.61), (3, 0.08), (2, 0.0), (1, 0.97), (0, 0.0))
_OTHER_CHUTES = (
    ("sim-embedding-0.6b", 2, 0.01),
    ("sim-image-turbo", 4, 0.5),
    ("sim/speech-tts", 2, 0.03),
)
_INSTANCES_WITHOUT_A_ROW = 4


class Feed:
    """Every chute's load, and the bytes of the batch written last."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        loaded: Sequence[Row] | None,
        restamp: bool,
        slots: int,
        now: Callable[[], datetime],
    ) -> None:
        self._catalogue = catalogue
        self._loaded = loaded
        self._restamp = restamp
        self._now = now
        fleets = (
            {model.chute_id: model.fleet for model in catalogue.models}
            if loaded is None
            else _fleets(catalogue, loaded, slots)
        )
        self._loads = {chute_id: Load(fleet) for chute_id, fleet in fleets.items()}
        self.body = compact(list(loaded or ()))
        self.write_batch()

    def load(self, model: Model) -> Load:
        """How busy the model is."""
        return self._loads[model.chute_id]

    def write_batch(self) -> None:
        """Settle every load and write the rows anew, all with one timestamp."""
        for load in self._loads.values():
            load.settle()
        if self._loaded is not None and not self._restamp:
            return
        stamp = {"timestamp": self._now().replace(tzinfo=None).isoformat()}
        rows = self._rows() if self._loaded is None else self._loaded
        self.body = compact([{**row, **stamp} for row in rows])

    def public_chutes(self) -> dict[str, str]:
        """Names and ids of the chutes in the feed that anybody may look at, each to its id."""
        rows = self._rows() if self._loaded is None else self._loaded
        public = {
            str(row.get("name")): str(row.get("chute_id"))
            for row in rows
            if row.get("name") != PRIVATE
        }
        return public | {chute_id: chute_id for chute_id in public.values()}

    def _rows(self) -> list[Row]:
        rows = [
            _row(model.chute_id, model.id, self.load(model)) for model in self._catalogue.listed
        ]
        rows += [_still(f"private-{n}", PRIVATE, *at) for n, at in enumerate(_PRIVATE_FLEETS)]
        rows += [_still(name, name, *at) for name, *at in _OTHER_CHUTES]
        return rows


def _fleets(catalogue: Catalogue, rows: Sequence[Row], slots: int) -> dict[str, Fleet]:
    """As many slots as the rows have instances; their utilization stays, so it takes no room."""
    running: dict[str, int] = {}
    # A file may hold nonsense on purpose, to see what a router makes of it.
    for row in rows:
        for key in (row.get("name"), row.get("chute_id")):
            if isinstance(key, str) and key != PRIVATE:
                running[key] = _instances(row.get("active_instance_count"))
    fleets = {}
    for model in catalogue.models:
        by_name = running.get(model.id, _INSTANCES_WITHOUT_A_ROW)
        instances = running.get(model.chute_id, by_name)
        fleets[model.chute_id] = Fleet(instances=instances, slots=slots)
    return fleets


def _instances(count: object) -> int:
    if isinstance(count, int | float) and isfinite(count) and count > 0:
        return int(count)
    return 0


def _still(seed: str, name: str, instances: float, background: float) -> Row:
    fleet = Fleet(instances=int(instances), slots=1, background=background)
    return _row(chute_id_for(seed), name, Load(fleet))


def _row(chute_id: str, name: str, load: Load) -> Row:
    instances = load.fleet.instances
    totals = load.request_means.sums("total_requests")
    limited = load.limited_means.sums("rate_limited_requests")
    return {
        "chute_id": chute_id,
        "name": name,
        "timestamp": None,
        "utilization_current": load.utilization,
        **load.utilization_means.fields("utilization"),
        **load.rate_limit_means.fields("rate_limit_ratio"),
        **totals,
        **{
            f"completed_requests_{window}": totals[f"total_requests_{window}"]
            - limited[f"rate_limited_requests_{window}"]
            for window in ("5m", "15m", "1h")
        },
        **limited,
        "instance_count": instances,
        "action_taken": "no_action",
        "target_count": instances,
        "effective_multiplier": 1.0,
        "total_instance_count": instances,
        "active_instance_count": instances,
        "scalable": False,
        "scale_allowance": 0,
        "avg_busy_ratio": load.utilization,
        "total_invocations": totals["total_requests_1h"],
        "total_rate_limit_errors": limited["rate_limited_requests_1h"],
    }
