"""The bench: gateways side by side before one upstream, what each costs and how long it takes."""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# The scripts find each other by their folders.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import programs
from lab_certificates import Certificates
from ours import Autopilot, Direct, files
from peer import Peer
from peers import PEERS, upstream_files
from plots import draw
from processes import ROOT
from programs import HOME
from report import between, in_readme, page
from results import SEVERAL, Results
from scaling import BEGIN, END, sums
from surveyed import survey
from visits import QUICK_LEAVES_OUT, Account, Plan, Progress, Visits, chosen, install

PAGE = "BENCHMARKS.md"
SCALING = "SCALING.md"
FOLDER = "benchmarks"

_ROUNDS, _QUICK_ROUNDS = 3, 2
_SECONDS, _QUICK_SECONDS = 3.0, 1.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code is 0 when there is a report."""
    options = _options(arguments)
    if options.render:
        _write(json.loads(_raw_of(options.into).read_text(encoding="utf-8")), options.into)
        return 0
    several = replace(options.router, name=SEVERAL, workers=2)
    everybody: tuple[Peer, ...] = (Direct(), options.router, several, *PEERS)
    try:
        peers = chosen(everybody, options.only)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    progress = Progress()
    progress.say("compiling, installing")
    programs.build()
    meta = {
        **survey(options.router),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "only": options.only,
        "left_out": QUICK_LEAVES_OUT if options.quick else "",
    }
    accounts = install(peers, progress)
    plan = Plan(rounds=options.rounds, seconds=options.seconds, quick=options.quick)
    _measure(accounts, plan)
    raw = {"meta": meta, "peers": {each.peer.name: each.raw() for each in accounts}}
    _write(raw, options.into)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under five minutes, fewer figures")
    parser.add_argument("--only", metavar="NAME[,NAME]", default="", help="these gateways")
    parser.add_argument("--seconds", type=float, help="length of a window")
    parser.add_argument("--rounds", type=int, help="how often each figure is taken")
    parser.add_argument(
        "--render",
        action="store_true",
        help="write the report of the last run again, measure nothing",
    )
    parser.add_argument(
        "--into", type=Path, metavar="DIR", help="write there, and leave report and README alone"
    )
    parser.add_argument(
        "--router",
        type=lambda path: Autopilot(checkout=Path(path).resolve()),
        default=Autopilot(),
        metavar="DIR",
        help="a checkout of the router to measure instead of this one",
    )
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (_QUICK_ROUNDS if options.quick else _ROUNDS)
    options.seconds = options.seconds or (_QUICK_SECONDS if options.quick else _SECONDS)
    return options


def _measure(accounts: Sequence[Account], plan: Plan) -> None:
    answers = upstream_files() | files()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        certificates = Certificates(folder)
        server = folder / "server.pem"
        server.write_bytes(certificates.pem("good"))
        plain, tls = (
            stack.enter_context(
                programs.upstream(
                    files=answers,
                    certificate=server if name == "tls" else None,
                    ca=certificates.authority if name == "tls" else None,
                    log=HOME / "logs" / f"upstream-{name}.log",
                )
            )
            for name in ("plain", "tls")
        )
        Visits(accounts, plain, tls, plan).run()


def _folder(into: Path | None) -> Path:
    return ROOT / "research" if into is None else into


def _raw_of(into: Path | None) -> Path:
    return _folder(into) / FOLDER / "raw.json"


def _write(raw: dict[str, Any], into: Path | None) -> None:
    account, folder = _raw_of(into), _folder(into)
    account.parent.mkdir(parents=True, exist_ok=True)
    account.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    results = Results(raw)
    plots = draw(results, account.parent)
    (folder / PAGE).write_text(page(results, plots, FOLDER), encoding="utf-8")
    print(f"written: {folder / PAGE}")
    if into is None:
        readme = ROOT / "README.md"
        readme.write_text(in_readme(readme.read_text(encoding="utf-8"), results), encoding="utf-8")
        scaling = folder / SCALING
        text = between(scaling.read_text(encoding="utf-8"), BEGIN, sums(results), END)
        scaling.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
