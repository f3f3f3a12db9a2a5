"""Verify live: asks the real platform a few questions, and keeps the answers as sanitised fixtures.

The key is read from CHUTES_API_KEY and is written nowhere. About ten requests, spaced, ended by the first
429. Over treq, as the product sends: what is verified is then what the router would have seen. Exit
codes: 0 all was answered, 1 the key would have been written, 2 wrong use, 3 ended early by a 429,
4 something was not answered.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from live_findings import NoMarkersError, update
from live_plan import OPENING, Face, Subjects, later_steps
from live_run import Course, Run
from live_sanitise import Sanitiser
from live_store import LeakError, Store, load
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from autopilot.connection_pool import ConnectionPool
from autopilot.http_client import make_client

ROOT = Path(__file__).resolve().parent.parent
VARIABLE = "CHUTES_API_KEY"

_OUT = ROOT / "testdata" / "chutes_live"
_MATRIX = ROOT / "research" / "COVERAGE_MATRIX.md"
_LOCAL = {"127.0.0.1", "::1", "localhost"}
_KEY = re.compile(r"[\x21-\x7e]{16,200}")
_CONNECT_SECONDS = 10.0
_LEAST_PAUSE = 1.0
"""Seconds. The platform allows 60 requests a minute for each user, and for all who ask for evidence."""

_DONE, _LEAK, _MISUSE, _LIMITED, _UNANSWERED = 0, 1, 2, 3, 4


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="verify_live.py", description=__doc__)
    parser.add_argument("--base-url", type=_url, default="https://llm.chutes.ai")
    parser.add_argument("--api-url", type=_url, default="https://api.chutes.ai")
    parser.add_argument("--out", type=Path, default=_OUT)
    parser.add_argument("--matrix", type=Path, default=_MATRIX)
    parser.add_argument("--model", help="the model to chat with instead of the best ranked")
    parser.add_argument("--pause", type=_pause, default=2.0, help="seconds between requests")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and ask nothing")
    return parser.parse_args(arguments)


def _url(text: str) -> str:
    parts = urlsplit(text)
    local = parts.hostname in _LOCAL
    # A key must not cross a network in the clear.
    if not parts.hostname or parts.scheme not in ({"http", "https"} if local else {"https"}):
        raise argparse.ArgumentTypeError("must be an https URL, or http on this machine")
    if parts.username or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError("must have no user, query or fragment")
    return text.rstrip("/")


def _pause(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not _LEAST_PAUSE <= seconds <= 60.0:  # noqa: PLR2004 - a minute is as polite as it gets
        raise argparse.ArgumentTypeError(f"must be {_LEAST_PAUSE:g} to 60 seconds")
    return seconds


def _print_plan(options: argparse.Namespace) -> None:
    urls = {Face.LLM: options.base_url, Face.API: options.api_url}
    subjects = Subjects(model=options.model or "(best ranked)", tee="{id}", other="{id}")
    for step in (*OPENING, *later_steps(subjects)):
        print(f"{step.method:4} {urls[step.face]}{step.path}  {step.name}, key: {step.key}")
    print(f"{options.pause:g} s between requests; the first 429 ends the run.")
    print(f"Writes to {options.out} and {options.matrix}.")


async def _run(reactor: Any, options: argparse.Namespace, key: str) -> None:
    pool = ConnectionPool(reactor, max_idle=1, connect_timeout=_CONNECT_SECONDS)
    # Not compressed: what is captured is then what the router relays.
    client = make_client(reactor, pool, accept_encoding=b"identity", retried=lambda: None)
    store = Store(options.out, key)
    run = Run(
        client=client,
        clock=reactor,
        urls={Face.LLM: options.base_url, Face.API: options.api_url},
        key=key,
        model=options.model,
        pause=options.pause,
        date=datetime.now(UTC).date().isoformat(),
        store=store,
        sanitiser=Sanitiser(key),
        say=lambda text: print(text, flush=True),
    )
    try:
        course = await run.perform()
    except LeakError as error:
        print(error, file=sys.stderr)
        raise SystemExit(_LEAK) from None
    finally:
        pool.closeCachedConnections()
        update(options.matrix, store.fixtures.values())
    if course is Course.UNANSWERED:
        print("Not everything was answered: the fixtures of the rest are as they were.")
        raise SystemExit(_UNANSWERED)
    if course is Course.LIMITED:
        print("A 429 ended the run early: nothing more is asked. Try again another day.")
        raise SystemExit(_LIMITED)


def main(arguments: Sequence[str]) -> NoReturn:
    """Plan or run, and end the process."""
    options = _options(arguments)
    if options.dry_run:
        _print_plan(options)
        sys.exit(_DONE)
    key = os.environ.get(VARIABLE, "")
    if not _KEY.fullmatch(key):
        print(f"{VARIABLE} must hold a key: 16 to 200 visible ASCII characters.", file=sys.stderr)
        sys.exit(_MISUSE)
    aimed = {urlsplit(url).hostname for url in (options.base_url, options.api_url)}
    if aimed & _LOCAL and not {options.out, options.matrix}.isdisjoint({_OUT, _MATRIX}):
        print("What this machine answers is not live: give --out and --matrix.", file=sys.stderr)
        sys.exit(_MISUSE)
    try:
        # Before anything is asked: a document that cannot be written would cost the whole run.
        update(options.matrix, load(options.out).values())
    except (NoMarkersError, OSError) as error:
        print(f"--matrix: {error}", file=sys.stderr)
        sys.exit(_MISUSE)
    react(lambda reactor: Deferred.fromCoroutine(_run(reactor, options, key)))


if __name__ == "__main__":
    main(sys.argv[1:])
