"""Chooses whom to ask for a request, and in which order: from a body and a picture to a `Choice`.

It asks nobody and changes nothing, so that what would happen can be told without its happening.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from autopilot.dataplane.learning import Learned
from autopilot.dataplane.planning import Planner
from autopilot.dataplane.sifting import Sieve
from autopilot.interfaces import Seconds
from autopilot.policy.affinity import Place, Stay, cache_worth
from autopilot.policy.asked import read_asked
from autopilot.policy.catalog import Catalog
from autopilot.policy.chatbody import ChatBody
from autopilot.policy.constraints import Sifted
from autopilot.policy.headers import Fields
from autopilot.policy.modelspec import (
    Alias,
    Direct,
    ModelSpec,
    PreferenceList,
    entry,
    expand,
    model_behind,
)
from autopilot.policy.needs import Needs
from autopilot.policy.picture import Picture
from autopilot.policy.provider_member import NameList
from autopilot.policy.rules import FREE, Rules
from autopilot.policy.scene import Moment
from autopilot.policy.stickiness import prefer
from autopilot.policy.timings import size_class
from autopilot.policy.traits import UNKNOWN
from autopilot.policy.wish_headers import Accepted
from autopilot.policy.wishes import NOTHING, Wishes


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How requests may be routed."""

    aliases: tuple[str, ...]
    max_list_items: int
    max_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Who may be asked for one request, best first, before it is known where its client was.

    `sifted` tells what rules, wishes and needs removed: of the candidates where an alias is asked for,
    else of those named. `attempts` is the most that may be asked, None if all may.

    `selector` was given `names`, ids of them or of those whom an alias stands for, and ordered them at
    `moment`; it is None where the client's own order stands. `weighed`: the whole order is its, so that
    it can be said how much one model is worse than another. `behind`: whom the client's wishes put behind
    others, if there are any.
    """

    picture: Picture
    spec: ModelSpec
    order: tuple[str, ...]
    needs: Needs
    wishes: Wishes = NOTHING
    sifted: Sifted
    attempts: int | None = None
    names: tuple[str, ...] = ()
    selector: str | None = None
    moment: Moment | None = None
    weighed: bool = False
    behind: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Who is asked, in this order.

    `sticky` is where the client was, `place` what became of that (None for a direct request), and
    `stay` why, where there was something to weigh.
    """

    options: Options
    candidates: tuple[str, ...]
    sticky: str | None = None
    place: Place | None = None
    stay: Stay | None = None


class Chooser:
    """Chooses by what `planner` orders and what was `learned`, of what the operator's `rules` allow.

    `now` is a monotonic clock.
    """

    def __init__(
        self,
        planner: Planner,
        learned: Learned,
        *,
        limits: Limits,
        now: Seconds,
        rules: Rules = FREE,
    ) -> None:
        self._planner = planner
        self._learned = learned
        self._limits = limits
        self._now = now
        self._sieve = Sieve(rules)
        self._accepted = Accepted(planner.selectors, limits.max_attempts)

    def options(self, body: ChatBody, picture: Picture, fields: Fields = ()) -> Options:
        """Who may be asked for `body`, sent with header `fields`.

        Raises:
            Refusal: nobody, because of what the request asks for or because nobody is there.
        """
        asked = read_asked(
            body,
            fields,
            aliases=self._limits.aliases,
            catalog=picture.catalog,
            max_items=self._limits.max_list_items,
            accepted=self._accepted,
        )
        if isinstance(asked.spec, Direct):
            return self._direct(asked.spec, asked.wishes, picture, body.needs)
        if isinstance(asked.spec, Alias):
            return self._alias(asked.spec, asked.wishes, picture, body.needs)
        return self._list(asked.spec, asked.wishes, picture, body.needs)

    def survey(self, picture: Picture, selector: str) -> Options:
        """Everybody whom the operator allows, as `selector` orders them for a request without wishes.

        It may be nobody.
        """
        needs = Needs()
        moment = self._planner.moment(picture, needs)
        sifted = self._sieve.eligible(picture, NOTHING, needs)
        return Options(
            picture=picture,
            spec=Alias(),
            order=self._planner.order(picture, sifted.names, moment, selector=selector),
            needs=needs,
            sifted=sifted,
            names=sifted.names,
            selector=selector,
            moment=moment,
        )

    def _direct(self, spec: Direct, wishes: Wishes, picture: Picture, needs: Needs) -> Options:
        names, catalog = (spec.model,), picture.catalog
        sifted = self._sieve.named(names, catalog, wishes, needs)
        if not sifted.names:
            raise self._sieve.nobody_named(names, catalog, wishes, needs)
        return Options(
            picture=picture,
            spec=spec,
            order=(spec.name,),
            needs=needs,
            wishes=wishes,
            sifted=sifted,
        )

    def _alias(self, spec: Alias, wishes: Wishes, picture: Picture, needs: Needs) -> Options:
        moment = self._planner.moment(picture, needs)
        selector = wishes.sort or self._planner.default
        sifted = self._sieve.eligible(picture, wishes, needs)
        if not sifted.names:
            raise self._sieve.nobody(sifted, picture, wishes, needs)
        order = self._planner.order(picture, sifted.names, moment, selector=selector)
        order, behind = arranged(sifted.last(order), wishes, moment, picture.catalog)
        attempts = self._limits.max_attempts
        return Options(
            picture=picture,
            spec=spec,
            order=order,
            needs=needs,
            wishes=wishes,
            sifted=sifted,
            attempts=min(attempts, _attempts(wishes) or attempts),
            names=sifted.names,
            selector=selector,
            moment=moment,
            weighed=wishes.order is None,
            behind=behind,
        )

    def _list(
        self, spec: PreferenceList, wishes: Wishes, picture: Picture, needs: Needs
    ) -> Options:
        catalog, aliases, sort = picture.catalog, self._limits.aliases, wishes.sort
        given = tuple(name for name in spec.names if name not in aliases)
        sifted = self._sieve.named(given, catalog, wishes, needs)
        order = sifted.names
        moment: Moment | None = None
        names: tuple[str, ...] = ()
        selector = sort
        if sort is not None or wishes.latency is not None or len(given) < len(spec.names):
            moment = self._planner.moment(picture, needs)
        if moment is not None and len(given) < len(spec.names):
            selector = sort or self._planner.default
            sifted = self._sieve.eligible(picture, wishes, needs)
            names = sifted.names
            ranked = self._planner.order(picture, names, moment, selector=selector)
            kept = (name for name in spec.names if name in aliases or name in order)
            order = expand(kept, aliases=aliases, order=sifted.last(ranked))
            if not order:
                raise self._sieve.nobody(sifted, picture, wishes, needs)
        elif not order:
            raise self._sieve.nobody_named(given, catalog, wishes, needs)
        if sort is not None and moment is not None:
            named = {model_behind(name, catalog): name for name in reversed(order)}
            place = {name: number for number, name in enumerate(picture.order)}
            names = tuple(sorted(named, key=lambda name: (place.get(name, len(place)), name)))
            ranked = self._planner.order(picture, names, moment, selector=sort)
            order = sifted.last([named[name] for name in ranked])
        order, behind = arranged(order, wishes, moment, catalog)
        return Options(
            picture=picture,
            spec=spec,
            # The client's own order, bounded already: all of it is tried.
            order=order[: self._limits.max_list_items],
            needs=needs,
            wishes=wishes,
            sifted=sifted,
            attempts=_attempts(wishes),
            names=names,
            selector=selector,
            moment=moment,
            weighed=sort is not None and wishes.order is None,
            behind=behind,
        )

    def choose(self, options: Options, sticky: str | None) -> Choice:
        """Whom to ask of `options`, where the client was on `sticky`."""
        if isinstance(options.spec, Direct):
            return Choice(options=options, candidates=options.order)
        stay: Stay | None = None
        if sticky is None:
            place = Place.NONE
        elif sticky not in options.order:
            place = Place.ABSENT
        elif self._others_wished(options, sticky):
            place = Place.LEFT
        else:
            stay = self._weigh(options, sticky)
            place = Place.STAYED if stay is None or stay.stays else Place.LEFT
        candidates = self._learned.rests.arrange(
            prefer(sticky if place is Place.STAYED else None, options.order),
            now=self._now(),
            model_of=partial(model_behind, catalog=options.picture.catalog),
        )
        if place is Place.STAYED and candidates[0] != sticky:
            place = Place.RESTED
        candidates = candidates[: options.attempts]
        return Choice(options=options, candidates=candidates, sticky=sticky, place=place, stay=stay)

    def terms(
        self, options: Options, of: Iterable[str] | None = None
    ) -> Mapping[str, Mapping[str, float]]:
        """What the places of the ranked were made of, or of those among `of`; see `IPlan`."""
        if options.moment is None or options.selector is None:
            return {}
        asked = None if of is None else [name for name in of if name in options.names]
        return self._planner.terms(
            options.picture, options.names, options.moment, selector=options.selector, of=asked
        )

    def _others_wished(self, options: Options, sticky: str) -> bool:
        """Whether the client wishes for others before `sticky`, of whom one does not rest."""
        if sticky not in options.behind:
            return False
        resting, now, catalog = self._learned.rests.resting, self._now(), options.picture.catalog
        before = (name for name in options.order if name not in options.behind)
        return any(not resting(model_behind(name, catalog), now=now) for name in before)

    def _weigh(self, options: Options, sticky: str) -> Stay | None:
        """Whether to leave `sticky`; None where the client's own order counts, or nobody is better."""
        moment, selector = options.moment, options.selector
        if moment is None or selector is None or not options.weighed:
            return None
        catalog = options.picture.catalog
        resting, now = self._learned.rests.resting, self._now()
        # Rests are kept under the ids of models, and so are the names that were ordered.
        before = (
            model_behind(name, catalog) for name in options.order[: options.order.index(sticky)]
        )
        rival = next((name for name in before if not resting(name, now=now)), None)
        if rival is None:
            return None
        name = model_behind(sticky, catalog)
        model = catalog.by_id.get(name)
        return Stay(
            model=name,
            rival=rival,
            disadvantage=self._planner.disadvantage(
                options.picture, options.names, name, rival, moment, selector=selector
            ),
            cache=cache_worth(
                options.needs, UNKNOWN.price if model is None else model.traits.price
            ),
        )


def arranged(
    order: tuple[str, ...], wishes: Wishes, moment: Moment | None, catalog: Catalog
) -> tuple[tuple[str, ...], frozenset[str]]:
    """`order` with the known slow ones back, and those of `provider.order` in front.

    With it whom that put behind others.
    """
    behind: frozenset[str] = frozenset()
    if wishes.latency is not None and moment is not None:
        seen = moment.timings.first_byte[size_class(moment.needs.prompt_tokens)]
        behind = frozenset(
            name
            for name in order
            if (mean := seen.get(model_behind(name, catalog))) is not None
            and mean.value > wishes.latency
        )
        order = Sifted(names=order, later=behind).last(order)
    if wishes.order is not None:
        first = NameList(wishes.order)
        places = {
            name: first.place(model_behind(name, catalog), entry(name, catalog)) for name in order
        }
        unnamed = frozenset(name for name, place in places.items() if place is None)
        behind = behind if len(unnamed) == len(order) else unnamed
        order = tuple(sorted(order, key=lambda name: _or_last(places[name])))
    return order, frozenset() if len(behind) == len(order) else behind


def _or_last(place: int | None) -> float:
    return math.inf if place is None else place


def _attempts(wishes: Wishes) -> int | None:
    """How many models may be asked at most, if the client says so."""
    return 1 if wishes.single and wishes.order is None else wishes.attempts
