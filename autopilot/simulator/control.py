"""Control: the `/_simulator` routes, where a test sets faults and reads what was asked."""

import json
from dataclasses import dataclass
from typing import Any

from autopilot.simulator.catalogue import Catalogue
from autopilot.simulator.faults import Fault, FaultBoard, fault_called
from autopilot.simulator.journal import Journal

PREFIX = "/_simulator/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a control request is answered with."""

    status: int
    body: dict[str, Any]


class _BadInputError(Exception):
    """What is wrong with a control request, said to the person who sent it."""


class Control:
    """Reads and changes the fault board and the journal."""

    def __init__(self, *, catalogue: Catalogue, faults: FaultBoard, journal: Journal) -> None:
        self._catalogue = catalogue
        self._faults = faults
        self._journal = journal

    def handle(self, method: str, path: str, body: bytes) -> Told:
        """Carry out one request; every change is answered with the state after it."""
        topic, slash, model = path.removeprefix(PREFIX).partition("/")
        named = bool(slash)
        try:
            match method, topic, named:
                case "GET", "faults", False:
                    pass
                case "PUT", "faults", True:
                    self._put(self._known(model), body)
                case "DELETE", "faults", True:
                    self._faults.clear(self._known(model))
                case "DELETE", "faults", False:
                    self._faults.clear()
                case "GET", "requests", False:
                    return Told(status=200, body=self._journal.listing())
                case "DELETE", "requests", False:
                    self._journal.clear()
                    return Told(status=200, body=self._journal.listing())
                case _:
                    return Told(
                        status=404, body={"detail": f"no control route {method} {path[:200]}"}
                    )
        except _BadInputError as wrong:
            return Told(status=400, body={"detail": str(wrong)})
        return Told(status=200, body={"faults": self._faults.listing()})

    def _known(self, name: str) -> str:
        model = self._catalogue.find(name)
        if model is None:
            raise _BadInputError(f"no model has the id or chute_id {name[:200]!r}")
        return model.id

    def _put(self, model: str, body: bytes) -> None:
        try:
            wanted = json.loads(body)
        except (ValueError, RecursionError):
            raise _BadInputError("the body is not JSON") from None
        if not isinstance(wanted, dict):
            raise _BadInputError("the body must be a JSON object")
        unknown = sorted(set(wanted) - {"fault", "times"})
        if unknown:
            raise _BadInputError(f"unknown fields {unknown}; known are fault and times")
        name = wanted.get("fault")
        fault = fault_called(name) if isinstance(name, str) else None
        if fault is None:
            raise _BadInputError(f"fault must be one of {', '.join(Fault)}")
        times = wanted.get("times")
        if times is not None and (type(times) is not int or times < 1):
            raise _BadInputError("times must be a whole number from 1 on, or null")
        self._faults.put(model, fault, times)
