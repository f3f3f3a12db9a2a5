"""Where an account comes from: a router that runs, two files, or the platform itself.

Whichever it is, the account has the same keys. A router tells what it has learned; from files and from
the platform it is what a router would say that has just started.
"""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from treq.client import HTTPClient
from twisted.web.iweb import IBodyProducer

from autopilot.connection_pool import ClientPool
from autopilot.controlplane.fetch import FetchError, Question, ask, fetch
from autopilot.controlplane.state import RoutingState
from autopilot.dataplane import account
from autopilot.dataplane.account import Account
from autopilot.dataplane.explaining import Explainer
from autopilot.dataplane.router import Incoming
from autopilot.dataplane.upstream import BytesProducer
from autopilot.http_client import make_client
from autopilot.interfaces import IPictureSource, ISelector
from autopilot.policy.catalog import FeedError, parse_catalog, parse_utilization
from autopilot.policy.errors import Refusal
from autopilot.policy.headers import Fields
from autopilot.policy.readiness import readiness
from autopilot.routing import make_explainer, max_ages_of, rules_of
from autopilot.settings import Settings

ANSWER_SECONDS = 10.0
"""How long a router may take to explain itself."""

MAX_ANSWER_BYTES = 16 << 20

Selectors = Mapping[str, ISelector]
Feed = tuple[str, bytes]
"""Where it is from, and what it says."""

_OK, _UNAUTHORIZED, _NOT_FOUND = 200, 401, 404


class CommandError(Exception):
    """The command cannot do what it was asked for; the text says why, for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question: `body` is a chat body to be explained, None asks for the candidates.

    `fields` are the header fields that would come with the body.
    """

    selector: str | None = None
    body: bytes | None = None
    fields: Fields = ()


@asynccontextmanager
async def client_of(reactor: Any, connect_timeout: float) -> AsyncIterator[HTTPClient]:
    """A client whose connections are gone at the end."""
    pool = ClientPool(reactor, max_idle=1, connect_timeout=connect_timeout)
    pool.startService()
    try:
        yield make_client(reactor, pool.pool, accept_encoding=b"gzip", retried=lambda: None)
    finally:
        await pool.stopService()


async def from_router(reactor: Any, url: str, asked: Asked, *, token: str | None) -> Account:
    """What the router at `url` says. `token` is sent as a Bearer token, if there is one.

    Raises:
        CommandError: it says nothing of the kind.
    """
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in asked.fields]
    if token:
        fields.append(("authorization", f"Bearer {token}"))
    if asked.body is None:
        query = "" if asked.selector is None else "?" + urlencode({"selector": asked.selector})
        question = Question(url=f"{url}/autopilot/candidates{query}", fields=fields)
    else:
        producer = cast("IBodyProducer", BytesProducer(asked.body))
        question = Question(
            url=f"{url}/autopilot/explain", method="POST", fields=fields, body=producer
        )
    async with client_of(reactor, ANSWER_SECONDS) as client:
        try:
            answer = await ask(
                client, question, clock=reactor, within=ANSWER_SECONDS, max_bytes=MAX_ANSWER_BYTES
            )
        except FetchError as error:
            raise CommandError(f"the router at {url} does not answer: {error}") from None
    if answer.status == _UNAUTHORIZED:
        wanted = "does not take this ADMIN_TOKEN" if token else "wants its ADMIN_TOKEN"
        raise CommandError(f"the router at {url} {wanted}, from the environment")
    return _judged(url, answer.status, answer.body)


def _judged(url: str, status: int, body: bytes) -> Account:
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if status == _NOT_FOUND:
        raise CommandError(
            f"the router at {url} does not explain itself there: is ADMIN_TOKEN set for it, or "
            "ADMIN_LISTEN_ADDR another address?"
        )
    if not isinstance(told, dict):
        raise CommandError(f"what answers at {url} is no router (status {status})")
    if status != _OK:
        error = told.get("error")
        message = error.get("message") if isinstance(error, dict) else None
        raise CommandError(f"the router at {url} answers {status}: {message}")
    return told


async def from_files(
    models: Path, utilization: Path, asked: Asked, settings: Settings, selectors: Selectors
) -> Account:
    """What a router would say that had just fetched these.

    Raises:
        CommandError: one of them cannot be read, or is no such feed.
    """
    catalogue, feed = [(str(path), _read(path)) for path in (models, utilization)]
    return await _explained(catalogue, feed, asked, settings, selectors)


async def from_platform(
    reactor: Any, asked: Asked, settings: Settings, selectors: Selectors
) -> Account:
    """What a router would say that had just fetched both feeds from where the settings say.

    Raises:
        CommandError: one of them cannot be had.
    """
    urls = (settings.models_url, settings.utilization_url)
    async with client_of(reactor, settings.control_plane_timeout) as client:
        catalogue, feed = [(url, await _fetched(reactor, client, url, settings)) for url in urls]
    return await _explained(catalogue, feed, asked, settings, selectors)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None


async def _fetched(reactor: Any, client: HTTPClient, url: str, settings: Settings) -> bytes:
    try:
        return await fetch(
            client,
            url,
            clock=reactor,
            within=settings.control_plane_timeout,
            max_bytes=settings.control_plane_max_bytes,
        )
    except FetchError as error:
        raise CommandError(
            f"{url} cannot be fetched: {error}; `autopilot check` says more"
        ) from None


async def _explained(
    models: Feed, utilization: Feed, asked: Asked, settings: Settings, selectors: Selectors
) -> Account:
    now = time.monotonic()
    state = RoutingState()
    try:
        state.catalog_fetched(parse_catalog(models[1]).catalog, at=now)
    except FeedError as error:
        raise CommandError(f"{models[0]} is no catalogue: {error}") from None
    try:
        state.utilization_fetched(parse_utilization(utilization[1]).utilization, at=now)
    except FeedError as error:
        raise CommandError(f"{utilization[0]} is no feed: {error}") from None
    explainer = make_explainer(
        settings,
        selectors,
        cast("IPictureSource", state),
        monotonic=time.monotonic,
        wall=time.time,
    )
    reason = readiness(
        state.picture, now=now, max_ages=max_ages_of(settings), rules=rules_of(settings)
    )
    return {**account.about(None, reason), **await _answered(explainer, asked)}


async def _answered(explainer: Explainer, asked: Asked) -> Account:
    if asked.body is None:
        try:
            return explainer.candidates(asked.selector)
        except Refusal as refusal:
            raise CommandError(refusal.body.message) from None
    incoming = Incoming(
        path="/v1/chat/completions",
        fields=asked.fields,
        body=asked.body,
        request_id=b"explained",
        address="",
    )
    return await explainer.explain(incoming)
