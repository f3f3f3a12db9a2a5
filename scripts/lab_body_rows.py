"""Rows 12, 13, 14 and 16: bodies that stall, drip, break, or go on after their end."""

from functools import partial

from lab_bench import Lab, chat_body, deadline, opened, request, until
from lab_client import Client
from lab_exchange import (
    CLOSED_SECONDS,
    GOOD,
    GOOD_DOCUMENT,
    GOOD_EVENTS,
    GOOD_STREAM,
    Case,
    answered,
    broken,
    exchange,
    kept_apart,
    looker,
)
from lab_facts import Between, Facts, Scenario, at_most
from lab_wire import read_answer

from autopilot.simulator.misbehaving.answers import (
    JSON,
    chunk,
    chunks,
    delta,
    head,
    streamed,
)
from autopilot.simulator.misbehaving.steps import Drip, Fin, Pause, Rst, Script, Send, Stall
from autopilot.simulator.misbehaving.upstream import Asked

_BEGUN = GOOD_EVENTS[:3]
BEGUN_BODY = b"".join(_BEGUN)
_OPENING = head(200, chunked=True) + chunks(_BEGUN, last=False)
_HALF = delta(content=" half an event")[:40]
APART = {"upstream closed": True, "connection reused": False}
_EVERY = 0.1
_DRIPS = round(deadline("STREAM_IDLE_TIMEOUT") * 2 / _EVERY)


def body_scenario(
    row: str, name: str, case: Case, expected: Facts, *, fast: bool = True
) -> Scenario:
    """A case as a scenario that also sees whether the upstream connection was closed."""
    look = looker(case, expected)
    return Scenario(row=row, name=name, expected=expected, look=look, repeats=fast)


def _stalls() -> list[Scenario]:
    idle = deadline("STREAM_IDLE_TIMEOUT") * 1000
    within = {"ms": Between(idle - 20, idle + 250), **APART, "logged end": "upstream_stalled"}
    doc = head(200, media=JSON, length=len(GOOD_DOCUMENT)) + GOOD_DOCUMENT[:50]
    return [
        body_scenario(
            "12",
            "silence after an event",
            Case(play=(Send(_OPENING), Stall()), sent=BEGUN_BODY),
            broken("upstream_stalled", **within),
            fast=False,
        ),
        body_scenario(
            "12",
            "silence inside an event",
            Case(play=(Send(_OPENING + chunk(_HALF)), Stall()), sent=BEGUN_BODY + _HALF),
            broken(**within),
            fast=False,
        ),
        body_scenario(
            "12",
            "silence inside a JSON document, last",
            Case(play=(Send(doc), Stall()), sent=GOOD_DOCUMENT[:50], second=False, streams=False),
            broken(**within),
            fast=False,
        ),
    ]


async def _drip(lab: Lab) -> Facts:
    text = delta(content="x" * _DRIPS)
    play: Script = (
        Send(head(200, chunked=True) + chunks([GOOD_EVENTS[0]], last=False)),
        Send(b"%x\r\n" % len(text)),
        Drip(text[: _DRIPS - 1], _EVERY),
        Send(text[_DRIPS - 1 :] + b"\r\n" + chunks(GOOD_EVENTS[2:])),
    )
    name = lab.upstream.bind(play)
    asked = lab.upstream.asked[name]
    client = await opened(lab.main)
    client.send(request(chat_body(name)))
    await client.until_answered()
    late = _lateness(client, asked, base=len(GOOD_EVENTS[0]))
    client.leave()
    return {
        "end": str(client.end),
        "bytes seen one by one": len(late),
        "latest ms": round(max(late, default=1e9), 1),
        "longer than the idle limit": deadline("STREAM_IDLE_TIMEOUT") < (_DRIPS - 2) * _EVERY,
    }


def _lateness(client: Client, asked: list[Asked], *, base: int) -> list[float]:
    """How many milliseconds after it was sent each byte of the drip was seen."""
    sizes = []
    for moment, length in client.stamps:
        answer = read_answer(bytes(client.received[:length]))
        sizes.append((moment, len(answer.body) - base if answer else 0))
    late = []
    for place, sent in enumerate(asked[0].stamps if asked else (), 1):
        seen = next((moment for moment, size in sizes if size >= place), None)
        if seen is not None:
            late.append((seen - sent) * 1000)
    return late


async def _total(lab: Lab, settings: dict[str, str]) -> Facts:
    play: Script = (
        Send(_OPENING),
        Send(b"fff\r\n"),
        Drip(b"x" * 100, 0.1),
    )
    async with lab.router("total", settings) as router:
        facts = await exchange(lab, Case(play=play, sent=b"", second=False), router)
    return {"end": facts["end"], "ms": facts["ms"]}


_AFTER_COMMIT: tuple[tuple[str, Script, bytes, str | None], ...] = (
    ("RST between events", (Send(_OPENING), Rst()), BEGUN_BODY, "upstream_broken"),
    ("FIN at a chunk boundary", (Send(_OPENING), Fin()), BEGUN_BODY, "upstream_broken"),
    ("RST inside an event", (Send(_OPENING + chunk(_HALF)), Rst()), BEGUN_BODY + _HALF, None),
    (
        "FIN mid-chunk",
        (Send(_OPENING + b"ff\r\n" + _HALF), Fin()),
        BEGUN_BODY + _HALF,
        None,
    ),
    ("invalid chunk size", (Send(_OPENING + b"zz\r\n"), Stall()), BEGUN_BODY, "upstream_broken"),
    (
        "missing CRLF",
        (Send(_OPENING + b"%x\r\n" % len(_HALF) + _HALF + b"XX"), Stall()),
        BEGUN_BODY + _HALF,
        None,
    ),
    (
        "FIN short of the length",
        (Send(head(200, length=5000) + BEGUN_BODY), Fin()),
        BEGUN_BODY,
        None,
    ),
    (
        "FIN after [DONE], without the last chunk",
        (Send(head(200, chunked=True) + chunks(GOOD_EVENTS, last=False)), Fin()),
        GOOD_STREAM,
        "upstream_broken",
    ),
)
_TRUNCATED = (Send(head(200, chunked=True) + chunks(_BEGUN)),)


def _breaks() -> list[Scenario]:
    return [
        *(
            body_scenario(
                "14",
                name,
                Case(play=script, sent=sent),
                broken(code, **APART),
            )
            for name, script, sent, code in _AFTER_COMMIT
        ),
        body_scenario(
            "14",
            "a clean end without [DONE] and finish_reason",
            Case(play=_TRUNCATED, sent=BEGUN_BODY),
            broken("upstream_truncated"),
        ),
    ]


_POISON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\npoison"


async def _extra(lab: Lab, play: Script) -> Facts:
    seen: list[Asked] = []

    def note(_lab: Lab, asked: list[Asked]) -> Facts:
        seen.extend(asked)
        return {}

    facts = await exchange(lab, Case(play=play, sent=GOOD_STREAM, then=note))
    await until(lambda: all(each.over is not None for each in seen), 1.0)
    others = [await exchange(lab, Case(play=GOOD, sent=GOOD_STREAM)) for _ in range(5)]
    gone = await until(lambda: all(e.connection.closed is not None for e in seen), CLOSED_SECONDS)
    return {
        **facts,
        "upstream closed": gone,
        **kept_apart(lab, seen),
        "next five": sorted({f"{other['status']} {other['body']}" for other in others}),
    }


def _extras() -> list[Scenario]:
    good = streamed(GOOD_EVENTS)
    plain = head(200, length=len(GOOD_STREAM)) + GOOD_STREAM
    closing = head(200, b"Connection: Close", chunked=True) + chunks(GOOD_EVENTS)
    naming = head(200, b"Connection: x-hop, close", b"X-Hop: 1", chunked=True) + chunks(GOOD_EVENTS)
    old = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(
        GOOD_STREAM
    )
    plays: tuple[tuple[str, Script], ...] = (
        ("in the same packet, chunked", (Send(good + _POISON), Stall())),
        ("in the same packet, with length", (Send(plain + _POISON), Stall())),
        ("100 ms later", (Send(good), Pause(0.1), Send(_POISON), Stall())),
        ("after Connection: Close", (Send(closing), Pause(0.05), Send(_POISON), Stall())),
        ("after Connection: x-hop, close", (Send(naming), Pause(0.05), Send(_POISON), Stall())),
        ("after HTTP/1.0", (Send(old + GOOD_STREAM), Pause(0.05), Send(_POISON), Stall())),
    )
    return [
        Scenario(
            row="16",
            name=f"another response {name}",
            expected=answered(**APART, **{"next five": ["200 as sent"]}),
            look=partial(_extra, play=play),
            # Until they come the connection is as good as any: nobody else may be given it.
            alone="later" in name,
        )
        for name, play in plays
    ]


ROWS: tuple[Scenario, ...] = (
    *_stalls(),
    Scenario(
        row="13",
        name="a byte at a time",
        expected={
            "end": "clean",
            "bytes seen one by one": _DRIPS - 1,
            "latest ms": at_most(50),
            "longer than the idle limit": True,
        },
        look=_drip,
        alone=True,
    ),
    Scenario(
        row="13",
        name="a drip that outlives the whole request's deadline",
        expected={"end": "cut by FIN", "ms": Between(1480, 1800)},
        look=partial(_total, settings={"REQUEST_TIMEOUT_MS": "1500"}),
        starts=True,
    ),
    *_breaks(),
    *_extras(),
)
