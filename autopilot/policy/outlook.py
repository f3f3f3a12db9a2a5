"""What the feed lets one expect of a chute: its last figures while they are young, then its usual ones.

The feed may be half an hour old, and load moves within minutes. So the last figures are believed by
half after `TRUST_HALF_LIFE`, and what they lose is made up by the means of an hour:

    figure = trust * last figure + (1 - trust) * mean of an hour
"""

import math
from dataclasses import dataclass
from typing import Self

from autopilot.policy.catalog import Chute

TRUST_HALF_LIFE = 300.0
"""Seconds after which the last figures are believed by half: they are means of as long a time."""

TRUST_STEPS = 32
"""Trust falls in so many steps, so that what is made of it serves for some seconds."""

REFUSAL_WEIGHT = 2.0
"""Instances that a refusing one counts for, as in the ranking contract: it is full, and so are others."""

MOST_BUSY = 1.5
"""More than full is a queue; the feed's figure says little about its length."""


def trust_in(feed_age: float) -> float:
    """How far the last figures of a feed are believed that is `feed_age` seconds old, 1 to 0."""
    return round(TRUST_STEPS * math.exp2(-max(feed_age, 0.0) / TRUST_HALF_LIFE)) / TRUST_STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A chute's figures, the last ones and the usual ones; those that are not said are filled in.

    `busy` is a share of its slots, up to `MOST_BUSY`; `refusing` a share of requests, 0 to 1.
    """

    instances: float
    busy: float
    usually_busy: float
    refusing: float
    usually_refusing: float

    @classmethod
    def of(cls, chute: Chute | None) -> Self:
        """That of `chute`; where there is none, or nobody at work in it, all is busy and refuses."""
        if chute is None or not chute.active_instance_count > 0:
            return cls(
                instances=0.0, busy=1.0, usually_busy=1.0, refusing=1.0, usually_refusing=1.0
            )
        busy = _first(chute.utilization_5m, chute.utilization_current, 1.0)
        r5 = _first(chute.rate_limit_ratio_5m, 0.0)
        r15 = _first(chute.rate_limit_ratio_15m, r5)
        r1h = _first(chute.rate_limit_ratio_1h, r15)
        return cls(
            instances=chute.active_instance_count,
            busy=min(busy, MOST_BUSY),
            usually_busy=min(_first(chute.utilization_1h, chute.utilization_15m, busy), MOST_BUSY),
            # As in the contract: a refusal is remembered for a while after it has gone by.
            refusing=min(max(r5, 0.5 * r15, 0.25 * r1h), 1.0),
            usually_refusing=min(r1h, 1.0),
        )

    def busy_at(self, trust: float) -> float:
        """The share of its slots that is expected to be taken."""
        return trust * self.busy + (1.0 - trust) * self.usually_busy

    def refusing_at(self, trust: float) -> float:
        """The share of requests that it is expected to refuse."""
        return trust * self.refusing + (1.0 - trust) * self.usually_refusing

    def room_at(self, trust: float) -> float:
        """The share expected to be free: `1 - busy - REFUSAL_WEIGHT * refusing`, at least 0."""
        room = 1.0 - self.busy_at(trust) - REFUSAL_WEIGHT * self.refusing_at(trust)
        return max(room, 0.0)


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)
