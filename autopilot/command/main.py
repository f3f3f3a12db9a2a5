"""`autopilot rank`, `autopilot explain`, `autopilot check`: what is asked for, and the exit status.

Exit status 0: done, and all is well. 1: it could not be done, or something is not well. 2: it was not
understood. What went wrong is told on standard error; a traceback there is a fault of this program.
"""

import json
import os
import sys
import traceback
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.logger import globalLogBeginner

from autopilot import __version__
from autopilot.command.asking import (
    Asked,
    CommandError,
    from_files,
    from_platform,
    from_router,
)
from autopilot.command.checking import check_all, check_settings, shown_checks
from autopilot.command.showing import shown_candidates, shown_explanation
from autopilot.dataplane.account import Account
from autopilot.policy.headers import EXPLAIN_FOR
from autopilot.setting_values import base_url

React = Callable[[Callable[..., Coroutine[Any, Any, None]], Sequence[Any]], None]

_WELL, _NOT_WELL = 0, 1


def main(arguments: Sequence[str] | None = None, *, react: React | None = None) -> None:
    """Run the command and end the process. `react` runs what it is given, with its reactor."""
    told = _parser().parse_args(arguments)
    if told.command != "check":
        _must_agree(told)
    (react or _react)(_run, [told])


def _react(run: Any, arguments: Sequence[Any]) -> None:
    # What libraries log of a failure is told in other words, and would stand on standard error.
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
    task.react(run, arguments)


async def _run(reactor: Any, told: Namespace) -> None:
    commands = {"rank": _rank, "explain": _explain, "check": _check}
    try:
        status = await commands[told.command](reactor, told)
    except CommandError as error:
        print(f"autopilot: {error}", file=sys.stderr)  # noqa: T201 - see the module
        status = _NOT_WELL
    except BrokenPipeError:
        # Whoever reads has seen enough. Python would try once more at the end, and say so.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = _NOT_WELL
    except Exception:  # noqa: BLE001 - a fault of our own, which nobody else would tell
        traceback.print_exc()
        status = _NOT_WELL
    raise SystemExit(status)


async def _rank(reactor: Any, told: Namespace) -> int:
    account = await _account(reactor, told, Asked(selector=told.selector))
    _say(account, as_json=told.json, text=shown_candidates)
    return _WELL


async def _explain(reactor: Any, told: Namespace) -> int:
    fields = [*told.header]
    if told.with_key:
        key = os.environ.get("CHUTES_API_KEY", "").strip()
        if not key:
            raise CommandError("CHUTES_API_KEY is not set, whose place was to be looked up")
        fields.append((EXPLAIN_FOR, b"Bearer " + key.encode()))
    account = await _account(reactor, told, Asked(body=_body(told.body), fields=fields))
    _say(account, as_json=told.json, text=shown_explanation)
    return _WELL


async def _check(reactor: Any, told: Namespace) -> int:
    checks = await check_all(reactor, os.environ)
    well = all(each.ok for each in checks)
    if told.json:
        _print(json.dumps({"ok": well, "checks": [each.told() for each in checks]}, indent=2))
    else:
        _print(shown_checks(checks))
    return _WELL if well else _NOT_WELL


async def _account(reactor: Any, told: Namespace, asked: Asked) -> Account:
    if told.url is not None:
        token = os.environ.get("ADMIN_TOKEN", "").strip() or None
        return await from_router(reactor, told.url, asked, token=token)
    checks, settings, selectors = check_settings(os.environ)
    if settings is None or selectors is None:
        raise CommandError("\n".join(each.seen for each in checks if not each.ok))
    if told.models is not None:
        return await from_files(told.models, told.utilization, asked, settings, selectors)
    return await from_platform(reactor, asked, settings, selectors)


def _say(account: Account, *, as_json: bool, text: Any) -> None:
    _print(json.dumps(account, indent=2) if as_json else text(account))


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - this is the answer


def _body(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}") from None


def _must_agree(told: Namespace) -> None:
    """End with status 2 if the sources that were named do not go together."""
    problem = None
    if (told.models is None) is not (told.utilization is None):
        problem = "--models and --utilization go together"
    elif told.url is not None and told.models is not None:
        problem = "--url is another source than --models and --utilization"
    elif getattr(told, "with_key", False) and told.url is None:
        problem = "--with-key asks a router for a place, and needs --url"
    if problem is not None:
        told.parser.error(problem)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="autopilot", description="What a router knows, and what it would do."
    )
    parser.add_argument("--version", action="version", version=f"chutes-autopilot {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    rank = commands.add_parser("rank", help="the models in their order, with what it was made of")
    rank.add_argument("--selector", help="order by this one instead of SELECTOR", metavar="NAME")
    explain = commands.add_parser("explain", help="what would be done with a chat body, and why")
    explain.add_argument("body", help="a file with the JSON body, - for standard input")
    explain.add_argument(
        "--header",
        action="append",
        default=[],
        type=_field,
        metavar="NAME:VALUE",
        help="a header field that would come with it, such as x-chutes-autopilot-selector:latency",
    )
    explain.add_argument(
        "--with-key",
        action="store_true",
        help="look up the place of the client whose key is in CHUTES_API_KEY; needs --url",
    )
    check = commands.add_parser(
        "check", help="settings, connections, feeds and store: is all well?"
    )
    for each in (rank, explain):
        each.set_defaults(parser=each)
        source = each.add_argument_group(
            "source", "Without one, both feeds are fetched from where the settings say."
        )
        source.add_argument("--models", type=Path, metavar="FILE", help="a catalogue")
        source.add_argument("--utilization", type=Path, metavar="FILE", help="a feed")
        source.add_argument(
            "--url",
            type=_url,
            help="a router that explains itself; its ADMIN_TOKEN is read from the environment",
        )
    for each in (rank, explain, check):
        each.add_argument("--json", action="store_true", help="the whole account as JSON")
    return parser


def _url(text: str) -> str:
    try:
        return base_url(text)
    except ValueError:
        raise ArgumentTypeError("an http:// or https:// URL without query is expected") from None


def _field(text: str) -> tuple[bytes, bytes]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isascii() or not text.isprintable():
        raise ArgumentTypeError("NAME:VALUE in visible ASCII is expected")
    return name.strip().encode("ascii"), value.strip().encode("ascii")
