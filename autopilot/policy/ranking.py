"""Which models are worth asking now, and in which order: the ranking contract.

The source of every number here is `research/PLATFORM.md`, "Ranking contract"; results must match it
to the last bit, so terms are added in the order in which the contract writes them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from autopilot.policy.catalog import PRIVATE_NAME, Catalog, Chute, Utilization

TEE_SUFFIX = "-TEE"
"""How a chat model is recognised while there is no catalogue to ask."""

_MAX_SCALE_ALLOWANCE = 8.0
_EASY = 0.7
"""Utilization up to which a client of a chute feels nothing of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The terms of one model's score, kept apart so that an order can be explained."""

    free_capacity: float
    scale_bonus: float
    penalty: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An eligible model with its score."""

    name: str
    score: Score
    chute: Chute


def rank(utilization: Utilization, catalog: Catalog) -> tuple[Candidate, ...]:
    """Every eligible model once, best first: a total order, whatever the order of the rows."""
    candidates = [
        Candidate(name=chute.name, score=score(chute), chute=chute)
        for chute in one_per_name(utilization.chutes, catalog)
        if eligible(chute, catalog)
    ]
    candidates.sort(key=_order)
    return tuple(candidates)


def one_per_name(chutes: Iterable[Chute], catalog: Catalog) -> tuple[Chute, ...]:
    """Of rows that share a name: the one whose chute the catalogue gives, else the lowest chute id.

    Rows alike in both are told apart by their figures, so that the order of the feed never matters.
    """
    chosen: dict[str, Chute] = {}
    for chute in chutes:
        rival = chosen.get(chute.name)
        if rival is None or _claim(chute, catalog) < _claim(rival, catalog):
            chosen[chute.name] = chute
    return tuple(chosen.values())


def eligible(chute: Chute, catalog: Catalog) -> bool:
    """Whether the chute may be chosen: public, alive, and known to serve chat."""
    if chute.name == PRIVATE_NAME or not chute.active_instance_count > 0:
        return False
    return chute.name in catalog.by_id if catalog.models else chute.name.endswith(TEE_SUFFIX)


def score(chute: Chute) -> Score:
    """Free instances, plus a little for room to scale, less twice the instances that refuse."""
    u5 = _first(chute.utilization_5m, chute.utilization_current, 1.0)
    u15 = _first(chute.utilization_15m, u5)
    u1h = _first(chute.utilization_1h, u15)
    r5 = _first(chute.rate_limit_ratio_5m, 0.0)
    r15 = _first(chute.rate_limit_ratio_15m, r5)
    r1h = _first(chute.rate_limit_ratio_1h, r15)
    util = 0.6 * u5 + 0.3 * u15 + 0.1 * u1h
    rate_limited = max(r5, 0.5 * r15, 0.25 * r1h)
    instances = chute.active_instance_count
    free_capacity = instances * max(1 - util, 0.0)
    allowance = min(_first(chute.scale_allowance, 0.0), _MAX_SCALE_ALLOWANCE)
    scale_bonus = (allowance if chute.scalable else 0.0) * 0.05
    penalty = instances * rate_limited * 2.0
    return Score(
        free_capacity=free_capacity,
        scale_bonus=scale_bonus,
        penalty=penalty,
        total=free_capacity + scale_bonus - penalty,
    )


def strain(chute: Chute | None) -> float:
    """How near a chute is to refusing, 0 to 1: nobody is well served by one that is not there.

    Seven tenths of its instances taken is no strain, all of them is the whole, and so are refusals of
    half of what it is asked.
    """
    if chute is None or not chute.active_instance_count > 0:
        return 1.0
    found = score(chute)
    instances = chute.active_instance_count
    refusing = min(found.penalty / instances, 1.0)
    return max(strain_of(1.0 - found.free_capacity / instances), refusing)


def strain_of(taken: float) -> float:
    """How near to refusing it is to have a share of `taken`: half is no strain, all is the whole."""
    return max(min((taken - _EASY) / (1.0 - _EASY), 1.0), 0.0)


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _order(candidate: Candidate) -> tuple[float, float, float, float, str]:
    chute = candidate.chute
    u5 = _first(chute.utilization_5m, chute.utilization_current, 1.0)
    return (
        -candidate.score.total,
        -chute.active_instance_count,
        _first(chute.utilization_current, u5),
        _first(chute.rate_limit_ratio_5m, 0.0),
        chute.name,
    )


def _claim(chute: Chute, catalog: Catalog) -> tuple[bool, str, tuple[float, ...]]:
    model = catalog.by_id.get(chute.name)
    named_by_catalog = model is not None and model.chute_id == chute.chute_id
    figures = (
        chute.active_instance_count,
        chute.utilization_current,
        chute.utilization_5m,
        chute.utilization_15m,
        chute.utilization_1h,
        chute.rate_limit_ratio_5m,
        chute.rate_limit_ratio_15m,
        chute.rate_limit_ratio_1h,
        float(chute.scalable),
        chute.scale_allowance,
    )
    return (
        not named_by_catalog,
        chute.chute_id,
        tuple(-1.0 if figure is None else figure for figure in figures),
    )
