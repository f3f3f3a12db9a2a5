"""Rows 5 to 11: what goes wrong before the first byte of a body."""

from functools import partial

from lab_bench import Lab, chat_body, deadline, opened, request, request_id
from lab_exchange import (
    GOOD,
    GOOD_EVENTS,
    GOOD_STREAM,
    Case,
    answered,
    closes,
    exchange,
    failed_over,
    looker,
    refused,
)
from lab_facts import Between, Facts, Scenario, at_most

from autopilot.simulator.misbehaving.answers import EVENTS, chunks, head, streamed
from autopilot.simulator.misbehaving.steps import Fin, Pause, Repeat, Rst, Script, Send, Stall
from autopilot.simulator.misbehaving.upstream import Asked, Play

SOON_MS = 150
"""How long a failed attempt that nothing has to be waited for may take, with the good one after it."""

_KIB = 1024


def both(
    row: str, name: str, play: Play, *, last: Facts, first: Facts | None = None
) -> list[Scenario]:
    """A fault with a candidate left and without."""
    moved = {**failed_over(), **(first or {})}
    return [
        Scenario(
            row=row,
            name=f"{name}, U2 left",
            expected=moved,
            look=looker(Case(play=play), moved),
            repeats=True,
        ),
        Scenario(
            row=row,
            name=f"{name}, last",
            expected=last,
            look=looker(Case(play=play, second=False), last),
            repeats=True,
        ),
    ]


def _once_good(then: Script) -> Play:
    return lambda asked: then if asked.reused else GOOD


async def _reused(lab: Lab, play: Play, *, second: bool) -> Facts:
    """An exchange whose first attempt goes over a connection that was used before."""
    for _ in range(20):
        await exchange(lab, Case(play=GOOD, second=False))
        connections: list[Asked] = []

        def note(_lab: Lab, asked: list[Asked], seen: list[Asked] = connections) -> Facts:
            seen.extend(asked)
            return {}

        facts = await exchange(lab, Case(play=play, sent=GOOD_STREAM, second=second, then=note))
        if connections and connections[0].reused:
            fresh = [not each.reused for each in connections[1:]]
            return {**facts, "then asked over new connections": fresh}
    return {"error": "no connection was ever reused"}


def _stale() -> list[Scenario]:
    rows = []
    for name, step in (("FIN", Fin()), ("RST", Rst())):
        rows += [
            Scenario(
                row="6",
                name=f"{name} on a reused connection, well on a new one",
                expected=answered(
                    **{"U1 asked": 2, "then asked over new connections": [True], "U2 asked": 0}
                ),
                look=partial(_reused, play=_once_good((step,)), second=True),
                repeats=True,
            ),
            Scenario(
                row="6",
                name=f"{name} on a reused and on the new connection, U2 left",
                expected=failed_over(**{"U1 asked": 2, "then asked over new connections": [True]}),
                look=partial(_reused, play=(step,), second=True),
                repeats=True,
            ),
            Scenario(
                row="6",
                name=f"{name} on a reused and on the new connection, last",
                expected=refused(502, **{"U1 asked": 2, "then asked over new connections": [True]}),
                look=partial(_reused, play=(step,), second=False),
                repeats=True,
            ),
        ]
    return rows


_BODY = chunks(GOOD_EVENTS)
_UNUSABLE: tuple[tuple[str, Script], ...] = (
    ("FIN mid-header", (Send(b"HTTP/1.1 200 OK\r\nContent-Ty"), Fin())),
    ("RST mid-header", (Send(b"HTTP/1.1 200 OK\r\nContent-Ty"), Rst())),
    ("garbage status line", (Send(b"\x16\x03\x01 garbage\r\n\r\n"), Stall())),
    ("status -1", (Send(head(b"-1 OK", chunked=True) + _BODY), Stall())),
    ("status 2000", (Send(head(2000, chunked=True) + _BODY), Stall())),
    ("status 20", (Send(head(20, chunked=True) + _BODY), Stall())),
    ("NUL in a header", (Send(head(200, b"X-A: a\0b", chunked=True) + _BODY), Stall())),
    ("CR in a header", (Send(head(200, b"X-A: a\rb", chunked=True) + _BODY), Stall())),
    (
        "two lengths",
        (Send(head(200, b"Content-Length: 5", b"Content-Length: 6") + GOOD_STREAM), Stall()),
    ),
    (
        "length and chunked",
        (Send(head(200, length=len(_BODY), chunked=True) + _BODY), Stall()),
    ),
    (
        "gzip, chunked",
        (Send(head(200, b"Transfer-Encoding: gzip, chunked") + _BODY), Stall()),
    ),
    ("a length that is none", (Send(head(200, b"Content-Length: x") + GOOD_STREAM), Stall())),
)


def _unusable() -> list[Scenario]:
    apart = {"upstream closed": True, "connection reused": False}
    return [
        scenario
        for name, script in _UNUSABLE
        for scenario in both(
            "7", name, script, last=refused(502, **apart), first={**apart, "ms": at_most(SOON_MS)}
        )
    ]


async def _with_memory(lab: Lab, case: Case) -> Facts:
    before = lab.main.resident
    facts = await closes(lab, case)
    return {**facts, "KiB more": (lab.main.resident - before) // _KIB}


_LONG = b"X-Long: " + b"a" * 15_000
_ENDLESS = b"X-Endless: " + b"a" * 1000 + b"\r\n"
_HEADERS: tuple[tuple[str, Script], ...] = (
    ("80 KiB of headers", (Send(head(200, *[_LONG] * 6, chunked=True) + _BODY), Stall())),
    ("one header of 100 KiB", (Send(head(200, b"X: " + b"a" * 100_000, chunked=True)), Stall())),
    (
        "10 000 headers",
        (Send(head(200, *[b"X-N: %d" % n for n in range(10_000)], chunked=True) + _BODY), Stall()),
    ),
    ("endless headers", (Send(b"HTTP/1.1 200 OK\r\n"), Repeat(_ENDLESS * 60, 1_000_000))),
)


def _long_headers() -> list[Scenario]:
    memory = {"KiB more": at_most(_KIB), "upstream closed": True}
    rows = []
    for name, script in _HEADERS:
        for second, expected in ((True, failed_over(**memory)), (False, refused(502, **memory))):
            rows.append(
                Scenario(
                    row="8",
                    name=f"{name}, {'U2 left' if second else 'last'}",
                    expected={**expected, "ms": at_most(700)},
                    look=partial(_with_memory, case=Case(play=script, second=second)),
                    alone=True,
                )
            )
    return rows


def _informational() -> list[Scenario]:
    good = streamed(GOOD_EVENTS)
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    ignored = [
        Scenario(
            row="9",
            name=name,
            expected=answered(),
            look=partial(exchange, case=Case(play=(Send(prefix + good),), sent=GOOD_STREAM)),
            repeats=True,
        )
        for name, prefix in (
            ("100, then the answer", b"HTTP/1.1 100 Continue\r\n\r\n"),
            ("103 three times, then the answer", early * 3),
        )
    ]
    switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
    soon = {"ms": at_most(600)}
    return [
        *ignored,
        *both(
            "9",
            "a flood of 5000 times 103",
            (Send(early * 5000 + good), Stall()),
            last=refused(502, **soon),
            first=soon,
        ),
        *both("9", "101", (Send(switching), Stall()), last=refused(502, **soon), first=soon),
    ]


def _around(*names: str, late: float = 0.25) -> Between:
    seconds = max(deadline(name) for name in names)
    return Between(seconds * 1000 - 20, (seconds + late) * 1000)


def _silences() -> list[Scenario]:
    header, first = "UPSTREAM_HEADER_TIMEOUT", "UPSTREAM_FIRST_BODY_BYTE_TIMEOUT"
    quiet: Script = (Stall(),)
    only_head: Script = (Send(head(200, chunked=True)), Stall())
    closed = {"upstream closed": True}
    cases: tuple[tuple[str, str, Case, Facts], ...] = (
        (
            "10",
            "no headers, streamed, U2 left",
            Case(play=quiet),
            failed_over(ms=_around(header), **closed),
        ),
        (
            "10",
            "no headers, streamed, last",
            Case(play=quiet, second=False),
            refused(504, "upstream_header_timeout", ms=_around(header, first), **closed),
        ),
        (
            "10",
            "no headers, not streamed, U2 left",
            Case(play=quiet, streams=False),
            failed_over(ms=_around("UPSTREAM_COMPLETION_TIMEOUT"), **closed),
        ),
        (
            "10",
            "no headers, not streamed, last",
            Case(play=quiet, streams=False, second=False),
            refused(
                504, "upstream_header_timeout", ms=_around("UPSTREAM_COMPLETION_TIMEOUT"), **closed
            ),
        ),
        (
            "11",
            "headers only, U2 left",
            Case(play=only_head),
            failed_over(ms=_around(first), **closed),
        ),
        (
            "11",
            "headers only, last",
            Case(play=only_head, second=False),
            refused(504, "upstream_first_body_byte_timeout", ms=_around(first), **closed),
        ),
        (
            "11",
            "headers, then only comments and roles, U2 left",
            Case(
                play=(
                    Send(
                        head(200, chunked=True) + chunks([GOOD_EVENTS[0], b": on\n\n"], last=False)
                    ),
                    Pause(0.4),
                    Send(chunks([b": still\n\n"], last=False)),
                    Stall(),
                )
            ),
            failed_over(ms=_around(first), **closed),
        ),
    )
    return [
        Scenario(row=row, name=name, expected=expected, look=partial(closes, case=case))
        for row, name, case, expected in cases
    ]


def _empty() -> list[Scenario]:
    kept = refused(502, "upstream_body_error")
    return [
        *both(
            "11",
            "an empty 200, chunked",
            (Send(head(200, chunked=True) + b"0\r\n\r\n"),),
            last=kept,
        ),
        *both(
            "11", "an empty 200 of length 0", (Send(head(200, media=EVENTS, length=0)),), last=kept
        ),
        *both("11", "an empty 200 ended by FIN", (Send(head(200)), Fin()), last=kept),
    ]


async def _ordinary(lab: Lab) -> Facts:
    client = await opened(lab.main)
    name = lab.upstream.bind(GOOD)
    client.send(request(chat_body(name), rid=request_id()))
    await client.until_answered()
    answer = client.answer
    client.leave()
    lab.upstream.unbind(name)
    return {
        "status": answer.status if answer else None,
        "body": "as sent" if answer and answer.body == GOOD_STREAM else "other",
        "end": str(client.end),
    }


ROWS: tuple[Scenario, ...] = (
    Scenario(
        row="0",
        name="an ordinary stream",
        expected={"status": 200, "body": "as sent", "end": "clean"},
        look=_ordinary,
        repeats=True,
    ),
    *both("5", "FIN before any byte", (Fin(),), last=refused(502, "upstream_connection_lost")),
    *both("5", "RST before any byte", (Rst(),), last=refused(502, "upstream_connection_lost")),
    *_stale(),
    *_unusable(),
    *_long_headers(),
    *_informational(),
    *_silences(),
    *_empty(),
)
