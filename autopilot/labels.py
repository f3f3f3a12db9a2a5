"""The labels of metrics and the words of logs: closed sets, which nothing a client sends can widen."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol, Self, TypeVar

MAX_MODEL_LABELS = 1_000
"""Model labels beyond this become `other`: ids churn, and a process may live for months."""

OTHER = "other"


class Mode(StrEnum):
    """What kind of request it was; `NONE` when that was never known."""

    ALIAS = "alias"
    LIST = "list"
    DIRECT = "direct"
    NONE = "none"


class Phase(StrEnum):
    """What a client that left was waiting for."""

    HEADERS = "headers"
    FIRST_BYTE = "first_byte"
    STREAM = "stream"


class Feed(StrEnum):
    """The two things that the control plane fetches."""

    CATALOG = "catalog"
    UTILIZATION = "utilization"


class StickyLookup(StrEnum):
    """What asking the shared sticky store came to; `SKIPPED` is not having asked."""

    HIT = "hit"
    MISS = "miss"
    TIMEOUT = "timeout"
    ERROR = "error"
    SKIPPED = "skipped"


class StickyWrite(StrEnum):
    """What became of a change to the shared sticky store; `SKIPPED` was not sent."""

    OK = "ok"
    ERROR = "error"
    SKIPPED = "skipped"


class Labelled(Protocol):
    """A metric with one label."""

    def labels(self, value: str, /) -> Self:
        """The series of that value."""


T = TypeVar("T", bound=Labelled)


class Each(dict[StrEnum, T]):
    """The series of a metric by the values of its label, for what every request counts.

    To look one up in the metric takes three times as long as to count.
    """

    def __init__(self, metric: T) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, value: StrEnum) -> T:
        series = self._metric.labels(value.value)
        self[value] = series
        return series

    def start(self, values: Iterable[StrEnum]) -> None:
        """Have the series of `values` now, at nought."""
        for value in values:
            self.__missing__(value)
