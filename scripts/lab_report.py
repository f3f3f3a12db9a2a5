"""The scorecard: on the screen, as `logs/lab/latest.json`, and as a page with the numbers to reach."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lab_bench import LOGS
from lab_facts import Facts, Result, differences, worded
from processes import ROOT

from autopilot import __version__

LATEST = LOGS / "latest.json"
SCORECARD = ROOT / "research" / "FAULT_SCORECARD.md"
LEVELS = ("--quick", "default", "--full")


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What the wire cannot show with one shared origin: where it is shown."""

    row: str
    name: str
    shown: str


def show(result: Result) -> None:
    """One line, and a second for what deviates."""
    repeated = f" x{result.repeats}" if result.repeats > 1 else ""
    mark = "ok  " if result.ok else "FAIL"
    print(f"{mark} {result.row:>4} {result.ms:8.1f}  {result.name}{repeated}", flush=True)
    if not result.ok:
        expected = {name: result.expected.get(name) for name in result.deviating}
        print(f"{'expected':>19}  {worded(expected)}")
        print(f"{'seen':>19}  {worded(differences(result.expected, result.seen))}", flush=True)


def write_latest(
    results: Sequence[Result],
    elsewhere: Sequence[Elsewhere],
    notes: Mapping[str, object],
    *,
    level: int,
    seconds: float,
) -> bool:
    """Write the whole account for programs; whether all was as expected."""
    ok = bool(results) and all(result.ok for result in results)
    account = {
        "ok": ok,
        "version": __version__,
        "python": sys.version.split()[0],
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "level": LEVELS[level],
        "seconds": round(seconds, 1),
        "scenarios": [
            {
                "row": result.row,
                "name": result.name,
                "ok": result.ok,
                "ms": round(result.ms, 1),
                "repeats": result.repeats,
                "expected": _plain(result.expected),
                "seen": _plain(result.seen),
                "deviating": result.deviating,
            }
            for result in results
        ],
        "elsewhere": [[each.row, each.name, each.shown] for each in elsewhere],
        "notes": notes,
    }
    LATEST.parent.mkdir(parents=True, exist_ok=True)
    LATEST.write_text(json.dumps(account, indent=1, default=str) + "\n", encoding="utf-8")
    return ok


def _plain(facts: Facts) -> dict[str, object]:
    plain = (bool, int, float, str, list, type(None))
    return {
        name: value if isinstance(value, plain) else str(value) for name, value in facts.items()
    }


def write_scorecard(
    results: Sequence[Result],
    elsewhere: Sequence[Elsewhere],
    numbers: Sequence[tuple[str, str, str]],
    *,
    level: int,
    seconds: float,
) -> None:
    """Write the page: numbers to reach beside those measured, then every scenario."""
    bad = sum(not result.ok for result in results)
    lines = [
        "# Fault scorecard",
        "",
        "Written by `python scripts/lab.py --write-scorecard`; not by hand.",
        (
            f"Run: {LEVELS[level]}, {len(results)} scenarios, {bad} deviating, {seconds:.0f} s, "
            f"version {__version__}, Python {sys.version.split()[0]}."
        ),
        "",
        "## Numbers",
        "",
        "| topic | to reach | measured |",
        "| --- | --- | --- |",
        *(f"| {topic} | {cell(reach)} | {cell(measured)} |" for topic, reach, measured in numbers),
        "",
        "## Scenarios",
        "",
        "| row | scenario | | expected | seen | ms | times |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        seen = result.seen if not result.ok else {n: result.seen.get(n) for n in result.expected}
        lines.append(
            f"| {result.row} | {cell(result.name)} | {'ok' if result.ok else '**no**'} "
            f"| {cell(worded(result.expected))} "
            f"| {'as expected' if result.ok and _fixed(result) else cell(worded(seen))} "
            f"| {result.ms:.0f} | {result.repeats} |"
        )
    lines += ["", "## Shown elsewhere", "", "| row | what | where |", "| --- | --- | --- |"]
    lines += [f"| {each.row} | {cell(each.name)} | {each.shown} |" for each in elsewhere]
    SCORECARD.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _fixed(result: Result) -> bool:
    return all(result.seen.get(name) == value for name, value in result.expected.items())


def cell(text: str) -> str:
    """`text` as it stands in a cell of the page."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
