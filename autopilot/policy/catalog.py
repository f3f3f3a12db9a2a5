"""The catalogue and the utilization feed as values, parsed from bytes without ever trusting a row.

Shapes are those of `research/PLATFORM.md`, "Catalogue" and "Utilization feed". A bad row costs that
row, never the picture; an answer that is no feed at all raises `FeedError`, so that the caller keeps
what it had.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeGuard

from autopilot.policy.figures import figure
from autopilot.policy.traits import UNKNOWN, Traits, traits_of

PRIVATE_NAME = "[private chute]"
"""The one name that many rows share: private chutes, which nobody else may call."""

MAX_ID_CHARS = 256
"""Longest usable model id. The longest seen has 45 characters; an id becomes a header and a label."""

MAX_CONTAINERS = 20_000
"""Most objects and arrays of a feed: forty times what the captures hold. A feed of a million empty rows
would keep the process from everything else for a second."""

_MAX_DIGITS = 300


class FeedFault(StrEnum):
    """Why an answer is not a feed. The names are metric labels."""

    BAD_JSON = "bad_json"
    WRONG_SHAPE = "wrong_shape"
    EMPTY = "empty"
    TOO_MANY_ROWS = "too_many_rows"
    NO_USABLE_ROW = "no_usable_row"


class RowFault(StrEnum):
    """Why a row was dropped. The names are metric labels."""

    BAD_ROW = "bad_row"
    BAD_ID = "bad_id"
    DUPLICATE_ID = "duplicate_id"
    BAD_COUNT = "bad_count"


class FeedError(Exception):
    """The answer as a whole is unusable; `fault` says why. Holds no byte of the answer."""

    def __init__(self, fault: FeedFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One catalogue entry. `document` is the platform's JSON object, fields unknown to us included."""

    id: str
    chute_id: str | None
    document: bytes
    traits: Traits = UNKNOWN


@dataclass(frozen=True, slots=True)
class Catalog:
    """The models that may serve chat, in the platform's order, with the two ways to look one up."""

    models: tuple[Model, ...] = ()
    by_id: Mapping[str, Model] = field(init=False, repr=False, compare=False)
    by_chute_id: Mapping[str, Model] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", {model.id: model for model in self.models})
        object.__setattr__(
            self, "by_chute_id", {m.chute_id: m for m in self.models if m.chute_id is not None}
        )

    def __len__(self) -> int:
        return len(self.models)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chute:
    """One utilization row. Ratios are as the feed has them (values over 1 occur); None is "not said"."""

    name: str
    chute_id: str
    active_instance_count: float
    utilization_current: float | None = None
    utilization_5m: float | None = None
    utilization_15m: float | None = None
    utilization_1h: float | None = None
    rate_limit_ratio_5m: float | None = None
    rate_limit_ratio_15m: float | None = None
    rate_limit_ratio_1h: float | None = None
    scalable: bool = False
    scale_allowance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilization:
    """One batch of the feed. `timestamp` is its own claim of when, in seconds of the Unix epoch."""

    chutes: tuple[Chute, ...]
    timestamp: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedCatalog:
    """A catalogue and what was dropped on the way."""

    catalog: Catalog
    dropped: Mapping[RowFault, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedUtilization:
    """A feed batch and what was dropped on the way."""

    utilization: Utilization
    dropped: Mapping[RowFault, int]


def parse_catalog(body: bytes) -> ParsedCatalog:
    """The catalogue in `body`, the answer to `GET /v1/models`.

    Raises:
        FeedError: not JSON, not OpenAI's list shape, an empty list, or no usable entry.
    """
    # Entries are served on as JSON, which has no infinity: a price of 1e400 becomes null.
    answer = _load(body, parse_float=_finite, parse_constant=_nothing)
    rows = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(rows, list):
        raise FeedError(FeedFault.WRONG_SHAPE)
    if not rows:
        raise FeedError(FeedFault.EMPTY)
    models: dict[str, Model] = {}
    dropped: Counter[RowFault] = Counter()
    for row in rows:
        model = _model(row)
        if isinstance(model, RowFault):
            dropped[model] += 1
        elif model.id in models:
            dropped[RowFault.DUPLICATE_ID] += 1
        else:
            models[model.id] = model
    if not models:
        raise FeedError(FeedFault.NO_USABLE_ROW)
    return ParsedCatalog(catalog=Catalog(tuple(models.values())), dropped=dropped)


def parse_utilization(body: bytes) -> ParsedUtilization:
    """The rows in `body`, the answer to `GET /chutes/utilization`.

    Rows that share a name are all kept: which one counts depends on the catalogue, see
    `autopilot.policy.ranking`.

    Raises:
        FeedError: not JSON, not an array, or without one usable row.
    """
    rows = _load(body)
    if not isinstance(rows, list):
        raise FeedError(FeedFault.WRONG_SHAPE)
    chutes: list[Chute] = []
    dropped: Counter[RowFault] = Counter()
    for row in rows:
        chute = _chute(row)
        if isinstance(chute, Chute):
            chutes.append(chute)
        else:
            dropped[chute] += 1
    if not chutes:
        raise FeedError(FeedFault.NO_USABLE_ROW)
    return ParsedUtilization(
        utilization=Utilization(chutes=tuple(chutes), timestamp=_timestamp(rows)), dropped=dropped
    )


def _load(
    body: bytes,
    *,
    parse_float: Callable[[str], object] | None = None,
    parse_constant: Callable[[str], object] | None = None,
) -> object:
    if body.count(b"{") + body.count(b"[") > MAX_CONTAINERS:
        raise FeedError(FeedFault.TOO_MANY_ROWS)
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_int=_integer,
            parse_float=parse_float,
            parse_constant=parse_constant,
        )
    except (ValueError, RecursionError):
        raise FeedError(FeedFault.BAD_JSON) from None


def _integer(digits: str) -> int | None:
    # int() refuses 5,000 digits with an error that would cost the whole feed, and 400 do not fit a
    # float; neither occurs in a number that means something.
    return int(digits) if len(digits) <= _MAX_DIGITS else None


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _nothing(_constant: str) -> None:
    """What NaN and Infinity say: nothing."""


def _model(row: object) -> Model | RowFault:
    if not isinstance(row, dict):
        return RowFault.BAD_ROW
    model_id = row.get("id")
    if not _usable_id(model_id):
        return RowFault.BAD_ID
    chute_id = row.get("chute_id")
    try:
        document = json.dumps(row, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, RecursionError):
        return RowFault.BAD_ROW
    return Model(
        id=model_id,
        chute_id=chute_id if _usable_id(chute_id) else None,
        document=document,
        traits=traits_of(row),
    )


def _usable_id(value: object) -> TypeGuard[str]:
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_ID_CHARS
        and value.isprintable()
        and value == value.strip()
    )


def _chute(row: object) -> Chute | RowFault:
    if not isinstance(row, dict):
        return RowFault.BAD_ROW
    name = row.get("name")
    if not _usable_id(name):
        return RowFault.BAD_ID
    count = figure(row.get("active_instance_count"))
    if count is None:
        return RowFault.BAD_COUNT
    chute_id = row.get("chute_id")
    return Chute(
        name=name,
        chute_id=chute_id if isinstance(chute_id, str) else "",
        active_instance_count=count,
        utilization_current=figure(row.get("utilization_current")),
        utilization_5m=figure(row.get("utilization_5m")),
        utilization_15m=figure(row.get("utilization_15m")),
        utilization_1h=figure(row.get("utilization_1h")),
        rate_limit_ratio_5m=figure(row.get("rate_limit_ratio_5m")),
        rate_limit_ratio_15m=figure(row.get("rate_limit_ratio_15m")),
        rate_limit_ratio_1h=figure(row.get("rate_limit_ratio_1h")),
        scalable=row.get("scalable") is True,
        scale_allowance=figure(row.get("scale_allowance")),
    )


def _timestamp(rows: Iterable[object]) -> float | None:
    """The newest `timestamp` of the batch. The feed writes naive UTC, the same on every row."""
    claims = (row.get("timestamp") for row in rows if isinstance(row, dict))
    texts = {claim for claim in claims if isinstance(claim, str)}
    return max((m for text in texts if (m := _moment(text)) is not None), default=None)


def _moment(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
