"""Client runs: every fault before every client, at once where that may be, in one run of the reactor.

The upstream lives in this process, so the clients, which block, have threads; the asynchronous SDK has
one thread, and in it a loop for all that it asks.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from lab_bench import CANARIES, Lab, Router, new_upstream, until
from lab_client import soon
from lab_exchange import GOOD, SECOND, SECOND_JSON
from lab_facts import QUICK
from openai import AsyncOpenAI, OpenAI
from processes import HOST
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from autopilot.simulator.misbehaving.answers import refusal
from autopilot.simulator.misbehaving.steps import Fin, Script, Send
from autopilot.simulator.misbehaving.upstream import Asked, MisbehavingUpstream
from tests.lab.client_faults import DRAINED, ELSEWHERE, FAULTS, GZIP, OVERDUE, Fault
from tests.lab.real_clients import Saw, ask_async_sdk, ask_curl, ask_sdk, async_sdk, sdk

SDK, ASYNC_SDK = "sdk", "async sdk"
CURLS: Mapping[str, tuple[str, ...]] = {
    "curl": ("--http1.1",),
    "curl, HTTP/1.0": ("--http1.0",),
    "curl, decoding": ("--http1.1", "--compressed"),
}
DECODING = "curl, decoding"

ROOMY: Mapping[str, str] = {
    "UPSTREAM_HEADER_TIMEOUT_MS": "2500",
    "UPSTREAM_COMPLETION_TIMEOUT_MS": "2500",
    "UPSTREAM_FIRST_BODY_BYTE_TIMEOUT_MS": "2500",
    "STREAM_IDLE_TIMEOUT_MS": "2000",
    "CLIENT_HEADER_TIMEOUT_MS": "10000",
    "CLIENT_BODY_TIMEOUT_MS": "10000",
    "CLIENT_STALL_TIMEOUT_MS": "20000",
    # A connection of the SDK that the router closes just as it is used again would be another fault.
    "KEEPALIVE_TIMEOUT_MS": "60000",
}
"""Longer than the lab's deadlines: hundreds of exchanges run at once, and wait for theirs together."""

_THREADS = 16
_IN_LOOP = 12
_TRIES = 20
_OVER_SECONDS = 10.0
_NAMES = 6_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Run:
    """One fault and one client."""

    fault: Fault
    client: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the client saw, and what the upstream was asked: of the first candidate, and of the second."""

    saw: Saw
    first: Sequence[Asked]
    second: Sequence[Asked]


@dataclass(slots=True, kw_only=True, repr=False)
class Observed:
    """Everything that was seen. `elsewhere`: the requests that followed a redirect."""

    outcomes: dict[Fault, dict[str, Outcome]] = field(default_factory=dict)
    elsewhere: list[Asked] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    canaries: set[str] = field(default_factory=set)


def runs() -> list[Run]:
    """Each fault with each client that has something to say about it."""
    return [
        Run(fault, client)
        for fault in (*FAULTS, OVERDUE, DRAINED)
        for client in (SDK, ASYNC_SDK, *CURLS)
        if client != DECODING or fault.verdict.encoding == GZIP
    ]


class Elsewhere(MisbehavingUpstream):
    """Another host, which refuses what it is asked, and remembers it."""

    def __init__(self, visits: list[Asked]) -> None:
        super().__init__((), clock=cast("Any", reactor), now=time.monotonic)
        self._visits = visits

    def script_for(self, asked: Asked) -> Script:
        """See `MisbehavingUpstream`."""
        self._visits.append(asked)
        return (Send(refusal(403, "Nobody is known here.")), Fin())


class Bench:
    """The lab's upstream, and threads for the clients."""

    def __init__(self, lab: Lab, pool: ThreadPool) -> None:
        self.upstream = lab.upstream
        self.observed = Observed()
        self._lab = lab
        self._pool = pool

    @asynccontextmanager
    async def router(self, name: str, settings: Mapping[str, str]) -> AsyncIterator[Router]:
        """A router of the lab, whose log is looked at in the end."""
        async with self._lab.router(name, {**ROOMY, **settings}) as router:
            yield router
        self.observed.complaints += router.complaints()
        log = router.process.output()
        self.observed.canaries |= {word for word in CANARIES if word in log}

    async def together(self, router: Router, wanted: Sequence[Run]) -> None:
        """All of these at once."""
        named = [(run, *self._named(run.fault)) for run in wanted]
        waits = self._answers(router, [(run, model) for run, _first, _second, model in named])
        for (run, first, second, _model), saw in zip(named, await waits, strict=True):
            asked = self.upstream.asked
            outcome = Outcome(saw=saw, first=asked[first], second=asked[second])
            self.observed.outcomes.setdefault(run.fault, {})[run.client] = outcome

    async def alone(self, router: Router, run: Run) -> None:
        """This one, and no other before its upstream has done all that it has to do."""
        for _ in range(_TRIES if run.fault.first else 1):
            if run.fault.first:
                ready = self.upstream.bind(GOOD)
                await self._answers(router, [(run, ready)])
            await self.together(router, [run])
            asked = self.observed.outcomes[run.fault][run.client].first
            await until(partial(_over, asked), _OVER_SECONDS)
            if asked and asked[0].reused:
                return

    def _named(self, fault: Fault) -> tuple[str, str, str]:
        """A name for each candidate, and what the client has to ask for."""
        case = fault.case
        first = self.upstream.bind(case.play)
        second = self.upstream.bind(SECOND if case.streams else SECOND_JSON)
        return first, second, f"{first},{second}" if case.second else first

    async def _answers(self, router: Router, asks: Sequence[tuple[Run, str]]) -> list[Saw]:
        """What came of each, in order."""
        looped = [ask for ask in asks if ask[0].client == ASYNC_SDK]
        with sdk(router.port) as client:
            # The loop first: it has to have a thread before the others have taken them all.
            in_loop = self._thread(_in_a_loop, router.port, looped) if looped else succeed([])
            blocking = [
                self._thread(_blocking, client, router.port, run, model)
                for run, model in asks
                if run.client != ASYNC_SDK
            ]
            others = iter(await gatherResults(blocking, consumeErrors=True))
            loops = iter(await in_loop)
        return [next(loops if run.client == ASYNC_SDK else others) for run, _model in asks]

    def _thread(self, function: Callable[..., T], *arguments: object) -> "Deferred[T]":
        return deferToThreadPool(cast("Any", reactor), self._pool, function, *arguments)


def _blocking(client: OpenAI, port: int, run: Run, model: str) -> Saw:
    streams = run.fault.case.streams
    if run.client == SDK:
        return ask_sdk(client, model, streams=streams)
    return ask_curl(port, model, *CURLS[run.client], streams=streams)


def _in_a_loop(port: int, asks: Sequence[tuple[Run, str]]) -> list[Saw]:
    async def everything() -> list[Saw]:
        slots = asyncio.Semaphore(_IN_LOOP)

        async def one(client: AsyncOpenAI, run: Run, model: str) -> Saw:
            async with slots:
                return await ask_async_sdk(client, model, streams=run.fault.case.streams)

        async with async_sdk(port) as client:
            return list(await asyncio.gather(*(one(client, *ask) for ask in asks)))

    return asyncio.run(everything())


def _over(asked: Sequence[Asked]) -> bool:
    return all(each.over is not None or each.connection.closed is not None for each in asked)


async def observe(folder: Path, wanted: Sequence[Run]) -> Observed:
    """Start what is needed, run, and stop it all."""
    async with _bench(folder) as bench:
        usual = [run for run in wanted if run.fault not in {OVERDUE, DRAINED}]
        if usual:
            await _usual(bench, usual)
        if overdue := [run for run in wanted if run.fault == OVERDUE]:
            async with bench.router(
                "overdue", {**_PATIENT, "REQUEST_TIMEOUT_MS": "1500"}
            ) as router:
                await bench.together(router, overdue)
        if drained := [run for run in wanted if run.fault == DRAINED]:
            async with bench.router("drained", {**_PATIENT, "DRAIN_GRACE_MS": "300"}) as router:
                await _drain(bench, router, drained)
    return bench.observed


_PATIENT: Mapping[str, str] = {"STREAM_IDLE_TIMEOUT_MS": "60000"}


@asynccontextmanager
async def _bench(folder: Path) -> AsyncIterator[Bench]:
    upstream = new_upstream(free=_NAMES)
    listen = cast("Any", reactor).listenTCP
    here = listen(0, upstream, backlog=1024, interface=HOST)
    port = here.getHost().port
    pool = ThreadPool(minthreads=0, maxthreads=_THREADS, name="clients")
    bench = Bench(Lab(upstream=upstream, upstream_port=port, level=QUICK, logs=folder), pool)
    there = listen(port, Elsewhere(bench.observed.elsewhere), interface=ELSEWHERE)
    pool.start()
    try:
        yield bench
        await until(lambda: not upstream.connections, _OVER_SECONDS)
    finally:
        pool.stop()
        await gatherResults([here.stopListening(), there.stopListening()])


async def _usual(bench: Bench, wanted: Sequence[Run]) -> None:
    async with bench.router("main", {}) as router:
        await bench.together(router, [run for run in wanted if not run.fault.alone])
        for run in wanted:
            if run.fault.alone:
                await bench.alone(router, run)


async def _drain(bench: Bench, router: Router, wanted: Sequence[Run]) -> None:
    before = set(bench.upstream.asked)
    running = ensureDeferred(bench.together(router, wanted))

    def begun() -> bool:
        asked = [a for name, log in bench.upstream.asked.items() if name not in before for a in log]
        return len(asked) == len(wanted) and _over(asked)

    await until(begun, _OVER_SECONDS)
    await soon(0.2)
    router.process.signal(signal.SIGTERM)
    await running
