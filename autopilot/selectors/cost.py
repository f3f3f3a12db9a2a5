"""The cheapest answer first, by the catalogue's prices.

Use it for work that may wait and is much: batches, evaluations, summaries. It knows nothing of how good
a model is: name those that are good enough in a list, or the smallest model of the platform gets all of
it. Do not use it where an answer is urgent: the cheapest model is the one that everybody asks.

In US dollars, from numbers of tokens, and prices for a million of them:

    expected = (fresh * prompt + prefix * cached prompt + answer * completion) / 1e6

A request that does not bound its answer is expected to get `COMPLETION_TOKENS`. What was in the
conversation before is counted at the price for cached prompts where there is one, since a conversation
stays with the model that it began with. All of these numbers are estimates, so that the order is made
for a rounded request, and serves all that are like it: `fresh` and `prefix` together are in steps of
a fourth of a doubling of `answer`, at most 9 % off, and `prefix` is in fourths of them. Equal costs are
in the order of the ranking contract.

A full chute is no bargain: it takes no money and does no work. A model without room by the feed
(`room_share` is 0), or of which `FULL_FAILING` or more of this process's own attempts failed lately
(`failing_share`, measured * weight / (weight + 1)), comes behind all others, and one whose price is not
known comes last, since that may be any. Neither is refused. Without the second, what a conversation saves
by going back to the cheapest model would draw it there while that refuses: `research/SELECTION.md`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from twisted.plugin import IPlugin
from zope.interface import implementer

from autopilot.interfaces import IPlan, ISelector
from autopilot.policy.needs import Needs
from autopilot.policy.outlook import Outlook, trust_in
from autopilot.policy.scene import Moment, Scene
from autopilot.policy.timings import Mean, Timings
from autopilot.policy.traits import UNKNOWN, Price
from autopilot.selectors.measuring import by_cost, share_worse

COMPLETION_TOKENS = 500
"""Tokens of an answer whose length the request does not bound: a page of text."""

MILLION = 1e6

MOST_DOLLARS = 1e6
"""For a million tokens. More is a mistake of the catalogue, and must still add up."""

LENGTH_STEPS = 4
"""Steps in which a prompt twice as long is reached."""

PREFIX_STEPS = 4
"""Parts of a prompt in which its prefix is counted."""

LONGEST_STEP = 64
"""A prompt 65,000 times as long as its answer, or the other way round, is as any that is longer."""

MOST_ORDERS = 256
"""Orders that a plan keeps for mixes of requests; there are twice as many mixes."""


FULL_FAILING = 0.2
"""Share of this process's own attempts: a model of which so many fail is full, whatever the feed says.
One failure is enough until some answers have come, or it has been a few minutes."""


class _Rate(NamedTuple):
    """US dollars for a million tokens of each kind."""

    prompt: float
    cached: float
    completion: float


class _Mix(NamedTuple):
    """How a request is rounded: `length` in steps from the answer's, `prefix` in parts of the prompt."""

    length: int
    prefix: int

    def tokens(self, answer: float) -> tuple[float, float, float]:
        """Those of prompt, prefix and answer that the mix stands for."""
        prompt = answer * math.exp2(self.length / LENGTH_STEPS)
        prefix = prompt * self.prefix / PREFIX_STEPS
        return prompt - prefix, prefix, answer


def _rate(price: Price) -> _Rate | None:
    if price.prompt is None or price.completion is None:
        return None
    cached = price.prompt if price.cached_prompt is None else price.cached_prompt
    return _Rate(*(min(each, MOST_DOLLARS) for each in (price.prompt, cached, price.completion)))


def _mix(needs: Needs) -> _Mix:
    prompt = needs.prompt_tokens
    if prompt <= 0:
        return _Mix(-LONGEST_STEP, 0)
    step = round(LENGTH_STEPS * math.log2(prompt / _answer(needs)))
    prefix = min(needs.prefix_tokens, prompt)
    return _Mix(max(min(step, LONGEST_STEP), -LONGEST_STEP), round(PREFIX_STEPS * prefix / prompt))


def _answer(needs: Needs) -> int:
    return needs.completion_tokens or COMPLETION_TOKENS


def _dollars(rate: _Rate, tokens: tuple[float, float, float]) -> float:
    fresh, prefix, answer = tokens
    cost = fresh * rate.prompt + prefix * rate.cached + answer * rate.completion
    return cost / MILLION


class _Orders:
    """For one trust in the feed and those that fail: who has room, and the orders made so far."""

    __slots__ = ("_full", "_made", "_room", "_unknown", "failing", "trust")

    def __init__(
        self,
        rates: Mapping[str, _Rate | None],
        outlooks: Mapping[str, Outlook],
        trust: float,
        failing: frozenset[str],
    ) -> None:
        self.trust = trust
        self.failing = failing
        self._room: list[tuple[str, _Rate]] = []
        self._full: list[tuple[str, _Rate]] = []
        for name, rate in rates.items():
            if rate is not None:
                room = name not in failing and outlooks[name].room_at(trust) > 0
                group = self._room if room else self._full
                group.append((name, rate))
        self._unknown = tuple(name for name, rate in rates.items() if rate is None)
        self._made: dict[_Mix, tuple[str, ...]] = {}

    def order(self, mix: _Mix) -> tuple[str, ...]:
        """The names for requests of that mix."""
        order = self._made.get(mix)
        if order is None:
            if len(self._made) >= MOST_ORDERS:
                self._made.clear()
            order = (*_cheapest(self._room, mix), *_cheapest(self._full, mix), *self._unknown)
            self._made[mix] = order
        return order


def _cheapest(models: Sequence[tuple[str, _Rate]], mix: _Mix) -> tuple[str, ...]:
    # `_dollars` written out: a call for each model is half of the time.
    fresh, prefix, answer = mix.tokens(1.0)
    costs = [fresh * new + prefix * old + answer * out for _name, (new, old, out) in models]
    return by_cost([name for name, _rate in models], costs)


@implementer(IPlan)
class _CheapestFirst:
    """Orders by the dollars expected; an order serves all requests of its mix."""

    def __init__(self, scene: Scene) -> None:
        self._outlooks = {name: Outlook.of(scene.chutes.get(name)) for name in scene.names}
        self._rates: dict[str, _Rate | None] = {}
        for name in scene.names:
            model = scene.catalog.by_id.get(name)
            self._rates[name] = _rate((UNKNOWN if model is None else model.traits).price)
        self._made: _Orders | None = None
        self._timings: Timings | None = None
        self._failing: frozenset[str] = frozenset()

    def order(self, moment: Moment) -> tuple[str, ...]:
        """See `IPlan`."""
        trust, made, failing = trust_in(moment.feed_age), self._made, self._full(moment.timings)
        if made is None or made.trust != trust or made.failing != failing:
            made = self._made = _Orders(self._rates, self._outlooks, trust, failing)
        return made.order(_mix(moment.needs))

    def terms(self, name: str, moment: Moment) -> Mapping[str, float]:
        """See `IPlan`: those of the formula at the top of this module; without a price, no cost."""
        trust, rate = trust_in(moment.feed_age), self._rates[name]
        tokens = _mix(moment.needs).tokens(_answer(moment.needs))
        fresh, prefix, answer = tokens
        found = {
            "feed_trust": trust,
            "room_share": self._outlooks[name].room_at(trust),
            "failing_share": _failing(moment.timings.failures.get(name)),
            "fresh_tokens": fresh,
            "prefix_tokens": prefix,
            "answer_tokens": answer,
        }
        if rate is None:
            return found
        return found | {
            "prompt_dollars_per_million": rate.prompt,
            "cached_prompt_dollars_per_million": rate.cached,
            "completion_dollars_per_million": rate.completion,
            "expected_dollars": _dollars(rate, tokens),
        }

    def disadvantage(self, name: str, rival: str, moment: Moment) -> float:
        """See `IPlan`: the share of the money that the rival saves, or 1 for want of room or price.

        Without the price for cached prompts: what a cache saves is what this is compared with.
        """
        behind, ahead = self._lack(name, moment), self._lack(rival, moment)
        mine, other = self._rates[name], self._rates[rival]
        if behind != ahead or mine is None or other is None:
            return float(behind > ahead)
        tokens = _mix(moment.needs)._replace(prefix=0).tokens(_answer(moment.needs))
        return share_worse(_dollars(mine, tokens), _dollars(other, tokens))

    def _lack(self, name: str, moment: Moment) -> int:
        if self._rates[name] is None:
            return 2
        if name in self._full(moment.timings):
            return 1
        return 0 if self._outlooks[name].room_at(trust_in(moment.feed_age)) > 0 else 1

    def _full(self, timings: Timings) -> frozenset[str]:
        """Those that are taken for full since they failed lately."""
        if timings is not self._timings:
            self._timings = timings
            self._failing = frozenset(
                name for name, mean in timings.failures.items() if _failing(mean) >= FULL_FAILING
            )
        return self._failing


def _failing(failures: Mean | None) -> float:
    """The share of attempts that fail, as far as it was measured."""
    return 0.0 if failures is None else failures.toward(0.0)


@implementer(IPlugin, ISelector)
class Cost:
    """Orders by the expected price of the answer."""

    name = "cost"

    def plan(self, scene: Scene) -> IPlan:
        """See `ISelector`."""
        return IPlan(_CheapestFirst(scene))
