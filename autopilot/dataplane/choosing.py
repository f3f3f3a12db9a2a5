"""Chooses whom to ask for a request, and in which order: from a body and a picture to a `Choice`.

It asks nobody and changes nothing, so that what would happen can be told without its happening.
"""

from dataclasses import dataclass

from autopilot.dataplane.learning import Learned
from autopilot.dataplane.planning import Planner
from autopilot.interfaces import Seconds
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How requests may be routed."""

    aliases: tuple[str, ...]
    max_list_items: int
    max_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Who may be asked for one request, best first, before it is known where its client was.

    `selector` ordered those whom an alias stands for; it is None where the client named everybody.
    `moment` is when that was, and None with it.
    """

    picture: Picture
    spec: ModelSpec
    order: tuple[str, ...]
    needs: Needs
    selector: str | None = None
    moment: Moment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Who is asked, in this order. `sticky` is where the client was, if it is among the options."""

    options: Options
    candidates: tuple[str, ...]
    sticky: str | None = None


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
        order: tuple[str, ...] = ()
        selector: str | None = None
        moment: Moment | None = None
        if isinstance(spec, Alias) or not set(limits.aliases).isdisjoint(spec.names):
            selector = self._planner.default
            moment = self._planner.moment(picture, needs)
            order = self._planner.order(picture, picture.order, moment, selector=selector)
        if isinstance(spec, PreferenceList):
            # The client's own order, bounded already: all of it is tried.
            order = expand(
                spec.names, aliases=limits.aliases, order=order, max_items=limits.max_list_items
            )
        if not order:
            raise Refusal(
                Code.NO_CANDIDATES,
                "No model can be chosen now: none is known to have an active instance.",
            )
        return Options(
            picture=picture, spec=spec, order=order, needs=needs, selector=selector, moment=moment
        )

    def choose(self, options: Options, sticky: str | None) -> Choice:
        """Whom to ask of `options`, where the client was on `sticky`."""
        if isinstance(options.spec, Direct):
            return Choice(options=options, candidates=options.order)

        def model_of(name: str) -> str:
            return model_behind(name, options.picture.catalog)

        candidates = self._learned.rests.arrange(
            prefer(sticky, options.order), now=self._now(), model_of=model_of
        )
        if isinstance(options.spec, Alias):
            candidates = candidates[: self._limits.max_attempts]
        return Choice(
            options=options,
            candidates=candidates,
            sticky=sticky if sticky in options.order else None,
        )
