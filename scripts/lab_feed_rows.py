"""Rows 39 to 42: feeds that fail, lie, flood, or say nothing that could be used."""

import gzip
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from lab_bench import RANKED, Lab, Router, chat_body, opened, request, until
from lab_client import soon
from lab_facts import DEFAULT, FULL, QUICK, Facts, Scenario, at_most

from autopilot.simulator.misbehaving.answers import HTML, JSON, head, refusal, whole
from autopilot.simulator.misbehaving.listing import catalogue, feed, row
from autopilot.simulator.misbehaving.steps import Drip, Fin, Repeat, Script, Send, Stall
from autopilot.simulator.misbehaving.upstream import Asked

_FEED, _MODELS = "/lab/feed", "/lab/models"
_INTERVAL = 0.1
_TIMEOUT = 0.5
_MAX_AGE = 1.0
_MAX_BYTES = 4 * 1024 * 1024
_MIB = 1 << 20
_GOOD_FEED: Script = (Send(whole(feed(RANKED))),)
_GOOD_MODELS: Script = (Send(whole(catalogue(RANKED))),)
_SETTINGS = {
    "UTILIZATION_REFRESH_MS": "100",
    "MODELS_REFRESH_MS": "100",
    "CONTROL_PLANE_TIMEOUT_MS": "500",
    "CONTROL_PLANE_MAX_BYTES": str(_MAX_BYTES),
    "READYZ_MAX_SNAPSHOT_AGE_MS": "1000",
}


@asynccontextmanager
async def _feeds(lab: Lab, name: str) -> AsyncIterator[Router]:
    """A router whose feeds are nobody else's, well at first."""
    base = f"/{name}"
    host = f"http://127.0.0.1:{lab.upstream_port}{base}"
    lab.upstream.plays[base + _FEED] = _GOOD_FEED
    lab.upstream.plays[base + _MODELS] = _GOOD_MODELS
    settings = {**_SETTINGS, "UTILIZATION_URL": host + _FEED, "MODELS_URL": host + _MODELS}
    async with lab.router(f"feeds-{name}", settings) as router:
        try:
            yield router
        finally:
            lab.upstream.plays.pop(base + _FEED)
            lab.upstream.plays.pop(base + _MODELS)


class _Play:
    """A feed's script that counts how often it was asked for."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []

    def __call__(self, asked: Asked) -> Script:
        self.asked.append(asked)
        return self.script


async def _fails(lab: Lab, name: str, script: Script) -> Facts:
    """Ten failures and more, then a good answer."""
    path = f"/{name}{_FEED}"
    play = _Play(script)
    async with _feeds(lab, name) as router:
        lab.upstream.plays[path] = play
        turned = time.monotonic()
        await until(lambda: len(play.asked) > 10, 15)  # noqa: PLR2004
        await soon(max(0.0, turned + _MAX_AGE + 0.4 - time.monotonic()))
        bad = {
            "asked again": len(play.asked) > 10,  # noqa: PLR2004
            "candidates kept": await router.metric("autopilot_candidates"),
            "age grows": await router.metric("autopilot_feed_age_seconds") > _MAX_AGE,
            "readyz": await router.status("/readyz"),
            "healthz": await router.status("/healthz"),
        }
        lab.upstream.plays[path] = _GOOD_FEED
        began = time.monotonic()
        while await router.status("/readyz") != _OK and time.monotonic() < began + 3:
            await soon(0.02)
        # One interval, one fetch that may be under way, and the look itself.
        patience = _INTERVAL + (_TIMEOUT if any(isinstance(s, Stall) for s in script) else 0.1)
        return {**bad, "refreshed in time": time.monotonic() - began <= patience + 0.15}


_OK = 200


def _failing() -> list[Scenario]:
    good = whole(feed(RANKED))
    scripts: tuple[tuple[str, Script], ...] = (
        ("500", (Send(whole(b"{}", status=500)),)),
        ("silence", (Stall(),)),
        ("HTML with 200", (Send(whole(b"<html>maintenance</html>", media=HTML)),)),
        ("truncated JSON", (Send(whole(feed(RANKED)[:-20])),)),
        ("a body that is cut", (Send(good[:-20]), Fin())),
        ("an object", (Send(whole(b"{}")),)),
        ("null", (Send(whole(b"null")),)),
    )
    return [
        Scenario(
            row="39",
            name=f"feed: {name}",
            expected={
                "asked again": True,
                "candidates kept": float(len(RANKED)),
                "age grows": True,
                "readyz": 503,
                "healthz": 200,
                "refreshed in time": True,
            },
            look=partial(_fails, name="39-" + name.replace(" ", "-"), script=script),
            starts=True,
            least=QUICK if name == "500" else DEFAULT,
        )
        for name, script in scripts
    ]


_ODD: tuple[tuple[str, object], ...] = (
    ("NaN", float("nan")),
    ("Infinity", float("inf")),
    ("negative", -1),
    ("above one", 1.7),
    ("a string", "0.5"),
    ("null", None),
    ("a boolean", True),
    ("1e308", 1e308),
)


async def _odd_values(lab: Lab) -> Facts:
    """One odd value a row, beside rows that are well; each order of the rows must rank the same."""
    names = [f"lab/odd-{n}" for n in range(len(_ODD))]
    steady = [f"lab/steady-{n}" for n in range(len(RANKED))]
    # A refusal that blames the caller ends the chain, and lets no model rest.
    for name in (*names, *steady):
        lab.upstream.plays[name] = (Send(refusal(400, "Invalid request: no")),)
    rows: list[dict[str, Any]] = [
        row(name, utilization_5m=value) for name, (_what, value) in zip(names, _ODD, strict=True)
    ]
    no_count = [row("lab/no-count", active_instance_count=v) for v in (None, "x", -1, float("nan"))]
    nameless: list[object] = [{"active_instance_count": 3}, 7, None, [], {"name": 5}]
    well = [row(name, utilization=0.1 * n) for n, name in enumerate(steady)]
    orders = []
    async with _feeds(lab, "40") as router:
        lab.upstream.plays[f"/40{_MODELS}"] = (
            Send(whole(catalogue([*steady, *names, "lab/no-count"]))),
        )
        for turn in range(3):
            every: list[object] = [*rows, *no_count, *nameless, *well]
            shift = turn * 5
            body = json.dumps(every[shift:] + every[:shift]).encode()
            play = _Play((Send(whole(body)),))
            lab.upstream.plays[f"/40{_FEED}"] = play
            await until(lambda play=play: len(play.asked) > 2, 5)  # type: ignore[misc]  # noqa: PLR2004
            orders.append(await _order(router))
        return {
            "candidates": await router.metric("autopilot_candidates"),
            "the same order": all(order == orders[0] for order in orders),
            "ready": await router.status("/readyz"),
        }


async def _order(router: Router) -> str | None:
    """Whom the alias is sent to first."""
    client = await opened(router)
    client.send(request(chat_body("chutesai/AutoPilot")))
    await client.until_answered()
    client.leave()
    return client.answer.value("x-chutes-autopilot-selected") if client.answer else None


def _flood(number: int) -> Script:
    block = json.dumps(row("x" * 20)).encode() + b","
    times = 1000
    return (Send(head(200, media=JSON) + b"["), Repeat(block * times, number // times), Fin())


async def _abused(
    lab: Lab, name: str, script: Script, *, seconds: float, good: Callable[[float], bool]
) -> Facts:
    """The better of two looks: the feed is fetched ten times in each, so that its cost shows in both."""
    facts = await _abuses(lab, name, script, seconds=seconds, good=good)
    if float(str(facts["slowest ms"])) <= _STALL_MS:
        return facts
    return await _abuses(lab, name, script, seconds=seconds, good=good)


_STALL_MS = 50


async def _abuses(
    lab: Lab, name: str, script: Script, *, seconds: float, good: Callable[[float], bool]
) -> Facts:
    """A feed that would cost memory or time: what it costs, and what is left of the picture."""
    path = f"/{name}{_FEED}"
    play = _Play(script)
    async with _feeds(lab, name) as router:
        before = peak = router.resident
        slowest = 0.0
        lab.upstream.plays[path] = play
        until_moment = time.monotonic() + seconds
        while time.monotonic() < until_moment:
            asked = time.monotonic()
            await router.status("/healthz")
            slowest = max(slowest, time.monotonic() - asked)
            peak = max(peak, router.resident)
            await soon(0.005)
        candidates = await router.metric("autopilot_candidates")
        lab.notes[f"feed: {name}"] = {
            "MiB more": round((peak - before) / _MIB, 1),
            "slowest healthz ms": round(slowest * 1000, 1),
        }
        return {
            "asked": len(play.asked) > 1,
            "candidates as expected": good(candidates),
            "MiB more": round((peak - before) / _MIB, 1),
            "slowest ms": round(slowest * 1000, 1),
        }


_PRIVATE = [{**row("[private chute]"), "chute_id": f"private-{n}"} for n in range(442)]
_TWICE = [*map(row, RANKED), *(row(name, utilization=0.99) for name in RANKED)]


def _abusive() -> list[Scenario]:
    bomb = gzip.compress(b" " * (64 * _MIB))
    large = {QUICK: 20_000, DEFAULT: 100_000, FULL: 1_000_000}
    length = b"Content-Length: 5000000"
    kept = float(len(RANKED))
    scripts: tuple[tuple[str, Script], ...] = (
        ("names twice", (Send(whole(json.dumps(_TWICE).encode())),)),
        ("442 private rows", (Send(whole(json.dumps([*_PRIVATE, *_TWICE]).encode())),)),
        ("a million rows", _flood(large[FULL])),
        ("200 MB", (Send(head(200, media=JSON) + b"["), Repeat(b" " * 65536, 3200), Fin())),
        ("a gzip bomb", (Send(whole(bomb, b"Content-Encoding: gzip")),)),
        ("a byte a second", (Send(head(200, media=JSON)), Drip(b"[" + b" " * 20, 1.0))),
        (
            "a redirect",
            (Send(head(302, b"Location: /v1/models", media=JSON, length=0)),),
        ),
        ("a length that lies", (Send(head(200, length, media=JSON) + feed(RANKED)), Fin())),
    )
    return [
        Scenario(
            row="41",
            name=f"feed: {name}",
            expected={
                "asked": True,
                "candidates as expected": True,
                "MiB more": at_most(16),
                "slowest ms": at_most(_STALL_MS),
            },
            look=partial(
                _abused,
                name="41-" + name.replace(" ", "-"),
                script=script,
                seconds=1.5,
                good=lambda seen: seen == kept,
            ),
            alone=True,
            least=QUICK if name == "a gzip bomb" else DEFAULT,
        )
        for name, script in scripts
    ]


async def _models(lab: Lab, name: str, body: bytes, media: bytes = JSON) -> Facts:
    """What is left of the catalogue after a fetch of this, and after a good one again."""
    path = f"/{name}{_MODELS}"
    play = _Play((Send(whole(body, media=media)),))
    async with _feeds(lab, name) as router:
        lab.upstream.plays[path] = play
        await until(lambda: len(play.asked) > 2, 5)  # noqa: PLR2004
        listed = json.loads(await router.get("/v1/models") or b"{}")
        ids = [entry["id"] for entry in listed.get("data", ())]
        seen = await router.metric("autopilot_catalog_models")
        lab.upstream.plays[path] = _GOOD_MODELS
        await soon(3 * _INTERVAL)
        return {
            "models": seen,
            "odd ids": [each for each in ids if not each.isprintable()],
            "after": await router.metric("autopilot_catalog_models"),
            "readyz": await router.status("/readyz"),
        }


def _catalogues() -> list[Scenario]:
    odd = ["lab/a\r\nX: b", "lab/\0", "", " lab/space", *RANKED]
    cases: tuple[tuple[str, bytes, bytes, float], ...] = (
        ("an empty list", catalogue([]), JSON, len(RANKED)),
        ("one model left", catalogue(RANKED[:1]), JSON, 1),
        ("ids twice", catalogue([*RANKED, *RANKED]), JSON, len(RANKED)),
        ("ids with CR, LF and NUL", catalogue(odd), JSON, len(RANKED)),
        ("HTML", b"<html></html>", HTML, len(RANKED)),
    )
    return [
        Scenario(
            row="42",
            name=f"catalogue: {name}",
            expected={
                "models": float(models),
                "odd ids": [],
                "after": float(len(RANKED)),
                "readyz": 200,
            },
            look=partial(_models, name="42-" + name.replace(" ", "-"), body=body, media=media),
            starts=True,
            least=QUICK if name == "an empty list" else DEFAULT,
        )
        for name, body, media, models in cases
    ]


ROWS: tuple[Scenario, ...] = (
    *_failing(),
    Scenario(
        row="40",
        name="feed: values that are none",
        expected={
            "candidates": float(len(RANKED) + len(_ODD)),
            "the same order": True,
            "ready": 200,
        },
        look=_odd_values,
        starts=True,
        least=DEFAULT,
    ),
    *_abusive(),
    *_catalogues(),
)
