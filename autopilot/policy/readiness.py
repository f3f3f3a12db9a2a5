"""Is the picture fresh enough to send traffic here, and if not, why."""

from dataclasses import dataclass
from enum import StrEnum

from autopilot.policy.picture import Picture
from autopilot.policy.rules import FREE, Rules


class NotReady(StrEnum):
    """Why the router is not ready. The values are stable error codes of `/readyz`."""

    DRAINING = "draining"
    MISSING_ALLOWLIST = "missing_allowlist"
    ALLOWLIST_EMPTY = "allowlist_empty"
    STALE_ALLOWLIST = "stale_allowlist"
    NO_SNAPSHOT = "no_snapshot"
    NO_CANDIDATES = "no_candidates"
    STALE_SNAPSHOT = "stale_snapshot"


MEANING = {
    NotReady.DRAINING: "The router is shutting down and takes no new work.",
    NotReady.MISSING_ALLOWLIST: "The model catalogue has never been fetched.",
    NotReady.ALLOWLIST_EMPTY: "Every catalogue fetched so far listed no model.",
    NotReady.STALE_ALLOWLIST: "The model catalogue has not been refreshed for too long.",
    NotReady.NO_SNAPSHOT: "The utilization feed has never been fetched.",
    NotReady.NO_CANDIDATES: "No model that may be asked has an active instance.",
    NotReady.STALE_SNAPSHOT: "The utilization feed has not been refreshed for too long.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxAges:
    """How old, in seconds, the last good fetches may be."""

    catalog: float
    utilization: float


def readiness(
    picture: Picture,
    *,
    now: float,
    max_ages: MaxAges,
    draining: bool = False,
    rules: Rules = FREE,
) -> NotReady | None:
    """The first reason that applies, in the order of `NotReady`; None when ready.

    An age equal to its limit is still fresh. A candidate that `rules` forbid is none.
    """
    if draining:
        return NotReady.DRAINING
    if picture.catalog_fetched_at is None:
        if picture.catalog_answered_empty:
            return NotReady.ALLOWLIST_EMPTY
        return NotReady.MISSING_ALLOWLIST
    if now - picture.catalog_fetched_at > max_ages.catalog:
        return NotReady.STALE_ALLOWLIST
    if picture.utilization_fetched_at is None:
        return NotReady.NO_SNAPSHOT
    entries = picture.catalog.by_id
    if not any(rules.allows(name, entries.get(name)) for name in picture.order):
        return NotReady.NO_CANDIDATES
    if now - picture.utilization_fetched_at > max_ages.utilization:
        return NotReady.STALE_SNAPSHOT
    return None
