"""Tries the selectors on a fleet in virtual time, and says how they did: see `research/SELECTION.md`."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from simulate_page import FIGURES, between, feed_words, overview, written
from simulate_plots import draw

from autopilot.simulator.fleet.crowd import Arrivals
from autopilot.simulator.fleet.grid import PROCESSES, Case, Grid, Results, carry_out
from autopilot.simulator.fleet.start import default_folder

STRATEGIES = ("capacity", "balanced", "latency", "random", "static", "oracle")
FULL_STRATEGIES = (*STRATEGIES[:3], "throughput", "cost", *STRATEGIES[3:])
FEEDS = (5.0, 60.0, 300.0, 1_800.0)
LOADS = (0.3, 0.7, 0.95)

ROUTERS = 8

SWEPT = ("capacity", "balanced", "latency", "random", "oracle")
SWEEP_LOAD, SWEEP_FEEDS = 0.7, (60.0, 1_800.0)
SWEEP_ROUTERS = (1, 64)

PAGE = Path(__file__).resolve().parents[1] / "research" / "SELECTION.md"
FOLDER = "selection"

_DIGITS = 6
_QUICK_SEEDS, _SEEDS = 3, 5
_QUICK_SECONDS, _SECONDS = 1_200.0, 2_400.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for."""
    options = _options(arguments)
    kept = options.json or PAGE.parent / FOLDER / "raw.json"
    if options.render:
        _render(Results(json.loads(kept.read_text(encoding="utf-8"))))
        return 0
    grid = Grid(
        strategies=options.strategies,
        feeds=options.feeds,
        loads=options.loads,
        seeds=range(options.seed, options.seed + options.seeds),
        routers=options.routers,
        share=options.share,
        seconds=options.seconds,
        arrivals=options.arrivals,
    )
    grids = [grid, *(_sweeps(grid) if options.full else ())]
    # Some of them are the same.
    experiments = tuple(dict.fromkeys(each for one in grids for each in one.experiments()))
    began = perf_counter()
    runs = carry_out(experiments, processes=options.processes, told=_progress)
    print(f"{len(runs)} runs in {perf_counter() - began:.0f} s", file=sys.stderr)
    raw = {"meta": _meta(options), "runs": runs}
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(_lines(raw), encoding="utf-8")
    _show(Results(raw), grid)
    return 0


def _sweeps(grid: Grid) -> tuple[Grid, Grid]:
    """Other numbers of routers, and bursts."""
    swept = replace(grid, strategies=SWEPT, feeds=SWEEP_FEEDS, loads=(SWEEP_LOAD,))
    return (
        replace(swept, routers=SWEEP_ROUTERS),
        replace(swept, routers=(ROUTERS,), arrivals=Arrivals.BURSTY),
    )


def _render(results: Results) -> None:
    plots = draw(results, PAGE.parent / FOLDER)
    pictures = [(f"{FOLDER}/{plot.file}", plot.title) for plot in plots]
    text = between(PAGE.read_text(encoding="utf-8"), written(results, pictures))
    PAGE.write_text(text, encoding="utf-8")
    print(f"written: {PAGE.name}")


def _lines(raw: dict[str, Any]) -> str:
    """As JSON, a run a line: a run that has changed is a line that has."""
    runs = ",\n".join(json.dumps(run | {"figures": _short(run["figures"])}) for run in raw["runs"])
    return f'{{"meta": {json.dumps(raw["meta"])}, "runs": [\n{runs}\n]}}\n'


def _short(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{figure:.{_DIGITS}g}") for name, figure in figures.items()}


def _show(results: Results, grid: Grid) -> None:
    for load in grid.loads:
        for routers in grid.routers:
            for feed in grid.feeds:
                cases = [
                    Case(
                        strategy=strategy,
                        feed=feed,
                        load=load,
                        routers=routers,
                        arrivals=grid.arrivals.value,
                    )
                    for strategy in grid.strategies
                ]
                print(f"\nload {load}, feed every {feed_words(feed)}, {routers} routers\n")
                print(overview(results, cases, list(FIGURES)))


def _meta(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "strategies": options.strategies,
        "feeds": options.feeds,
        "loads": options.loads,
        "routers": options.routers,
        "arrivals": options.arrivals,
        "share": options.share,
        "sweep_load": SWEEP_LOAD,
        "seeds": options.seeds,
        "seed": options.seed,
        "seconds": options.seconds,
        "start": default_folder().name,
    }


def _progress(done: int, whole: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done}/{whole} ", end="", file=sys.stderr, flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulate.py", description=__doc__)
    parser.add_argument("--full", action="store_true", help="longer, with more seeds, and sweeps")
    parser.add_argument("--strategies", type=_words, metavar="NAME[,NAME]")
    parser.add_argument(
        "--feeds", type=_numbers, default=FEEDS, metavar="S[,S]", help="seconds between batches"
    )
    parser.add_argument("--loads", type=_numbers, default=LOADS, metavar="L[,L]")
    parser.add_argument("--routers", type=_wholes, default=(ROUTERS,), metavar="N[,N]")
    parser.add_argument(
        "--arrivals", type=Arrivals, default=Arrivals.POISSON, choices=list(Arrivals)
    )
    parser.add_argument(
        "--share", type=float, default=0.5, help="of the load, what comes through the routers"
    )
    parser.add_argument("--seed", type=int, default=1, help="the first of the seeds")
    parser.add_argument("--seeds", type=int, help="how many of them")
    parser.add_argument("--seconds", type=float, help="virtual seconds that are counted")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures of every run")
    parser.add_argument(
        "--render",
        action="store_true",
        help="run nothing: write tables and pictures of research/SELECTION.md from what was kept",
    )
    options = parser.parse_args(arguments)
    options.strategies = options.strategies or (FULL_STRATEGIES if options.full else STRATEGIES)
    options.seeds = options.seeds or (_SEEDS if options.full else _QUICK_SEEDS)
    options.seconds = options.seconds or (_SECONDS if options.full else _QUICK_SECONDS)
    return options


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.split(","))


def _wholes(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
