"""Chooses whom to ask for a request, and in which order: from a body and a picture to a `Choice`.

It asks nobody and changes nothing, so that what would happen can be told without its happening.
"""

from dataclasses import dataclass
from functools import partial

from autopilot.dataplane.learning import Learned
from autopilot.dataplane.planning import Planner
from autopilot.interfaces import Seconds
from autopilot.policy.affinity import Place, Stay, cache_worth
from autopilot.policy.chatbody import ChatBody
from autopilot.policy.errors import Code, Refusal
from autopilot.policy.modelspec import (
    Alias,
    Direct,
    ModelSpec,
    PreferenceList,
    expand,
    model_behind,
    parse_model,
)
from autopilot.policy.needs import Needs
from autopilot.policy.picture import Picture
from autopilot.policy.scene import Moment
from autopilot.policy.stickiness import prefer
from autopilot.policy.traits import UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How requests may be routed."""

    aliases: tuple[str, ...]
    max_list_items: int
    max_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Who may be asked for one request, best first, before it is known where its client was.

    `selector` was given `names`, those whom an alias stands for, and made `ranked` of them at `moment`;
    where the client named everybody it is None, and so is the moment.
    """

    picture: Picture
    spec: ModelSpec
    order: tuple[str, ...]
    needs: Needs
    names: tuple[str, ...] = ()
    ranked: tuple[str, ...] = ()
    selector: str | None = None
    moment: Moment | None = None


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
    """Chooses by what `planner` orders and what was `learned`. `now` is a monotonic clock."""

    def __init__(self, planner: Planner, learned: Learned, *, limits: Limits, now: Seconds) -> None:
        self._planner = planner
        self._learned = learned
        self._limits = limits
        self._now = now

    def options(self, body: ChatBody, picture: Picture) -> Options:
        """Who may be asked for `body`.

        Raises:
            Refusal: nobody, because of what the body asks for or because nobody is there.
        """
        limits = self._limits
        spec = parse_model(
            body.model,
            aliases=limits.aliases,
            catalog=picture.catalog,
            max_items=limits.max_list_items,
        )
        needs = Needs()
        if isinstance(spec, Direct):
            return Options(picture=picture, spec=spec, order=(spec.name,), needs=needs)
        names: tuple[str, ...] = ()
        ranked: tuple[str, ...] = ()
        selector: str | None = None
        moment: Moment | None = None
        if isinstance(spec, Alias) or not set(limits.aliases).isdisjoint(spec.names):
            selector = self._planner.default
            moment = self._planner.moment(picture, needs)
            names = picture.order
            ranked = self._planner.order(picture, names, moment, selector=selector)
        order = ranked
        if isinstance(spec, PreferenceList):
            # The client's own order, bounded already: all of it is tried.
            order = expand(
                spec.names, aliases=limits.aliases, order=ranked, max_items=limits.max_list_items
            )
        if not order:
            raise Refusal(
                Code.NO_CANDIDATES,
                "No model can be chosen now: none is known to have an active instance.",
            )
        return Options(
            picture=picture,
            spec=spec,
            order=order,
            needs=needs,
            names=names,
            ranked=ranked,
            selector=selector,
            moment=moment,
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
        if isinstance(options.spec, Alias):
            candidates = candidates[: self._limits.max_attempts]
        return Choice(options=options, candidates=candidates, sticky=sticky, place=place, stay=stay)

    def _weigh(self, options: Options, sticky: str) -> Stay | None:
        """Whether to leave `sticky`; None where the client's own order counts, or nobody is better."""
        ranked, moment, selector = options.ranked, options.moment, options.selector
        if moment is None or selector is None or options.order is not ranked:
            return None
        resting, now = self._learned.rests.resting, self._now()
        # Names that are ranked are ids, under which rests are kept too.
        before = ranked[: ranked.index(sticky)]
        rival = next((name for name in before if not resting(name, now=now)), None)
        if rival is None:
            return None
        picture = options.picture
        model = picture.catalog.by_id.get(sticky)
        return Stay(
            model=sticky,
            rival=rival,
            disadvantage=self._planner.disadvantage(
                picture, options.names, sticky, rival, moment, selector=selector
            ),
            cache=cache_worth(
                options.needs, UNKNOWN.price if model is None else model.traits.price
            ),
        )
