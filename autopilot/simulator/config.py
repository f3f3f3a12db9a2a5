"""Config: what a simulator is told before it starts, and files in the platform's shapes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autopilot.simulator.answers import Pace

Rows = tuple[Mapping[str, Any], ...]


class UnfitFileError(Exception):
    """A file that cannot be served; the text says why, without quoting it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """One simulator; without rows it makes up its own models and a feed that lives with the load.

    `slots` is how many requests one instance holds at once, `feed_interval` is in seconds. Rows of a
    feed are served as they are, old timestamps included, unless `restamp` asks for the present.
    """

    host: str = "127.0.0.1"
    port: int = 9090
    models: Rows | None = None
    utilization: Rows | None = None
    restamp: bool = False
    slots: int = 32
    feed_interval: float = 1.0
    pace: Pace = field(default_factory=Pace)


def load_models(path: Path) -> Rows:
    """The entries of a listing as `GET /v1/models` gives it."""
    listing = _read(path)
    data = listing.get("data") if isinstance(listing, dict) else None
    rows = _rows(path, data)
    if not all(isinstance(row.get("id"), str) for row in rows):
        raise UnfitFileError(f"{path}: every model needs an id")
    return rows


def load_utilization(path: Path) -> Rows:
    """The rows of a feed as `GET /chutes/utilization` gives it."""
    return _rows(path, _read(path))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UnfitFileError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UnfitFileError(f"{path}: not JSON") from None


def _rows(path: Path, value: Any) -> Rows:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise UnfitFileError(f"{path}: not a list of objects in the platform's shape")
    return tuple(value)
