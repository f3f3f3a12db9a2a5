"""Rows 1, 2 and 4, and the pool: an upstream that cannot be reached, or hangs up between requests."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from lab_bench import RUN, Lab, chat_body, deadline, opened, request, request_id
from lab_certificates import Certificates
from lab_client import soon
from lab_exchange import GOOD, GOOD_STREAM, Case, exchange, refused, since
from lab_facts import DEFAULT, FULL, QUICK, Between, Facts, Scenario, at_most
from lab_wire import End
from processes import HOST, free_ports
from twisted.internet import reactor
from twisted.internet.defer import DeferredSemaphore, ensureDeferred, gatherResults
from twisted.internet.protocol import Factory, Protocol

from autopilot.simulator.misbehaving.steps import CloseWhenIdle
from autopilot.simulator.misbehaving.upstream import MisbehavingUpstream

_QUEUE = 16
_SELDOM = 0.5


async def _refuses(lab: Lab, *, second: bool) -> Facts:
    (port,) = free_ports(1)
    async with lab.router(
        f"refused-{second}", {"BACKEND_BASE_URL": f"http://{HOST}:{port}"}
    ) as router:
        facts = await exchange(lab, Case(play=GOOD, second=second), router)
        return {
            **facts,
            "origin failures": await router.metric("autopilot_origin_failures_total"),
            "resting": await router.metric("autopilot_resting_models"),
        }


@contextmanager
def _blackhole() -> Iterator[int]:
    """A port whose queue of connections is full: a SYN to it is never answered."""
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen(0)
        waiting = []
        for _ in range(_QUEUE):
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(listening.getsockname())
            waiting.append(each)
        time.sleep(0.05)
        try:
            yield int(listening.getsockname()[1])
        finally:
            for each in waiting:
                each.close()


async def _hole(lab: Lab, *, second: bool) -> Facts:
    with _blackhole() as port:
        settings = {"BACKEND_BASE_URL": f"http://{HOST}:{port}"}
        async with lab.router(f"hole-{second}", settings) as router:
            return await exchange(lab, Case(play=GOOD, second=second), router)


async def _leaves_while_connecting(lab: Lab) -> Facts:
    with _blackhole() as port:
        settings = {
            "BACKEND_BASE_URL": f"http://{HOST}:{port}",
            "UPSTREAM_CONNECT_TIMEOUT_MS": "20000",
        }
        async with lab.router("hole-leaves", settings) as router:
            name, other = lab.upstream.bind(GOOD), lab.upstream.bind(GOOD)
            rid = request_id()
            client = await opened(router)
            client.send(request(chat_body(f"{name},{other}"), rid=rid))
            await soon(0.1)
            carried = await router.metric("autopilot_requests_in_progress")
            left = time.monotonic()
            client.leave()
            line = await router.log_of(rid) or {}
            ms = since(left)
            return {
                "in progress": carried,
                "over after ms": round(ms),
                "attempts": len(line.get("attempts", ())),
            }


class _Silent(Protocol):
    """Accepts, and never says a word."""


async def _tls(lab: Lab, kind: str, *, second: bool) -> Facts:
    certificates = Certificates(RUN / "certificates")
    loop = cast("Any", reactor)
    served = MisbehavingUpstream((), clock=loop, now=time.monotonic)
    if kind == "stall":
        port = loop.listenTCP(0, Factory.forProtocol(_Silent), interface=HOST)
    else:
        port = loop.listenSSL(0, served, certificates.options(kind), interface=HOST)
    settings = {
        "BACKEND_BASE_URL": f"https://localhost:{port.getHost().port}",
        "SSL_CERT_FILE": str(certificates.authority),
    }
    try:
        async with lab.router(f"tls-{kind}-{second}", settings) as router:
            case = Case(play=GOOD, sent=GOOD_STREAM, second=second)
            if kind == "good":
                served.plays = cast("Any", _Everything())
            facts = await exchange(lab, case, router)
            warned = [
                line
                for line in router.process.output().splitlines()
                if '"level": "warn"' in line or '"level": "error"' in line
            ]
            return {
                **facts,
                "request bytes": served.received,
                "logged as configuration": bool(warned),
            }
    finally:
        await port.stopListening()


class _Everything(dict[str, object]):
    """Plays the good answer to whatever is asked."""

    def get(self, _key: object, _default: object = None) -> object:
        return GOOD


_ORIGIN = {"U1 asked": 0, "U2 asked": 0}


def _unreachable() -> list[Scenario]:
    connect = deadline("UPSTREAM_CONNECT_TIMEOUT") * 1000
    rows = []
    for second, attempts, name in ((False, 1, "last"), (True, 2, "U2 left")):
        tried = {"attempts": attempts, **_ORIGIN}
        rows += [
            Scenario(
                row="1",
                name=f"connection refused, {name}",
                expected={
                    **refused(502, "upstream_connect_error"),
                    **tried,
                    "ms": at_most(150 * attempts),
                    "origin failures": float(attempts),
                    "resting": 0.0,
                },
                look=partial(_refuses, second=second),
                starts=True,
            ),
            Scenario(
                row="2",
                name=f"SYN blackhole, {name}",
                expected={
                    **refused(504, "upstream_connect_timeout"),
                    **tried,
                    "ms": Between(connect * attempts - 200, connect * attempts + 200),
                },
                look=partial(_hole, second=second),
                starts=True,
            ),
        ]
    return rows


def _secured() -> list[Scenario]:
    rows = [
        Scenario(
            row="4",
            name="TLS as it should be",
            expected={"status": 200, "end": str(End.CLEAN), "body": "as sent"},
            look=partial(_tls, kind="good", second=False),
            starts=True,
        )
    ]
    connect = deadline("UPSTREAM_CONNECT_TIMEOUT") * 1000
    for kind in ("untrusted", "expired", "wrong name", "stall"):
        for second, attempts in ((False, 1), (True, 2)):
            expected = {
                **(
                    refused(504, "upstream_connect_timeout")
                    if kind == "stall"
                    else refused(502, "upstream_connect_error")
                ),
                "attempts": attempts,
                "request bytes": 0,
                **(
                    {"ms": Between(connect * attempts - 200, connect * attempts + 250)}
                    if kind == "stall"
                    else {"logged as configuration": True}
                ),
            }
            rows.append(
                Scenario(
                    row="4",
                    name=f"TLS, {kind}, {'U2 left' if second else 'last'}",
                    expected=expected,
                    look=partial(_tls, kind=kind, second=second),
                    starts=True,
                    least=QUICK if kind == "untrusted" and not second else DEFAULT,
                )
            )
    return rows


async def _hangs_up(lab: Lab, seconds: float) -> Facts:
    """POSTs while the upstream closes each connection that has been idle for so long."""
    number = {QUICK: 100, DEFAULT: 1250, FULL: 5000}[lab.level]
    slots = DeferredSemaphore(8)
    wrong: list[str] = []
    before = lab.upstream.accepted

    async def one() -> None:
        name = lab.upstream.bind((*GOOD, CloseWhenIdle(seconds)))
        client = await opened(lab.main)
        client.send(request(chat_body(name)))
        await client.until_answered()
        answer = client.answer
        if answer is None or answer.body != GOOD_STREAM or client.end is not End.CLEAN:
            wrong.append(f"{answer.status if answer else None} {client.end}")
        client.leave()
        lab.upstream.unbind(name)

    def begin(_n: int) -> object:
        return ensureDeferred(one())

    retries = await lab.main.metric("autopilot_stale_connection_retries_total")
    if seconds < _SELDOM:
        await gatherResults([slots.run(begin, n) for n in range(number)])
    else:
        # In waves, so that connections are idle for as long as that, a little less or more.
        number = 8 * (waves := {QUICK: 2, DEFAULT: 10, FULL: 40}[lab.level])
        for wave in range(waves):
            await gatherResults([slots.run(begin, n) for n in range(8)])
            await soon(seconds + (wave % 5 - 2) / 1000)
    retried = await lab.main.metric("autopilot_stale_connection_retries_total") - retries
    connections = lab.upstream.accepted - before
    lab.notes[f"hangs up after {seconds * 1000:g} ms"] = {
        "POSTs": number,
        "errors": len(wrong),
        "silent retries": retried,
        "connections": connections,
    }
    return {"errors": len(wrong), "which": sorted(set(wrong)), "POSTs": number}


ROWS: tuple[Scenario, ...] = (
    *_unreachable(),
    Scenario(
        row="25",
        name="the client leaves while connecting",
        expected={"in progress": 1.0, "over after ms": at_most(100), "attempts": 1},
        look=_leaves_while_connecting,
        starts=True,
    ),
    *_secured(),
    *(
        Scenario(
            row="pool",
            name=f"upstream hangs up after {seconds * 1000:g} ms idle",
            expected={"errors": 0, "which": []},
            look=partial(_hangs_up, seconds=seconds),
            alone=True,
        )
        for seconds in (0, 0.001, 0.005, 1.0)
    ),
)
