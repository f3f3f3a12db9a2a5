"""The smoke run: real processes, a real socket, and every scenario that a user meets, in seconds."""

import argparse
import json
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from processes import ROOT, free_ports, router, simulator
from smoke_client import Bench
from smoke_scenarios import (
    CHUNK_DELAY_MS,
    DRAIN_GRACE_MS,
    FIRST_BYTE_TIMEOUT_MS,
    HEADER_TIMEOUT_MS,
    SCENARIOS,
    START,
    Facts,
    Scenario,
)

from autopilot import __version__

LOGS = ROOT / "logs" / "smoke"
"""The report, `latest.json`, lies here beside the logs of both processes."""

CHUNKS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One scenario as the report shows it."""

    name: str
    expected: Facts
    seen: Facts
    ms: int
    ok: bool


def run(scenario: Scenario, bench: Bench) -> Result:
    """Look, compare, and never raise; ok is what was expected, and no error in the router's log."""
    known = len(bench.router.complaints())
    started = time.monotonic()
    try:
        if scenario is not START:
            bench.reset()
        seen = scenario.look(bench)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was seen
        seen = {"error": f"{type(error).__name__}: {error}"}
    ms = round((time.monotonic() - started) * 1000)
    expected = {**scenario.expected, "router's complaints": []}
    seen = {**seen, "router's complaints": bench.router.complaints()[known:]}
    return Result(name=scenario.name, expected=expected, seen=seen, ms=ms, ok=seen == expected)


def run_all(workers: int) -> list[Result]:
    """Start both, run every scenario, and leave nothing running."""
    upstream_port, router_port = free_ports(2)
    pace = (f"--chunks={CHUNKS}", f"--chunk-delay-ms={CHUNK_DELAY_MS}")
    settings = {
        "UPSTREAM_HEADER_TIMEOUT_MS": str(HEADER_TIMEOUT_MS),
        "UPSTREAM_FIRST_BODY_BYTE_TIMEOUT_MS": str(FIRST_BYTE_TIMEOUT_MS),
        "DRAIN_GRACE_MS": str(DRAIN_GRACE_MS),
        "WORKERS": str(workers),
    }
    with ExitStack() as stack:
        bench = Bench(
            simulator=stack.enter_context(simulator(upstream_port, *pace, log=LOGS)),
            router=stack.enter_context(router(router_port, upstream_port, LOGS, **settings)),
            simulator_port=upstream_port,
            router_port=router_port,
        )
        results = [run(START, bench)]
        _show(results[0])
        if not results[0].ok:
            for process in (bench.simulator, bench.router):
                print(f"\nThe end of {process.name}'s log:\n{process.tail()}")
            return results
        for scenario in SCENARIOS:
            results.append(run(scenario, bench))
            _show(results[-1])
    return results


def _show(result: Result) -> None:
    print(f"{'ok  ' if result.ok else 'FAIL'} {result.ms:6d}  {result.name:38}", end="")
    print(_worded(result.seen if result.ok else result.expected), flush=True)
    if not result.ok:
        print(f"{'seen':>49}  {_worded(result.seen)}", flush=True)


def _worded(facts: Facts) -> str:
    return ", ".join(
        f"{name}={json.dumps(value) if isinstance(value, list) else value}"
        for name, value in facts.items()
        if not (name == "router's complaints" and value == [])
    )


def _report(results: list[Result], path: Path, seconds: float, workers: int) -> bool:
    complete = len(results) == 1 + len(SCENARIOS)
    ok = complete and all(result.ok for result in results)
    report = {
        "ok": ok,
        "version": __version__,
        "python": sys.version.split()[0],
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
        "workers": workers,
        "not_run": 1 + len(SCENARIOS) - len(results),
        "scenarios": [asdict(result) for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return ok


def main() -> int:
    """Run it all; the exit code says whether all was ok."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="WORKERS; default 1")
    workers = parser.parse_args().workers
    # As for Ctrl-C: the children are stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report = LOGS / "latest.json"
    report.unlink(missing_ok=True)
    started = time.monotonic()
    print(f"{'':4} {'ms':>6}  {'scenario':38}expected, and seen where that differs")
    try:
        results = run_all(workers)
    except KeyboardInterrupt:
        print("\nStopped before the end.")
        return 130
    seconds = time.monotonic() - started
    ok = _report(results, report, seconds, workers)
    bad = sum(not result.ok for result in results)
    print(f"\n{len(results)} run, {bad} failed, {seconds:.1f} s; {report.relative_to(ROOT)}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
