"""From a request's bytes to the exchange that the engine carries: what is asked, of whom, in which order.

Reads one published picture per request, and nothing else of the control plane.
"""

from dataclasses import dataclass
from functools import partial

from twisted.internet.defer import CancelledError, Deferred

from autopilot.dataplane.engine import Engine, Exchange, note_left
from autopilot.dataplane.journal import Journal
from autopilot.dataplane.sticky import Affinity
from autopilot.interfaces import IDownstream, IPictureSource, IStickyStore, Seconds
from autopilot.metrics import Mode, Phase
from autopilot.policy.chatbody import parse_body
from autopilot.policy.errors import Code, Refusal
from autopilot.policy.headers import Fields, bearer_token, upstream_fields
from autopilot.policy.modelspec import (
    Alias,
    Direct,
    PreferenceList,
    catalog_id,
    expand,
    model_behind,
    parse_model,
)
from autopilot.policy.rest import RestTable
from autopilot.policy.stickiness import client_key, prefer

_MODES = {Alias: Mode.ALIAS, PreferenceList: Mode.LIST, Direct: Mode.DIRECT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How requests may be routed."""

    aliases: tuple[str, ...]
    max_list_items: int
    max_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A whole request, as the web room received it. `address` is the client's."""

    path: str
    fields: Fields
    body: bytes
    request_id: bytes
    address: str


class Router:
    """Routes requests by the picture in `source`; keeps clients on their models in `sticky`.

    Models in `rests` are asked last, until they answer or a new catalogue clears them.

    `secret` keys the hash by which a client is known: whoever shares `sticky` shares it as well, and if
    nobody does it must not outlive the process.
    """

    def __init__(
        self,
        engine: Engine,
        source: IPictureSource,
        sticky: IStickyStore,
        rests: RestTable,
        *,
        secret: bytes,
        limits: Limits,
        monotonic: Seconds,
    ) -> None:
        self._engine = engine
        self._source = source
        self._sticky = sticky
        self._rests = rests
        self._catalog = source.picture.catalog
        self._secret = secret
        self._limits = limits
        self._now = monotonic

    async def route(self, incoming: Incoming, downstream: IDownstream, journal: Journal) -> None:
        """Answer `incoming` through `downstream`. Cancelling means that the client is gone.

        Raises:
            Refusal: with nothing sent to the client.
            CancelledError: the client went away before anything was sent.
        """
        exchange = await self._exchange(incoming, downstream, journal)
        del incoming  # its body would otherwise live as long as the stream
        await self._engine.carry(exchange, downstream, journal)

    async def _exchange(
        self, incoming: Incoming, downstream: IDownstream, journal: Journal
    ) -> Exchange:
        picture = self._source.picture
        if picture.catalog is not self._catalog:
            self._catalog = picture.catalog
            self._rests.catalog_changed(at=picture.catalog_fetched_at)
        body = parse_body(incoming.body)
        spec = parse_model(
            body.model,
            aliases=self._limits.aliases,
            catalog=picture.catalog,
            max_items=self._limits.max_list_items,
        )
        journal.mode = _MODES[type(spec)]
        journal.label = partial(catalog_id, catalog=picture.catalog)
        model_of = partial(model_behind, catalog=picture.catalog)
        affinity: Affinity | None = None
        candidates: tuple[str, ...]
        if isinstance(spec, Direct):
            candidates = (spec.name,)
        else:
            order = self._order(spec, picture.order)
            key = self._key(incoming)
            affinity = Affinity(self._sticky, key)
            sticky = self._sticky.get(key)
            if isinstance(sticky, Deferred):
                try:
                    sticky = await sticky
                except CancelledError:
                    note_left(downstream, journal, Phase.HEADERS)
                    raise
            candidates = self._rests.arrange(
                prefer(sticky, order), now=self._now(), model_of=model_of
            )
            if isinstance(spec, Alias):
                candidates = candidates[: self._limits.max_attempts]
        journal.candidates = len(candidates)
        return Exchange(
            path=incoming.path,
            fields=upstream_fields(incoming.fields, request_id=incoming.request_id),
            body=body,
            candidates=candidates,
            routed=affinity is not None,
            affinity=affinity,
            model_of=model_of,
        )

    def _order(self, spec: Alias | PreferenceList, order: tuple[str, ...]) -> tuple[str, ...]:
        """Whom `spec` allows to ask, where the picture has `order`."""
        limits = self._limits
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
        return order

    def _key(self, incoming: Incoming) -> bytes:
        authorization = [
            value for name, value in incoming.fields if name.lower() == b"authorization"
        ]
        return client_key(self._secret, token=bearer_token(authorization), address=incoming.address)
