"""Listing: a catalogue of names that each use of the lab takes one of, and a feed that ranks a few."""

import json
from collections.abc import Sequence

PREFIX = "lab/"


def names(number: int) -> list[str]:
    """So many names."""
    return [f"{PREFIX}m{n}" for n in range(number)]


def catalogue(listed: Sequence[str]) -> bytes:
    """The body of `GET /v1/models`."""
    rows = [{"id": name, "object": "model"} for name in listed]
    return json.dumps({"object": "list", "data": rows}, separators=(",", ":")).encode()


def row(name: str, *, utilization: float = 0.1, **more: object) -> dict[str, object]:
    """One row of the feed."""
    return {
        "chute_id": f"id-of-{name}",
        "name": name,
        "timestamp": None,
        "utilization_current": utilization,
        "utilization_5m": utilization,
        "active_instance_count": 4,
        **more,
    }


def feed(ranked: Sequence[str]) -> bytes:
    """The body of `GET /chutes/utilization`: each has more free capacity than the next."""
    step = 0.9 / max(len(ranked), 1)
    return json.dumps([row(name, utilization=step * n) for n, name in enumerate(ranked)]).encode()
