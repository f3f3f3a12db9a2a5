"""Who asks: conversations of several turns, drawn before the run, so that every strategy meets the same.

Numbers are in tokens and seconds. Prompts are log-normal with a tail of Pareto's, and grow with the
conversation; answers are log-normal.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from random import Random

MOST_PROMPT = 60_000
"""Longest prompt that is begun with: what all the chutes of a capture can read."""

MOST_ANSWER = 8_000

_FIRST_MEDIAN, _FIRST_SIGMA = 1_500.0, 1.1
_LONG_SHARE, _LONG_LEAST, _LONG_TAIL = 0.04, 8_000.0, 1.2
_NEXT_MEDIAN, _NEXT_SIGMA = 150.0, 1.0
_ANSWER_MEDIAN, _ANSWER_SIGMA = 600.0, 0.9
_ANOTHER_TURN = 0.75
_MOST_TURNS = 20
_THINK_SECONDS = 20.0
_BURST = 6
_BURST_SECONDS = 2.0


class Arrivals(StrEnum):
    """How conversations begin: each by itself, or six within two seconds, as agents do it."""

    POISSON = "poisson"
    BURSTY = "bursty"


def chance(seed: str | int) -> Random:
    """What is drawn from `seed`, the same each time: it decides a model's fate, and keeps no secret."""
    return Random(seed)  # noqa: S311 - as the docstring says


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One request. `prefix` of `prompt` were in the conversation before; `think` seconds pass first."""

    prompt: int
    prefix: int
    answer: int
    think: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One conversation: it begins `at`, with the router of that number, and is known by `key`."""

    at: float
    key: bytes
    router: int
    turns: tuple[Turn, ...]


def sessions(
    random: Random, *, rate: float, until: float, routers: int, arrivals: Arrivals
) -> Iterator[Session]:
    """All that begin before `until`, `rate` a second on average, in the order of their beginning."""
    at, number, together = 0.0, 0, _BURST if arrivals is Arrivals.BURSTY else 1
    while True:
        at += random.expovariate(rate / together)
        if at >= until:
            return
        offsets = sorted(random.random() * _BURST_SECONDS for _each in range(together))
        for offset in offsets if together > 1 else [0.0]:
            number += 1
            yield Session(
                at=at + offset,
                key=number.to_bytes(8, "big"),
                router=random.randrange(routers),
                turns=turns(random),
            )


def turns(random: Random) -> tuple[Turn, ...]:
    """The requests of one conversation."""
    drawn: list[Turn] = []
    prefix, think = 0, 0.0
    prompt = _first_prompt(random)
    while True:
        answer = answer_tokens(random)
        drawn.append(Turn(prompt=prompt, prefix=prefix, answer=answer, think=think))
        if random.random() >= _ANOTHER_TURN or len(drawn) == _MOST_TURNS:
            return tuple(drawn)
        think = random.expovariate(1 / _THINK_SECONDS)
        prefix = prompt + answer
        prompt = prefix + max(round(_lognormal(random, _NEXT_MEDIAN, _NEXT_SIGMA)), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Typical:
    """Means: turns of a conversation, tokens of a prompt that are new and of an answer."""

    turns: float
    fresh: float
    answer: float


@lru_cache(maxsize=1)
def typical() -> Typical:
    """What conversations are like, from enough of them."""
    random, many = chance("typical"), 4_000
    drawn = [turn for _session in range(many) for turn in turns(random)]
    return Typical(
        turns=len(drawn) / many,
        fresh=sum(turn.prompt - turn.prefix for turn in drawn) / len(drawn),
        answer=sum(turn.answer for turn in drawn) / len(drawn),
    )


def answer_tokens(random: Random) -> int:
    """The length of one answer."""
    drawn = round(_lognormal(random, _ANSWER_MEDIAN, _ANSWER_SIGMA))
    return min(max(drawn, 1), MOST_ANSWER)


def fresh_tokens(random: Random) -> int:
    """The new part of a prompt of somebody else, who is in some turn of a conversation."""
    if random.random() < _ANOTHER_TURN:
        return max(round(_lognormal(random, _NEXT_MEDIAN, _NEXT_SIGMA)), 1)
    return _first_prompt(random)


def _first_prompt(random: Random) -> int:
    if random.random() < _LONG_SHARE:
        drawn = _LONG_LEAST * random.paretovariate(_LONG_TAIL)
    else:
        drawn = _lognormal(random, _FIRST_MEDIAN, _FIRST_SIGMA)
    return min(max(round(drawn), 1), MOST_PROMPT)


def _lognormal(random: Random, median: float, sigma: float) -> float:
    return median * float(random.lognormvariate(0.0, sigma))
