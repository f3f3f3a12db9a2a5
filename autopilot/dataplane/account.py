"""What is known and what would be done, as plain values: the one account that people are given.

Pure: from the values of `autopilot.policy` and a choice to dictionaries that JSON can hold. Their keys
are a promise (README, "Why that model?"). What is not known is null; no number is infinite.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from autopilot.dataplane.choosing import Choice
from autopilot.labels import OTHER, Mode
from autopilot.policy.affinity import HYSTERESIS
from autopilot.policy.constraints import Sifted
from autopilot.policy.errors import Refusal
from autopilot.policy.modelspec import Alias, Direct, ModelSpec, PreferenceList, model_behind
from autopilot.policy.needs import Needs
from autopilot.policy.picture import Picture
from autopilot.policy.ranking import Score
from autopilot.policy.readiness import NotReady
from autopilot.policy.rest import Rest
from autopilot.policy.scene import Moment
from autopilot.policy.timings import SIZES, Mean
from autopilot.policy.traits import UNKNOWN, Traits
from autopilot.policy.wishes import Wishes

Account = dict[str, Any]
Terms = Mapping[str, Mapping[str, float]]

MODES: Mapping[type[ModelSpec], Mode] = {
    Alias: Mode.ALIAS,
    PreferenceList: Mode.LIST,
    Direct: Mode.DIRECT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that is known at `now`, which is of the monotonic clock of `picture` and `rests`."""

    picture: Picture
    moment: Moment
    now: float
    rests: Mapping[str, Rest] = field(default_factory=dict)


def about(worker: int | None, reason: NotReady | None) -> Account:
    """Who says it, by its slot among a service's processes, and whether it is ready to serve."""
    return {
        "worker": worker,
        "ready": reason is None,
        "not_ready": None if reason is None else reason.value,
    }


def knowledge(view: View) -> Account:
    """How old feed and catalogue are: by our fetches, and the feed (`age_s`) as strategies are told."""
    picture = view.picture
    return {
        "feed": {
            "fetched_s_ago": _age(picture.utilization_fetched_at, view.now),
            "age_s": _number(view.moment.feed_age),
            "rows": None if picture.utilization is None else len(picture.utilization.chutes),
        },
        "catalog": {
            "fetched_s_ago": _age(picture.catalog_fetched_at, view.now),
            "models": len(picture.catalog),
        },
    }


def order(names: Sequence[str], view: View, terms: Terms) -> list[Account]:
    """Each of `names` with its rank from 1, what put it there, and what is known of it."""
    catalog = view.picture.catalog
    scores = {each.name: each.score for each in view.picture.candidates}
    return [
        {
            "rank": rank,
            "model": name,
            "terms": _finite(terms.get(name) or terms.get(model_behind(name, catalog), {})),
            **_known(model_behind(name, catalog), view, scores),
        }
        for rank, name in enumerate(names, 1)
    ]


def filters(sifted: Sifted) -> list[Account]:
    """What each constraint was given and what it removed, in their order."""
    return [
        {"constraint": step.constraint, "before": step.before, "removed": list(step.removed)}
        for step in sifted.steps
    ]


def choice(chosen: Choice, view: View, terms: Terms) -> Account:
    """What would be done: who is asked in which order, and why.

    Of the models in `later` the catalogue does not say that they can do what is needed.
    """
    options = chosen.options
    return {
        "mode": MODES[type(options.spec)].value,
        "selector": options.selector,
        "needs": _needs(options.needs),
        "wishes": _wishes(options.wishes),
        "filters": filters(options.sifted),
        "later": sorted(options.sifted.later),
        "order": order(options.order, view, terms),
        "sticky": _sticky(chosen),
        "candidates": list(chosen.candidates),
        "refusal": None,
    }


def decision(chosen: Choice, terms: Terms, label: Callable[[str], str | None]) -> Account:
    """What was chosen, in little, for somebody who asks later; `label` names a model as logs do."""
    sticky = _sticky(chosen)
    if sticky is not None and sticky["model"] is not None:
        sticky["model"] = label(sticky["model"]) or OTHER
        if (weighed := sticky["weighed"]) is not None:
            weighed["rival"] = label(weighed["rival"]) or OTHER
    return {
        "selector": chosen.options.selector,
        "candidates": [
            {"model": label(name) or OTHER, "terms": _finite(terms.get(name, {}))}
            for name in chosen.candidates
        ],
        "sticky": sticky,
    }


def refusal(refused: Refusal) -> Account:
    """The answer that would be given instead."""
    body = refused.body
    return {
        "refusal": {
            "status": body.status,
            "code": body.code,
            "param": body.param,
            "message": body.message,
        }
    }


def _sticky(chosen: Choice) -> Account | None:
    """Where the client was and what becomes of it; None where it can have no place.

    What was weighed are shares of what the request costs: the client leaves if the disadvantage of its
    model is more than its prompt cache and the hysteresis together.
    """
    if chosen.place is None:
        return None
    stay = chosen.stay
    return {
        "model": chosen.sticky,
        "place": chosen.place.value,
        "weighed": None
        if stay is None
        else {
            "rival": stay.rival,
            "disadvantage": _number(stay.disadvantage),
            "cache": _number(stay.cache),
            "hysteresis": HYSTERESIS,
        },
    }


def _wishes(wishes: Wishes) -> Account:
    """Those that were said, by the names of `autopilot.policy.wishes`."""
    return {
        each.name: sorted(value) if isinstance(value, frozenset) else value
        for each in fields(wishes)
        if (value := getattr(wishes, each.name)) != each.default
    }


def _needs(needs: Needs) -> Account:
    """Sizes and yes or no; of the parameters only how many there are."""
    return {
        "prompt_tokens": needs.prompt_tokens,
        "prefix_tokens": needs.prefix_tokens,
        "completion_tokens": needs.completion_tokens,
        "images": needs.images,
        "tools": needs.tools,
        "structured": needs.structured,
        "json_mode": needs.json_mode,
        "parameters": len(needs.parameters),
    }


def _known(model: str, view: View, scores: Mapping[str, Score]) -> Account:
    score = scores.get(model)
    found = view.picture.catalog.by_id.get(model)
    return {
        "contract": None
        if score is None
        else {
            "free_capacity": score.free_capacity,
            "scale_bonus": score.scale_bonus,
            # A count near the largest number that there is, doubled, is infinite.
            "penalty": _number(score.penalty),
            "score": _number(score.total),
        },
        "rest": _rest(view.rests.get(model), view.now),
        "observed": _observed(model, view.moment),
        "in_flight": view.moment.in_flight.get(model, 0),
        "traits": _traits(UNKNOWN if found is None else found.traits),
    }


def _rest(rest: Rest | None, now: float) -> Account | None:
    """None if the model is well; `resting` is false of one that the next request will probe."""
    if rest is None:
        return None
    return {
        "resting": rest.resting(now),
        "cause": rest.cause.name.lower(),
        "seconds_left": round(max(rest.until - now, 0.0), 3),
        "probed": rest.probed_at is not None,
    }


def _observed(model: str, moment: Moment) -> Account:
    """Means with their weights; `up_to_tokens` bounds the class of prompt sizes, null is no bound."""
    timings = moment.timings
    return {
        "first_byte_s": [
            {"up_to_tokens": bound, **_mean(means[model])}
            for bound, means in zip((*SIZES, None), timings.first_byte, strict=True)
            if model in means
        ],
        "pace_bytes_per_s": _mean(timings.pace[model]) if model in timings.pace else None,
        "failure_share": _mean(timings.failures[model]) if model in timings.failures else None,
    }


def _mean(mean: Mean) -> Account:
    return {"mean": _number(mean.value), "weight": round(mean.weight, 3)}


def _traits(traits: Traits) -> Account:
    price = traits.price
    return {
        "tee": traits.confidential,
        "context": traits.context,
        "price": {
            "prompt": price.prompt,
            "completion": price.completion,
            "cached_prompt": price.cached_prompt,
        },
    }


def _finite(terms: Mapping[str, float]) -> Account:
    return {term: _number(value) for term, value in terms.items()}


def _age(moment: float | None, now: float) -> float | None:
    return None if moment is None else round(now - moment, 3)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
