"""From a request's bytes to the exchange that the engine carries: chosen, and ready to be sent.

Reads one published picture per request, and nothing else of the control plane.
"""

from dataclasses import dataclass
from functools import partial

from twisted.internet.defer import CancelledError, Deferred

from autopilot.dataplane import account
from autopilot.dataplane.choosing import Choice, Chooser
from autopilot.dataplane.engine import Engine, note_left
from autopilot.dataplane.exchange import Exchange
from autopilot.dataplane.journal import Journal
from autopilot.dataplane.learning import Learned
from autopilot.dataplane.shadowing import Shadowing
from autopilot.dataplane.sticky import Affinity
from autopilot.interfaces import IDownstream, IPictureSource, IStickyStore
from autopilot.labels import Phase
from autopilot.policy.affinity import session_in
from autopilot.policy.chatbody import ChatBody, parse_body
from autopilot.policy.headers import Fields, bearer_token, upstream_fields
from autopilot.policy.modelspec import Direct, catalog_id, model_behind
from autopilot.policy.stickiness import client_key


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

    `chooser` chooses by what was `learned`; what waited for a catalogue is told when a new one is here.

    `secret` keys the hash by which a client is known: whoever shares `sticky` shares it as well, and if
    nobody does it must not outlive the process. With `shadow`, another strategy is asked beside.
    """

    def __init__(
        self,
        engine: Engine,
        source: IPictureSource,
        chooser: Chooser,
        sticky: IStickyStore,
        learned: Learned,
        *,
        secret: bytes,
        shadow: Shadowing | None = None,
    ) -> None:
        self._engine = engine
        self._source = source
        self._chooser = chooser
        self._sticky = sticky
        self._learned = learned
        self._secret = secret
        self._shadow = shadow
        learned.see(source.picture)

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
        picture = self._learned.see(self._source.picture)
        body = parse_body(incoming.body)
        options = self._chooser.options(body, picture, incoming.fields)
        if isinstance(options.spec, Direct) and options.spec.name != body.model:
            body = body.renamed(options.spec.name)
        journal.mode = account.MODES[type(options.spec)]
        journal.label = partial(catalog_id, catalog=picture.catalog)
        affinity: Affinity | None = None
        sticky: str | None = None
        if not isinstance(options.spec, Direct):
            key = key_of(incoming, body, self._secret)
            affinity = Affinity(self._sticky, key)
            kept = self._sticky.get(key)
            try:
                sticky = await kept if isinstance(kept, Deferred) else kept
            except CancelledError:
                note_left(downstream, journal, Phase.HEADERS)
                raise
        choice = self._chooser.choose(options, sticky)
        journal.chosen(choice.candidates, choice.place)
        if self._shadow is not None:
            self._shadow.compare(choice)
        if journal.is_kept:
            journal.decided(lambda: self._decision(choice, journal))
        return Exchange(
            path=incoming.path,
            fields=upstream_fields(incoming.fields, request_id=incoming.request_id),
            body=body,
            candidates=choice.candidates,
            routed=affinity is not None,
            affinity=affinity,
            model_of=partial(model_behind, catalog=picture.catalog),
            needs=options.needs,
        )

    def _decision(self, choice: Choice, journal: Journal) -> account.Account:
        terms = self._chooser.terms(choice.options, choice.candidates)
        return account.decision(choice, terms, journal.label)


def key_of(incoming: Incoming, body: ChatBody, secret: bytes) -> bytes:
    """The keyed hash by which the client, or its conversation, is known."""
    authorization = [value for name, value in incoming.fields if name.lower() == b"authorization"]
    return client_key(
        secret,
        token=bearer_token(authorization),
        address=incoming.address,
        session=session_in(incoming.fields) or _encoded(body.session),
    )


def _encoded(session: str | None) -> bytes | None:
    # JSON may hold half of a surrogate pair.
    return None if session is None else session.encode("utf-8", "surrogatepass")
