"""Looks at everything that a router needs, and says of each thing what was seen and what to do.

Each check stands alone, so that one fault does not hide the next; where one needs what another has not
brought, it is left out.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from treq.client import HTTPClient
from twisted.python.failure import Failure
from twisted.web.client import URI

from autopilot.command.asking import Selectors, client_of
from autopilot.command.showing import aligned, duration
from autopilot.connection_pool import ClientPool
from autopilot.controlplane.fetch import FetchError, FetchFault, fetch
from autopilot.controlplane.state import RoutingState
from autopilot.dataplane.redis_link import RedisLink, redis_endpoint
from autopilot.dataplane.upstream import outcome_of
from autopilot.http_client import EndpointFactory
from autopilot.policy.catalog import FeedError, parse_catalog, parse_utilization
from autopilot.policy.failover import Outcome
from autopilot.policy.picture import Picture
from autopilot.policy.rules import Rules
from autopilot.routing import rules_of
from autopilot.selectors.finding import SelectorError, find_selectors
from autopilot.settings import Settings, SettingsError, load
from autopilot.trust_store import trust_store_problem

OLDEST_FEED = 3_600.0
"""Seconds: the platform writes its feed every 1 to 30 minutes, so that an older one is stuck."""

_ADVICE: Mapping[Outcome, str] = {
    Outcome.DNS_FAILED: "its name is not found: look at the URL and at this machine's resolver",
    Outcome.CONNECT_FAILED: "nobody accepts there: look at the URL, and at firewalls on the way",
    Outcome.CONNECT_TIMEOUT: "no connection in time: look at firewalls, or raise the timeout",
    Outcome.TLS_FAILED: "its certificate is not accepted: look at the URL, the clock and "
    "ca-certificates (or SSL_CERT_FILE)",
}
_FETCH_ADVICE: Mapping[FetchFault, str] = {
    FetchFault.STATUS: "it answers with something but 200: is that the right path?",
    FetchFault.TIMEOUT: "it is too slow: raise CONTROL_PLANE_TIMEOUT_MS",
    FetchFault.TOO_LARGE: "it is too large: raise CONTROL_PLANE_MAX_BYTES",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at. `advice` is what to do about it, where it is not well."""

    name: str
    ok: bool
    seen: str
    advice: str = ""

    def told(self) -> dict[str, object]:
        """As JSON has it."""
        return {"name": self.name, "ok": self.ok, "seen": self.seen, "advice": self.advice or None}


def shown_checks(checks: list[Check]) -> str:
    """A line for each, and below it what to do."""
    rows = aligned(
        [("ok" if each.ok else "FAIL", each.name, each.seen) for each in checks], left=(0, 1, 2)
    )
    lines: list[str] = []
    for row, each in zip(rows, checks, strict=True):
        lines += [row, *([] if each.ok else [f"      {each.advice}"])]
    return "\n".join(lines)


async def check_all(reactor: Any, environ: Mapping[str, str]) -> list[Check]:
    """Everything, in the order in which a start needs it."""
    checks, settings, _selectors = check_settings(environ)
    if settings is None:
        return checks
    checks += await _reachable(reactor, settings)
    checks += await _feeds(reactor, settings)
    checks += await _redis(reactor, settings)
    return checks


def check_settings(
    environ: Mapping[str, str],
) -> tuple[list[Check], Settings | None, Selectors | None]:
    """Every fault of the settings, the selector's among them; and what there is without one."""
    checks: list[Check] = []
    settings: Settings | None = None
    try:
        settings = load(environ)
        names = settings.selector, settings.shadow_selector
        checks.append(Check(name="settings", ok=True, seen="all are accepted"))
    except SettingsError as error:
        names = error.accepted["selector"], error.accepted["shadow_selector"]
        advice = "`twistd autopilot --help` says what each accepts"
        checks += [
            Check(name="settings", ok=False, seen=fault, advice=advice) for fault in error.faults
        ]
    selectors: Selectors | None = None
    try:
        selectors = find_selectors(*names)
        found = ", ".join(sorted(selectors))
        checks.append(Check(name="selector", ok=True, seen=f"{names[0]}; found are {found}"))
    except SelectorError as error:
        advice = "install the package that has it, name another, or remove what is there twice"
        checks.append(Check(name="selector", ok=False, seen=str(error), advice=advice))
    return checks, settings, selectors


async def _reachable(reactor: Any, settings: Settings) -> list[Check]:
    """Name, connection and TLS of each of the three URLs."""
    checks = []
    for name, url, within in (
        ("BACKEND_BASE_URL", settings.backend_base_url, settings.upstream_connect_timeout),
        ("MODELS_URL", settings.models_url, settings.control_plane_timeout),
        ("UTILIZATION_URL", settings.utilization_url, settings.control_plane_timeout),
    ):
        checks.append(await _connected(reactor, name, url, within))
    problem = trust_store_problem()
    if problem is not None and any(not check.ok for check in checks):
        checks.append(Check(name="trust store", ok=False, seen="empty", advice=problem))
    return checks


async def _connected(reactor: Any, name: str, url: str, within: float) -> Check:
    parts = urlsplit(url)
    uri = URI.fromBytes(url.encode("ascii"))
    where = f"{parts.hostname}, port {uri.port}"
    pool = ClientPool(reactor, max_idle=1, connect_timeout=within)
    endpoint = EndpointFactory(reactor).endpointForURI(uri)
    began = time.monotonic()
    try:
        connection = await pool.pool.getConnection((uri.scheme, uri.host, uri.port), endpoint)
    except Exception:  # noqa: BLE001 - what it was is told as an outcome
        outcome = outcome_of(Failure())
        advice = _ADVICE.get(outcome, "look at what is between here and there")
        return Check(name=name, ok=False, seen=f"{where}: {outcome.value}", advice=advice)
    took = round((time.monotonic() - began) * 1000)
    connection.abort()
    tls = ", certificate accepted" if parts.scheme == "https" else ", without TLS"
    return Check(name=name, ok=True, seen=f"{where}{tls}, {took} ms")


async def _feeds(reactor: Any, settings: Settings) -> list[Check]:
    """One fetch of each feed, and the order that both make."""
    state = RoutingState()
    async with client_of(reactor, settings.control_plane_timeout) as client:
        catalogue = await _catalogue(reactor, client, settings, state)
        feed = await _feed(reactor, client, settings, state)
    checks = [catalogue, feed]
    if catalogue.ok and state.picture.utilization is not None:
        checks.append(_candidates(state.picture, rules_of(settings)))
    return checks


def _candidates(picture: Picture, rules: Rules) -> Check:
    """Whether an alias stands for anybody."""
    entries = picture.catalog.by_id
    allowed = sum(rules.allows(name, entries.get(name)) for name in picture.order)
    forbidden = len(picture.order) - allowed
    told = f", {forbidden} more if the operator's rules allowed them" if forbidden else ""
    return Check(
        name="candidates",
        ok=allowed > 0,
        seen=f"{allowed} models can be chosen{told}",
        advice="look at ALLOW_MODELS, DENY_MODELS, REQUIRE_TEE and MAX_PRICE"
        if forbidden
        else "no model of the catalogue has an active instance: do both URLs belong together?",
    )


async def _catalogue(
    reactor: Any, client: HTTPClient, settings: Settings, state: RoutingState
) -> Check:
    try:
        parsed = parse_catalog(await _body(reactor, client, settings, settings.models_url))
    except (FetchError, FeedError) as error:
        return _not_had("catalogue", error)
    state.catalog_fetched(parsed.catalog, at=0.0)
    dropped = sum(parsed.dropped.values())
    return Check(
        name="catalogue", ok=True, seen=f"{len(parsed.catalog)} models, {dropped} unusable entries"
    )


async def _feed(reactor: Any, client: HTTPClient, settings: Settings, state: RoutingState) -> Check:
    try:
        body = await _body(reactor, client, settings, settings.utilization_url)
        parsed = parse_utilization(body)
    except (FetchError, FeedError) as error:
        return _not_had("feed", error)
    state.utilization_fetched(parsed.utilization, at=0.0)
    timestamp = parsed.utilization.timestamp
    age = None if timestamp is None else max(time.time() - timestamp, 0.0)
    dropped = sum(parsed.dropped.values())
    rows = f"{len(parsed.utilization.chutes)} rows, {dropped} unusable"
    return Check(
        name="feed",
        ok=age is not None and age <= OLDEST_FEED,
        seen=f"{rows}, {'without a time' if age is None else duration(age) + ' old'}",
        advice="what it says is long past, or this machine's clock is wrong",
    )


def _not_had(name: str, error: FetchError | FeedError) -> Check:
    if isinstance(error, FetchError):
        advice = _FETCH_ADVICE.get(error.fault, "see above whether it can be reached")
    else:
        advice = "what is there is something else: look at the URL"
    return Check(name=name, ok=False, seen=error.fault.value, advice=advice)


async def _body(reactor: Any, client: HTTPClient, settings: Settings, url: str) -> bytes:
    return await fetch(
        client,
        url,
        clock=reactor,
        within=settings.control_plane_timeout,
        max_bytes=settings.control_plane_max_bytes,
    )


async def _redis(reactor: Any, settings: Settings) -> list[Check]:
    """Whether the shared store answers, if one is set. Its address is a secret, and not shown."""
    address = settings.sticky_url
    if address is None:
        return []
    link = RedisLink(redis_endpoint(reactor, address), address, clock=reactor)
    began = time.monotonic()
    try:
        await link.connect()
    except Exception as error:  # noqa: BLE001 - whatever it is, the store cannot be used
        seen = type(error).__name__
        advice = "RefusedError is user, password or database; others mean that it cannot be reached"
        return [Check(name="STICKY_URL", ok=False, seen=seen, advice=advice)]
    finally:
        await link.close()
    took = round((time.monotonic() - began) * 1000)
    return [Check(name="STICKY_URL", ok=True, seen=f"it answers, {took} ms")]
