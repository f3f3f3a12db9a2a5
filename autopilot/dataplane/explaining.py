"""Tells what the router knows, and what it would do with a request, without doing any of it.

It chooses with the router's own `Chooser`, looks a client's place up without touching it, and asks
nobody: neither a metric nor a rest nor a place is another afterwards. The one thing that may happen is
what any request would have done first: to notice that a new catalogue or feed is here.
"""

from twisted.internet.defer import Deferred

from autopilot.dataplane import account
from autopilot.dataplane.account import Account, View
from autopilot.dataplane.choosing import Chooser
from autopilot.dataplane.learning import Learned
from autopilot.dataplane.planning import Planner
from autopilot.dataplane.router import Incoming, key_of
from autopilot.interfaces import IPictureSource, IStickyStore, Seconds
from autopilot.policy.chatbody import parse_body
from autopilot.policy.errors import Code, Refusal
from autopilot.policy.modelspec import Direct
from autopilot.policy.needs import Needs
from autopilot.policy.picture import Picture
from autopilot.policy.scene import Moment


class Explainer:
    """Explains by what the router's own parts say. `now` is a monotonic clock."""

    def __init__(
        self,
        source: IPictureSource,
        planner: Planner,
        chooser: Chooser,
        sticky: IStickyStore,
        learned: Learned,
        *,
        secret: bytes,
        now: Seconds,
    ) -> None:
        self._source = source
        self._planner = planner
        self._chooser = chooser
        self._sticky = sticky
        self._learned = learned
        self._secret = secret
        self._now = now

    def candidates(self, selector: str | None = None) -> Account:
        """The order of `selector`, where it is given, for a request that needs nothing special.

        Raises:
            Refusal: there is no such selector.
        """
        name = self._planner.default if selector is None else selector.lower()
        if name not in self._planner.selectors:
            there = ", ".join(sorted(self._planner.selectors))
            raise Refusal(
                Code.BAD_REQUEST,
                f"There is no such selector; there are: {there}.",
                param="selector",
            )
        options = self._chooser.survey(self._learned.see(self._source.picture), name)
        view = self._view(options.picture, options.moment)
        return {
            "selector": name,
            "selectors": sorted(self._planner.selectors),
            **account.knowledge(view),
            "filters": account.filters(options.sifted),
            "candidates": account.order(options.order, view, self._chooser.terms(options)),
        }

    async def explain(self, incoming: Incoming) -> Account:
        """What would be done with `incoming`, a refusal included.

        Cancelling it is to want it no longer.
        """
        picture = self._learned.see(self._source.picture)
        try:
            body = parse_body(incoming.body)
            options = self._chooser.options(body, picture, incoming.fields)
        except Refusal as refused:
            return {**account.knowledge(self._view(picture, None)), **account.refusal(refused)}
        sticky: str | None = None
        if not isinstance(options.spec, Direct):
            kept = self._sticky.peek(key_of(incoming, body, self._secret))
            sticky = await kept if isinstance(kept, Deferred) else kept
        view = self._view(picture, options.moment)
        return {
            **account.knowledge(view),
            **account.choice(
                self._chooser.choose(options, sticky), view, self._chooser.terms(options)
            ),
        }

    def _view(self, picture: Picture, moment: Moment | None) -> View:
        return View(
            picture=picture,
            moment=self._planner.moment(picture, Needs()) if moment is None else moment,
            rests=dict(self._learned.rests.items()),
            now=self._now(),
        )
