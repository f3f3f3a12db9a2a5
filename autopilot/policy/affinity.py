"""Which conversation a request belongs to, and whether its model is worth leaving.

A model that served a conversation before has read most of its prompt already, and asks less for that
part: what leaving it costs is the price of its cache. What staying costs is the model's disadvantage
in the ranking. Both are shares of what a request costs, so that they can be compared.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from autopilot.policy.headers import Fields
from autopilot.policy.needs import Needs
from autopilot.policy.traits import Price


class Place(StrEnum):
    """What became of a client's place. The values are metric labels and log words."""

    NONE = "none"
    """It had none."""
    STAYED = "stayed"
    LEFT = "left"
    """Its model's disadvantage was worth more than its cache, or the client wishes for others first."""
    RESTED = "rested"
    """Its model had failed somebody, and is asked after others for a while."""
    WISHED = "wished"
    """The client wishes for another before it."""
    ABSENT = "absent"
    """Its model is not among those that may be asked."""


HYSTERESIS = 0.25
"""How much more than its cache a disadvantage must be worth: a client that has just moved does not move
back because of the same noise, and another model answers in another voice."""

DEFAULT_DISCOUNT = 0.5
"""Of the price of a prompt, what a cached one is spared where the catalogue does not say: the least of
what is known of the platform (`research/PLATFORM.md`, "Requests")."""

MAX_SESSION_BYTES = 512
"""Longest session key that is read."""

_NAMES = (
    b"x-session-id",
    b"x-session-affinity",
    b"x-opencode-session",
    b"x-conversation-id",
    b"conversation-id",
    b"session-id",
    b"session_id",
    b"thread-id",
    b"x-thread-id",
    b"x-amp-thread-id",
    b"x-grok-conv-id",
    b"helicone-session-id",
)
_RANK = {name: rank for rank, name in enumerate(_NAMES)}
# Claude Code, Qwen Code, LiteLLM and others put their own name into theirs.
_PRODUCTS = re.compile(rb"x-[a-z0-9-]+-session-id")


def session_in(fields: Fields) -> bytes | None:
    """The key by which a client names its conversation in a header field; None if it does not.

    Of several the first of the common names counts, then those of products: `x-NAME-session-id`.
    """
    found: list[tuple[int, bytes]] = []
    for name, value in fields:
        low = name.lower()
        rank = _RANK.get(low)
        if rank is None and b"ession" in low and _PRODUCTS.fullmatch(low):
            rank = len(_NAMES)
        if rank is not None and 0 < len(value) <= MAX_SESSION_BYTES:
            found.append((rank, value))
    return min(found, key=lambda pair: pair[0])[1] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """Whether a client stays on `model`, which served it last, or leaves it for `rival`.

    `disadvantage` is how much worse the model is by the ranking, `cache` what its prompt cache is
    worth; both are shares of what the request costs, 0 to 1.
    """

    model: str
    rival: str
    disadvantage: float
    cache: float

    @property
    def stays(self) -> bool:
        """Whether the cache, and the trouble of moving, are worth more."""
        return self.disadvantage <= self.cache + HYSTERESIS


def cache_worth(needs: Needs, price: Price) -> float:
    """What the prompt cache of a model at `price` saves: the discount times the expected prefix.

    The prefix is the share of the prompt that the conversation held before, 0 to 1.
    """
    if needs.prompt_tokens <= 0:
        return 0.0
    prefix = min(needs.prefix_tokens / needs.prompt_tokens, 1.0)
    return _discount(price) * prefix


def _discount(price: Price) -> float:
    if price.prompt is None or price.cached_prompt is None:
        return DEFAULT_DISCOUNT
    if price.prompt <= 0:
        return 0.0
    return min(max(1.0 - price.cached_prompt / price.prompt, 0.0), 1.0)
