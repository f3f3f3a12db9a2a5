"""The run: starts everything, looks at every scenario, checks what must hold of all, and reports."""

import gc
import shutil
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import lab_report
from lab_bench import CANARIES, LOGS, Lab, start_upstream
from lab_client import soon
from lab_facts import DEFAULT, FULL, QUICK, Facts, Result, Scenario, deviations
from lab_numbers import numbers
from lab_rows import ELSEWHERE, SCENARIOS
from processes import free_ports
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredSemaphore, ensureDeferred, gatherResults
from twisted.python.failure import Failure

_AT_ONCE = 12
_STARTING_AT_ONCE = 4
_FAST_MS = 50.0
_GARBAGE = 20_000
_REPEATS = {QUICK: 5, DEFAULT: 100, FULL: 100}
_NAMES = 19_000
"""Names that are used in turn: as many as the router accepts in a catalogue. A model that failed is asked
last next time, but the router forgets all but the last thousand of them."""

SCENARIO_SECONDS = {QUICK: 30.0, DEFAULT: 120.0, FULL: 3600.0}
"""Longest a scenario may take before it counts as hung."""


def run_lab(
    level: int, only: frozenset[str], *, workers: int = 1, write_scorecard: bool = False
) -> int:
    """Run within the reactor; the exit code."""
    code = 1
    loop = cast("Any", reactor)

    async def everything() -> None:
        nonlocal code
        code = await _run(level, only, workers=workers, write_scorecard=write_scorecard)

    def stop(result: object) -> None:
        if isinstance(result, Failure):
            print(result.getTraceback())
        loop.stop()

    def begin() -> None:
        running = ensureDeferred(everything())
        running.addBoth(stop)
        # As for Ctrl-C: the routers are stopped on the way out.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: loop.callFromThread(running.cancel))

    loop.callWhenRunning(begin)
    loop.run()
    return code


async def _run(level: int, only: frozenset[str], *, workers: int, write_scorecard: bool) -> int:
    started = time.monotonic()
    # The lab's own pauses would be seen as the router's.
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    _forget_old_runs()
    (port,) = free_ports(1)
    upstream = start_upstream(port, free=_NAMES)
    lab = Lab(upstream=upstream, upstream_port=port, level=level, workers=workers)
    lab.notes["workers"] = workers
    chosen = [s for s in SCENARIOS if s.least <= level and (not only or s.row in only)]
    results: list[Result] = []
    print(f"{'':4} {'row':>4} {'ms':>8}  scenario")
    async with AsyncExitStack() as stack:
        lab.main = await stack.enter_async_context(lab.router("main"))
        await soon(0.3)
        steady = _unaccounted(lab)
        together = [s for s in chosen if not (s.alone or s.starts)]
        results += await _look_at_all(lab, together, _AT_ONCE)
        lab.notes["seconds: together"] = round(time.monotonic() - started, 1)
        results += await _repeat(lab, [r for r in results if r.ok], together)
        lab.notes["seconds: with repeats"] = round(time.monotonic() - started, 1)
        starting = [s for s in chosen if s.starts and not s.alone]
        results += await _look_at_all(lab, starting, _STARTING_AT_ONCE)
        lab.notes["seconds: with routers of their own"] = round(time.monotonic() - started, 1)
        for scenario in chosen:
            if scenario.alone:
                results.append(await _look(lab, scenario))
                lab_report.show(results[-1])
        results.append(await _look(lab, afterwards(steady)))
        lab_report.show(results[-1])
    results.append(await _look(lab, LEAKS))
    lab_report.show(results[-1])
    results = _merged(results)
    seconds = time.monotonic() - started
    ok = lab_report.write_latest(results, ELSEWHERE, lab.notes, level=level, seconds=seconds)
    if write_scorecard:
        lab_report.write_scorecard(
            results, ELSEWHERE, numbers(lab, results), level=level, seconds=seconds
        )
    bad = [result for result in results if not result.ok]
    print(f"\n{len(results)} scenarios, {len(bad)} deviating, {seconds:.1f} s")
    for result in bad:
        print(f"  {result.row:>4} {result.name}: {', '.join(result.deviating)}")
    return 0 if ok else 1


def _forget_old_runs() -> None:
    """Remove the logs of runs whose process is gone."""
    for folder in LOGS.glob("[0-9]*"):
        if not Path(f"/proc/{folder.name}").exists():
            shutil.rmtree(folder, ignore_errors=True)


async def _look_at_all(lab: Lab, scenarios: Iterable[Scenario], at_once: int) -> list[Result]:
    slots = DeferredSemaphore(at_once)

    async def one(scenario: Scenario) -> Result:
        result = await _look(lab, scenario)
        lab_report.show(result)
        return result

    def begin(scenario: Scenario) -> Deferred[Result]:
        return ensureDeferred(one(scenario))

    return list(await gatherResults([slots.run(begin, each) for each in scenarios]))


async def _look(lab: Lab, scenario: Scenario) -> Result:
    """Look, compare, and never raise; bounded in time."""
    started = time.monotonic()

    async def guarded() -> Facts:
        return await scenario.look(lab)

    looking = ensureDeferred(guarded())
    looking.addTimeout(SCENARIO_SECONDS[lab.level], cast("Any", reactor))
    try:
        seen = await looking
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was seen
        seen = {"error": f"{type(error).__name__}: {error}"}
    ms = (time.monotonic() - started) * 1000
    reported = seen.get("ms")
    return Result(
        row=scenario.row,
        name=scenario.name,
        expected=scenario.expected,
        seen=seen,
        ms=float(reported) if isinstance(reported, int | float) else ms,
        deviating=deviations(scenario.expected, seen),
    )


async def _repeat(lab: Lab, first: Sequence[Result], scenarios: Sequence[Scenario]) -> list[Result]:
    """Again and again what is fast; one result for each that tells the worst of it."""
    fast = {(r.row, r.name) for r in first if r.ms < _FAST_MS}
    repeated: list[Result] = []
    for scenario in scenarios:
        if not scenario.repeats or (scenario.row, scenario.name) not in fast:
            continue
        times = _REPEATS[lab.level] - 1
        # More processes share the same cores, and what is seen are milliseconds.
        slots = DeferredSemaphore(_AT_ONCE // lab.workers or 1)

        def begin(scenario: Scenario = scenario) -> Deferred[Result]:
            return ensureDeferred(_look(lab, scenario))

        again = await gatherResults([slots.run(begin) for _ in range(times)])
        worst = next((result for result in again if not result.ok), again[0])
        repeated.append(
            Result(
                row=worst.row,
                name=worst.name,
                expected=worst.expected,
                seen=worst.seen,
                ms=max(result.ms for result in again),
                repeats=times + 1,
                deviating=worst.deviating,
            )
        )
        if not worst.ok:
            lab_report.show(repeated[-1])
    return repeated


def _merged(results: Sequence[Result]) -> list[Result]:
    """One result for each scenario: the repeated one, where there is one."""
    last = {(result.row, result.name): result for result in results}
    return list(last.values())


def _unaccounted(lab: Lab) -> int:
    """The router's descriptors less its connections to the upstream: what must stay the same."""
    return lab.main.descriptors - len(lab.upstream.connections)


def afterwards(steady: int) -> Scenario:
    """What must hold once all is over; `steady`: the descriptors before, see `_unaccounted`."""

    async def look(lab: Lab) -> Facts:
        idle = await lab.main.idle()
        await soon(0.5)
        metrics = (await lab.main.get("/metrics") or b"").decode()
        # The metrics' own connection has to be gone before anything is counted.
        await soon(0.2)
        return {
            "in progress": 0 if idle else await lab.main.metric("autopilot_requests_in_progress"),
            "descriptors lost": _unaccounted(lab) - steady,
            "canaries in metrics": [word for word in CANARIES if word in metrics],
            "alive": lab.main.process.exit_code is None,
        }

    return Scenario(
        row="all",
        name="after all of them",
        expected={
            "in progress": 0,
            "descriptors lost": 0,
            "canaries in metrics": [],
            "alive": True,
        },
        look=look,
    )


async def _leaks(lab: Lab) -> Facts:
    logs = [router.process.output() for router in lab.routers]
    complaints = [line for router in lab.routers for line in router.complaints()]
    return {
        "canaries in logs": sorted({word for word in CANARIES for log in logs if word in log}),
        "complaints": len(complaints),
        "the first": complaints[:3],
    }


LEAKS = Scenario(
    row="all",
    name="the logs of every router",
    expected={"canaries in logs": [], "complaints": 0, "the first": []},
    look=_leaks,
)
"""What must hold of the logs once every router has stopped."""
