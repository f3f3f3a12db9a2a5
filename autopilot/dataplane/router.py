"""From a request's bytes to the exchange that the engine carries: what is asked, of whom, in which order.

Reads one published picture per request, and nothing else of the control plane.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from autopilot.dataplane.engine import Engine, Exchange
from autopilot.dataplane.journal import Journal
from autopilot.interfaces import IDownstream, IPictureSource, Seconds
from autopilot.metrics import Mode
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
from autopilot.policy.stickiness import Affinity, StickyTable, client_key, prefer

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

    `secret` keys the hash by which a client is known; it must not outlive the process.
    """

    def __init__(
        self,
        engine: Engine,
        source: IPictureSource,
        sticky: StickyTable,
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
        exchange = self._exchange(incoming, journal)
        del incoming  # its body would otherwise live as long as the stream
        await self._engine.carry(exchange, downstream, journal)

    def _exchange(self, incoming: Incoming, journal: Journal) -> Exchange:
        picture = self._source.picture
        if picture.catalog is not self._catalog:
            self._catalog = picture.catalog
            self._rests.catalog_changed()
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
            affinity = Affinity(self._sticky, self._key(incoming))
            candidates = self._candidates(spec, affinity, model_of)
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

    def _candidates(
        self, spec: Alias | PreferenceList, affinity: Affinity, model_of: Callable[[str], str]
    ) -> tuple[str, ...]:
        limits = self._limits
        order = self._source.picture.order
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
        now = self._now()
        preferred = self._rests.arrange(
            prefer(affinity.model(now=now), order), now=now, model_of=model_of
        )
        return preferred[: limits.max_attempts] if isinstance(spec, Alias) else preferred

    def _key(self, incoming: Incoming) -> bytes:
        authorization = [
            value for name, value in incoming.fields if name.lower() == b"authorization"
        ]
        return client_key(self._secret, token=bearer_token(authorization), address=incoming.address)
