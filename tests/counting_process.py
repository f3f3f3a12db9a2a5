"""One process of a service that counts, for `test_exposition.py`: does what its standard input says.

A line is JSON: the name of a function below and what to call it with. The answer is a line of JSON.
"""

import json
import os
import sys
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from autopilot.exposition import Shared
from autopilot.labels import Feed, Mode
from autopilot.metrics import Metrics
from autopilot.policy.catalog import RowFault
from autopilot.policy.picture import Picture
from autopilot.policy.readiness import MaxAges, NotReady
from autopilot.testing import FixedPicture, picture_of

metrics = Metrics(CollectorRegistry(), Shared.from_environment(os.environ))


def everything(catalog: int = 1) -> None:
    """Register all that a service registers, with a picture of that many models."""
    picture = picture_of(*(f"org/{n}" for n in range(catalog)), fetched_at=0.0)
    source = FixedPicture(picture if catalog else Picture())
    metrics.watch(source, monotonic=lambda: 5.0, wall=lambda: 5.0)
    metrics.watch_rests(lambda: 2)
    metrics.watch_readiness(lambda: NotReady.DRAINING)
    metrics.limits(requests=7, max_ages=MaxAges(catalog=600.0, utilization=20.0))


def touch() -> None:
    """Have every metric hold a sample."""
    metrics.failovers.labels(reason="http_503").inc(2)
    metrics.in_progress.inc()
    for mode in Mode:
        metrics.requests.labels(mode=mode.value, status="200").inc()
        metrics.first_byte[mode].observe(0.2)
        metrics.duration[mode].observe(0.2)
        metrics.selected(mode, 'org/"a"')
    for feed in Feed:
        metrics.refreshed(feed, "ok", dict.fromkeys(RowFault, 1))


def began(number: int) -> None:
    """Begin that many requests."""
    metrics.in_progress.inc(number)


def finished(*seconds: float) -> None:
    """Count a finished request for each of these durations."""
    for each in seconds:
        metrics.requests.labels(mode="alias", status="200").inc()
        metrics.duration[Mode.ALIAS].observe(each)


def selected(first: int, number: int) -> None:
    """Count an answer of each of so many models."""
    for each in range(first, first + number):
        metrics.selected(Mode.ALIAS, f"org/{each}")


def sticky_unavailable(*, value: bool) -> None:
    """Say whether the shared sticky store is asked."""
    metrics.sticky_unavailable.set(value)


def exposed() -> str:
    """What `/metrics` shows."""
    return metrics.exposition().decode()


COMMANDS: dict[str, Callable[..., str | None]] = {
    each.__name__: each
    for each in (everything, touch, began, finished, selected, sticky_unavailable, exposed)
}

if __name__ == "__main__":
    for line in sys.stdin:
        name, arguments, named = json.loads(line)
        print(json.dumps(COMMANDS[name](*arguments, **named)), flush=True)  # noqa: T201 - this is the answer
