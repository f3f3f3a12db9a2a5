"""Rows 43 and 44: a router that is told to end, and one that is asked for more than it has."""

import json
import signal
import time
from collections import Counter

from lab_bench import Lab, Router, chat_body, opened, request, request_id, until
from lab_client import Client, soon
from lab_exchange import GOOD, GOOD_EVENTS, GOOD_STREAM, since
from lab_facts import DEFAULT, FULL, QUICK, Between, Facts, Scenario, at_most
from lab_wire import Close, End
from processes import STOPPED
from twisted.internet.defer import ensureDeferred, gatherResults

from autopilot.simulator.misbehaving.answers import LAST_CHUNK, chunks, head
from autopilot.simulator.misbehaving.steps import Drip, Pause, Script, Send, Stall

_GRACE = 2.0
_LAG = 0.6
_SHORT: Script = (
    Send(head(200, chunked=True) + chunks(GOOD_EVENTS[:2], last=False)),
    Pause(1.2),
    Send(chunks(GOOD_EVENTS[2:], last=False) + LAST_CHUNK),
)
_LONG: Script = (
    Send(head(200, chunked=True) + chunks(GOOD_EVENTS[:2], last=False) + b"ffff\r\n"),
    Drip(b"x" * 1000, 0.1),
)
_SILENT: Script = (
    Send(head(200, chunked=True) + chunks(GOOD_EVENTS[:2], last=False)),
    Stall(),
)


async def _streaming(lab: Lab, router: Router, script: Script, number: int) -> list[Client]:
    clients = []
    for _ in range(number):
        client = await opened(router)
        client.send(request(chat_body(lab.upstream.bind(script))))
        clients.append(client)
    for client in clients:
        await client.until_bytes(1)
    return clients


async def _exits(router: Router, within: float) -> float | None:
    """Milliseconds until the process is gone."""
    began = time.monotonic()
    gone = await until(lambda: router.process.exit_code is not None, within)
    return round(since(began)) if gone else None


async def _drains(lab: Lab) -> Facts:
    number = {QUICK: 20, DEFAULT: 100, FULL: 100}[lab.level]
    settings = {"DRAIN_GRACE_MS": str(round(_GRACE * 1000)), "STREAM_IDLE_TIMEOUT_MS": "60000"}
    async with lab.router("drain", settings) as router:
        idle = await opened(router)
        idle.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        await idle.until_answered()
        short = await _streaming(lab, router, _SHORT, number)
        long = await _streaming(lab, router, _LONG, number - number // 4)
        silent = await _streaming(lab, router, _SILENT, number // 4)
        told = time.monotonic()
        router.process.signal(signal.SIGTERM)
        await until(lambda: not router.listens(), 5)
        closed = since(told)
        await idle.until_closed(1)
        for client in short:
            await client.until_answered(_GRACE + 3)
        broken_early = sum(client.close is not Close.NOT for client in long)
        for client in (*long, *silent):
            await client.until_closed(_GRACE + 3)
        broken = [c.closed_at - told for c in (*long, *silent) if c.closed_at is not None]
        await _exits(router, _GRACE + 5)
        exited = since(told)
        lab.notes["drain"] = {
            "streams": 2 * number,
            "listener closed ms": round(closed, 1),
            "exit ms": round(exited),
        }
        return {
            "listener closed ms": round(closed, 1),
            "idle connection closed": idle.close is not Close.NOT,
            "streams cut that would have ended": number
            - sum(
                c.end is End.CLEAN and c.answer is not None and c.answer.body == GOOD_STREAM
                for c in short
            ),
            "streams": 2 * number,
            "cut before the grace was over": broken_early,
            "the rest": sorted(Counter(str(client.end) for client in (*long, *silent))),
            "broken after ms": round(min(broken, default=0) * 1000),
            "exit ms": round(exited),
            "exit code": router.process.exit_code in STOPPED,
        }


async def _lags(lab: Lab) -> Facts:
    settings = {
        "DRAIN_GRACE_MS": "2000",
        "DRAIN_READINESS_LAG_MS": str(round(_LAG * 1000)),
        "STREAM_IDLE_TIMEOUT_MS": "60000",
    }
    async with lab.router("lag", settings) as router:
        streams = await _streaming(lab, router, _SHORT, 2)
        told = time.monotonic()
        router.process.signal(signal.SIGTERM)
        await soon(0.1)
        status = await router.status("/readyz", 1)
        body = await router.get("/readyz", 1)
        (served,) = await _streaming(lab, router, GOOD, 1)
        await served.until_answered(1)
        await until(lambda: not router.listens(), 5)
        closed = since(told)
        for client in streams:
            await client.until_answered(3)
        await _exits(router, 5)
        return {
            "readyz": status,
            "code": json.loads(body or b"{}").get("error", {}).get("code"),
            "still served": str(served.end),
            "listener closed ms": round(closed),
            "streams": [str(client.end) for client in streams],
        }


async def _forced(lab: Lab) -> Facts:
    settings = {"DRAIN_GRACE_MS": "20000", "STREAM_IDLE_TIMEOUT_MS": "60000"}
    async with lab.router("forced", settings) as router:
        clients = await _streaming(lab, router, _LONG, 5)
        router.process.signal(signal.SIGTERM)
        await soon(0.4)
        lives = router.process.exit_code is None
        router.process.signal(signal.SIGTERM)
        ms = await _exits(router, 5)
        await soon(0.1)
        return {
            "waits after the first": lives,
            "exit ms after the second": ms,
            "streams whole": sum(client.end is End.CLEAN for client in clients),
        }


async def _crowded(lab: Lab) -> Facts:
    """1,000 connections to a router that may have 256 descriptors."""
    async with lab.router("crowded", limit=256) as router:
        lines = len(router.process.output().splitlines())
        clients: list[Client] = []

        async def come() -> None:
            try:
                clients.append(await opened(router))
            except Exception:  # noqa: BLE001 - refused is one of the right answers
                return

        began = time.monotonic()
        await gatherResults([ensureDeferred(come()) for _ in range(1000)])
        await soon(0.5)
        cpu, moment = router.cpu, time.monotonic()
        await soon(1.5)
        busy = (router.cpu - cpu) / (time.monotonic() - moment)
        alive = router.process.exit_code is None
        for client in clients:
            client.cut()
        left = time.monotonic()
        name = lab.upstream.bind(GOOD)
        recovered = False
        while since(left) < 4000 and not recovered:  # noqa: PLR2004
            try:
                client = await opened(router)
                client.send(request(chat_body(name)))
                await client.until_answered(1)
                recovered = client.end is End.CLEAN
                client.leave()
            except Exception:  # noqa: BLE001 - not yet
                await soon(0.05)
        took = since(left)
        seconds = time.monotonic() - began
        written = len(router.process.output().splitlines()) - lines
        lab.notes["crowded"] = {"busy": round(busy, 3), "recovered ms": round(took)}
        return {
            "alive": alive,
            "share of a processor": round(busy, 2),
            "recovers within ms": round(took) if recovered else None,
            "log lines a second": round(max(written - 1, 0) / seconds, 2),
        }


_SLOTS = 20
_SERVICE = 0.4
_OFFERED = 5


async def _overloaded(lab: Lab) -> Facts:
    """Five times as many requests as the router may carry at once, for three seconds."""
    seconds = {QUICK: 2, DEFAULT: 5, FULL: 20}[lab.level]
    capacity = _SLOTS / _SERVICE
    seen: list[tuple[int | None, float, bool]] = []
    health: list[float] = []
    async with lab.router("overloaded", {"MAX_CONCURRENT_REQUESTS": str(_SLOTS)}) as router:

        async def one() -> None:
            name = lab.upstream.bind((Pause(_SERVICE), *GOOD))
            client = await opened(router)
            client.send(request(chat_body(name), rid=request_id()))
            await client.until_answered(5)
            answer = client.answer
            later = answer is not None and answer.value("retry-after") is not None
            seen.append((answer.status if answer else None, client.ms, later))
            client.leave()
            lab.upstream.unbind(name)

        began, sent, running = time.monotonic(), 0, []
        while time.monotonic() - began < seconds:
            due = int((time.monotonic() - began) * capacity * _OFFERED)
            while sent < due:
                running.append(ensureDeferred(one()))
                sent += 1
            asked = time.monotonic()
            await router.status("/healthz", 1)
            health.append(since(asked))
            await soon(0.01)
        await gatherResults(running)
    served = [ms for status, ms, _later in seen if status == 200]  # noqa: PLR2004
    excess = [(ms, later) for status, ms, later in seen if status == 503]  # noqa: PLR2004
    late = sorted(ms for ms, _later in excess)
    lab.notes["overload"] = {
        "offered a second": capacity * _OFFERED,
        "goodput of capacity": round(len(served) / seconds / capacity, 2),
        "refused": len(excess),
        "refusal p99 ms": round(late[len(late) * 99 // 100], 1) if late else None,
        "healthz max ms": round(max(health), 1),
    }
    return {
        "goodput of capacity": round(len(served) / seconds / capacity, 2),
        "others": len(seen) - len(served) - len(excess),
        "refused": len(excess),
        "all with Retry-After": all(later for _ms, later in excess),
        "refusal p99 ms": round(late[len(late) * 99 // 100], 1) if late else None,
        "healthz max ms": round(max(health), 1),
    }


async def _unauthorized(lab: Lab) -> Facts:
    async with lab.router("authorized", {"REQUIRE_AUTHORIZATION": "true"}) as router:
        name = lab.upstream.bind(GOOD)
        client = await opened(router)
        wire = request(chat_body(name))
        bare = b"\r\n".join(
            line for line in wire.split(b"\r\n") if not line.startswith(b"Authorization")
        )
        headers = bare.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        client.send(headers)
        await client.until_answered(1)
        answer = client.answer
        code = (answer.error or {}).get("code") if answer else None
        client.leave()
        (with_token,) = await _streaming(lab, router, GOOD, 1)
        await with_token.until_answered(2)
        return {
            "status": answer.status if answer else None,
            "code": code,
            "asked": len(lab.upstream.asked[name]),
            "with a token": str(with_token.end),
        }


ROWS: tuple[Scenario, ...] = (
    Scenario(
        row="43",
        name="SIGTERM with streams open",
        expected={
            "listener closed ms": at_most(100),
            "idle connection closed": True,
            "streams cut that would have ended": 0,
            "cut before the grace was over": 0,
            "the rest": ["cut by FIN"],
            "exit ms": Between(_GRACE * 1000 - 100, _GRACE * 1000 + 1000),
            "broken after ms": Between(_GRACE * 1000 - 100, _GRACE * 1000 + 500),
            "exit code": True,
        },
        look=_drains,
        alone=True,
    ),
    Scenario(
        row="43",
        name="SIGTERM with a readiness lag",
        expected={
            "readyz": 503,
            "code": "draining",
            "still served": "clean",
            "listener closed ms": Between(_LAG * 1000 - 20, _LAG * 1000 + 100),
            "streams": ["clean", "clean"],
        },
        look=_lags,
        alone=True,
    ),
    Scenario(
        row="43",
        name="a second SIGTERM",
        expected={
            "waits after the first": True,
            "exit ms after the second": at_most(500),
            "streams whole": 0,
        },
        look=_forced,
        starts=True,
    ),
    Scenario(
        row="44",
        name="1,000 connections, 256 descriptors",
        expected={
            "alive": True,
            "share of a processor": at_most(0.2),
            "recovers within ms": at_most(2000),
            "log lines a second": at_most(1),
        },
        look=_crowded,
        alone=True,
    ),
    Scenario(
        row="44",
        name="five times the capacity",
        expected={
            "goodput of capacity": Between(0.9, 1.3),
            "others": 0,
            "refused": Between(1, 1e6),
            "all with Retry-After": True,
            "refusal p99 ms": at_most(50),
            "healthz max ms": at_most(100),
        },
        look=_overloaded,
        alone=True,
    ),
    Scenario(
        row="auth",
        name="no token where one is required",
        expected={
            "status": 401,
            "code": "missing_authorization",
            "asked": 0,
            "with a token": "clean",
        },
        look=_unauthorized,
        starts=True,
    ),
)
