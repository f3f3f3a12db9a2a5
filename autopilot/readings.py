"""What is read at each scrape, instead of being counted when it happens.

Nothing of it is kept: several processes that are one service have the same picture, and the one that
answers the scrape reads its own.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from autopilot.interfaces import IPictureSource, Seconds
from autopilot.policy.readiness import NotReady
from autopilot.policy.rules import FREE, Rules

Read = Callable[[], float]
ReadAll = Callable[[], Mapping[str, float]]


class Reading(Collector):
    """A gauge whose value is what `read` says."""

    def __init__(self, name: str, text: str, read: Read) -> None:
        self._name, self._text, self._read = name, text, read

    def describe(self) -> Iterable[Metric]:
        """The gauge without its value: a registry refuses a second one of its name."""
        yield GaugeMetricFamily(self._name, self._text)

    def collect(self) -> Iterable[Metric]:
        """The gauge now."""
        yield GaugeMetricFamily(self._name, self._text, value=float(self._read()))


class LabelledReading(Collector):
    """A gauge with one label, whose values are what `read` says for each of the label's."""

    def __init__(self, name: str, text: str, label: str, read: ReadAll) -> None:
        self._name, self._text, self._label, self._read = name, text, label, read

    def describe(self) -> Iterable[Metric]:
        """The gauge without values: a registry refuses a second one of its name."""
        yield GaugeMetricFamily(self._name, self._text, labels=[self._label])

    def collect(self) -> Iterable[Metric]:
        """The gauge now."""
        family = GaugeMetricFamily(self._name, self._text, labels=[self._label])
        for value, number in self._read().items():
            family.add_metric([value], float(number))
        yield family


def of_picture(
    source: IPictureSource, *, monotonic: Seconds, wall: Seconds, rules: Rules = FREE
) -> Iterator[Reading]:
    """The gauges of the published picture; a candidate that `rules` forbid is none.

    `monotonic` is the clock of the picture's moments, `wall` that of the feed's own timestamp.
    Ages are NaN before the first fetch.
    """

    def age(moment: float | None, now: Seconds) -> float:
        return math.nan if moment is None else now() - moment

    def timestamp() -> float | None:
        utilization = source.picture.utilization
        return None if utilization is None else utilization.timestamp

    def candidates() -> int:
        entries = source.picture.catalog.by_id
        return sum(rules.allows(name, entries.get(name)) for name in source.picture.order)

    yield Reading(
        "autopilot_catalog_age_seconds",
        "Time since the last good catalogue fetch.",
        lambda: age(source.picture.catalog_fetched_at, monotonic),
    )
    yield Reading(
        "autopilot_catalog_models",
        "Models in the last good catalogue.",
        lambda: len(source.picture.catalog),
    )
    yield Reading(
        "autopilot_feed_age_seconds",
        "Time since the last good utilization fetch.",
        lambda: age(source.picture.utilization_fetched_at, monotonic),
    )
    yield Reading(
        "autopilot_feed_timestamp_age_seconds",
        "Age of the utilization feed by its own timestamp.",
        lambda: age(timestamp(), wall),
    )
    yield Reading(
        "autopilot_candidates",
        "Models that an alias request may be sent to.",
        candidates,
    )


def of_rests(resting: Read) -> Reading:
    """The gauge of the models that rest, which `resting` counts."""
    return Reading(
        "autopilot_resting_models", "Models that failed and are asked last for a while.", resting
    )


def of_readiness(reason: Callable[[], NotReady | None]) -> LabelledReading:
    """The gauge of why the router is not ready, by `reason`."""

    def read() -> dict[str, float]:
        now = reason()
        return {each.value: float(each is now) for each in NotReady}

    return LabelledReading(
        "autopilot_not_ready",
        "1 for the reason for which /readyz is 503; all are 0 when the router is ready.",
        "reason",
        read,
    )
