"""The values of one exchange: what is sent, to whom in turn, and what each attempt came to."""

from collections.abc import Callable
from dataclasses import dataclass, field

from autopilot.dataplane.relay import Relay
from autopilot.dataplane.sticky import Affinity
from autopilot.policy.chatbody import ChatBody
from autopilot.policy.failover import Outcome
from autopilot.policy.headers import Fields
from autopilot.policy.needs import Needs


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A request ready to be sent: `body` is let go as soon as an answer is committed.

    `fields` are the header fields as they go upstream. `routed`: the body must name the candidate
    instead of what was asked for, and the client is told which model answered. `model_of` gives the
    model behind a candidate's name, which the client may have spelled in its own way.
    """

    path: str
    fields: Fields
    body: ChatBody | None
    candidates: tuple[str, ...]
    routed: bool
    affinity: Affinity | None = None
    model_of: Callable[[str], str] = str
    needs: Needs = field(default_factory=Needs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one attempt came to; with `relay` where there is an answer, wanted or not.

    `sent_at` is when there was nothing left to do but to wait for upstream.
    """

    outcome: Outcome
    sent_at: float
    relay: Relay | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One candidate's turn: `model` is the one behind its `name`.

    `remaining`: there is another; `deadline` is the whole request's, `left` the seconds until then;
    `fresh`: the connection before failed, and another of the pool may have the same fault.
    """

    name: str
    model: str
    remaining: bool
    deadline: float
    left: float
    fresh: bool

    def within(self, seconds: float) -> float:
        """`seconds`, or what is left."""
        return max(min(seconds, self.left), 0.0)
