"""The labels of metrics and the words of logs: closed sets, which nothing a client sends can widen."""

from enum import StrEnum

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
