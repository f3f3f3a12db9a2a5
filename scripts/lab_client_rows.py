"""Rows 24 to 26: clients that stop reading, and clients that leave."""

import socket
import time
from functools import partial

from lab_bench import Lab, chat_body, deadline, opened, request, request_id, until
from lab_client import Client, soon
from lab_exchange import (
    GOOD,
    GOOD_EVENTS,
    SECOND,
    since,
)
from lab_facts import DEFAULT, FULL, QUICK, Between, Facts, Scenario, at_most
from lab_sockets import Progress
from lab_wire import Close

from autopilot.simulator.misbehaving.answers import chunk, chunks, delta, head
from autopilot.simulator.misbehaving.steps import Pause, Repeat, Script, Send, Stall
from autopilot.simulator.misbehaving.upstream import Asked, Play

_KIB = 1024
_STREAM_BYTES = 100 * _KIB * _KIB
_BLOCK = chunk(delta(content="x" * 60_000))
_FLOOD: Script = (
    Send(head(200, chunked=True) + chunks(GOOD_EVENTS[:2], last=False)),
    Repeat(_BLOCK, _STREAM_BYTES // len(_BLOCK)),
    Send(chunks(GOOD_EVENTS[-2:])),
)
_STANDSTILL_MS = 3000
_LOOK_SECONDS = 0.05
_FILLING_SECONDS = 15.0
"""How long it may take until all buffers between upstream and client are full."""

GONE_MS = 100
"""How soon the upstream must hear that a client has left."""


async def _stopped_readers(lab: Lab) -> Facts:
    number = {QUICK: 10, DEFAULT: 100, FULL: 100}[lab.level]
    router, limit = lab.main, deadline("CLIENT_STALL_TIMEOUT")
    names = [lab.upstream.bind(_FLOOD) for _ in range(number)]
    before = router.resident
    clients: list[Client] = []
    progress = Progress(router.port)
    for name in names:
        client = await opened(router)
        client.keeps = False
        # Locked, so that the kernel takes no more and more: the reader has stopped for good.
        client.socket.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.send(request(chat_body(name)))
        await client.until_bytes(1)
        client.stop_reading()
        progress.follow(client)
        progress.look()
        clients.append(client)
    stopped = time.monotonic()
    peak, cpu = before, router.cpu
    asked = [lab.upstream.asked[name][0] for name in names]
    while time.monotonic() < stopped + limit + _FILLING_SECONDS:
        peak = max(peak, router.resident)
        progress.look()
        if len(progress.cut_at) == number and _all_closed(asked):
            break
        await soon(_LOOK_SECONDS)
    cut = sorted(progress.patience())
    late = [
        each.connection.closed - progress.cut_at.get(client, 0.0)
        for client, each in zip(clients, asked, strict=True)
        if each.connection.closed is not None
    ]
    ended = await router.metric("autopilot_stream_ends_total", end="client_stalled")
    for client in clients:
        client.cut()
    lab.notes["stopped readers"] = {
        "number": number,
        "KiB each": (peak - before) // _KIB // number,
        "cut after s": [round(min(cut, default=0), 2), round(max(cut, default=0), 2)],
    }
    return {
        "never cut": number - len(cut),
        "readers": number,
        "first cut after ms": round(min(cut, default=0.0) * 1000),
        "last cut after ms": round(max(cut, default=1e6) * 1000),
        "upstream closed ms later": round(max(late, default=1e6) * 1000),
        "KiB each": (peak - before) // _KIB // number,
        "upstream held back": all(each.sent < _STREAM_BYTES // 2 for each in asked),
        "counted": ended >= number,
        "s of processor": round(router.cpu - cpu, 1),
    }


async def _pauses(lab: Lab) -> Facts:
    """A reader that stops for less than the limit, and then reads it all."""
    play: Script = (
        Send(head(200, chunked=True) + chunks(GOOD_EVENTS[:2], last=False)),
        Repeat(_BLOCK, 300),
        Send(chunks(GOOD_EVENTS[-2:])),
    )
    name = lab.upstream.bind(play)
    client = await opened(lab.main)
    client.keeps = False
    client.send(request(chat_body(name), "Connection: close"))
    await client.until_bytes(1)
    client.stop_reading()
    await soon(deadline("CLIENT_STALL_TIMEOUT") / 2)
    client.read_on()
    await client.until_closed(20)
    asked = lab.upstream.asked[name][0]
    return {"close": str(client.close), "whole": client.count >= asked.sent > 300 * 60_000}


_PHASES: dict[str, tuple[Script, bool, int]] = {
    "waiting for headers, streamed": ((Stall(),), True, 0),
    "waiting for headers, not streamed": ((Stall(),), False, 0),
    "after headers, before the first byte": (
        (Send(head(200, chunked=True)), Stall()),
        True,
        0,
    ),
    "mid-stream": (
        (Send(head(200, chunked=True) + chunks(GOOD_EVENTS[:3], last=False)), Stall()),
        True,
        1,
    ),
    "while paused": (_FLOOD, True, 1),
}


def _first_only(script: Script) -> Play:
    answers = [script]
    return lambda _asked: answers.pop() if answers else GOOD


def _all_closed(asked: list[Asked]) -> bool:
    return all(each.connection.closed is not None for each in asked)


async def _leaves(lab: Lab, phase: str, *, reset: bool) -> Facts:
    script, streams, first = _PHASES[phase]
    number = {QUICK: 10, DEFAULT: 40, FULL: 200}[lab.level]
    late: list[float] = []
    again: list[int] = []
    attempts: list[int] = []
    for _ in range(number):
        liked = lab.upstream.bind(_first_only(script))
        other = lab.upstream.bind(SECOND)
        asked = lab.upstream.asked[liked]
        client = await opened(lab.main)
        rid = request_id()
        client.send(request(chat_body(f"{liked},{other}", stream=streams), rid=rid))
        if first:
            await client.until_bytes(first)
        await until(partial(bool, asked), 2)
        if phase == "while paused":
            client.stop_reading()
            await _standstill(asked)
        else:
            await soon(0.005)
        left = time.monotonic()
        if reset:
            client.cut()
        else:
            client.leave()
        await until(partial(_all_closed, asked), 2.0)
        closed = asked[0].connection.closed if asked else None
        late.append(10_000 if closed is None else (closed - left) * 1000)
        line = await lab.main.log_of(rid) or {}
        attempts.append(len(line.get("attempts", ())))
        # The model is not blamed: whoever comes next is sent there first.
        client = await opened(lab.main)
        client.send(request(chat_body(f"{liked},{other}", stream=True)))
        await client.until_answered()
        client.leave()
        again.append(len(asked))
        lab.upstream.unbind(liked, other)
    late.sort()
    lab.notes[f"leaves {phase}{', RST' if reset else ''}"] = [round(max(late), 1), len(late)]
    return {
        "latest ms": round(late[-1], 1),
        "attempts": sorted(set(attempts)),
        "asked again first": sorted(set(again)) == [2],
        "times": number,
    }


async def _standstill(asked: list[Asked]) -> None:
    """Until the upstream can send no more: all that lies between is full."""
    sent, since_when = -1, time.monotonic()
    while since(since_when) < _STANDSTILL_MS:
        now = asked[0].sent if asked else 0
        if now == sent:
            return
        sent = now
        await soon(0.05)


async def _junk(lab: Lab) -> Facts:
    """17 KB more than the request, and then the client is gone."""
    name = lab.upstream.bind((Stall(),))
    asked = lab.upstream.asked[name]
    client = await opened(lab.main)
    client.send(request(chat_body(name)))
    await until(lambda: bool(asked), 2)
    sent = time.monotonic()
    client.send(b"x" * 17_000)
    await until(lambda: asked[0].connection.closed is not None, 2)
    client.leave()
    closed = asked[0].connection.closed
    return {"cut after ms": round(((closed or sent + 10) - sent) * 1000, 1)}


async def _half_closes(lab: Lab) -> Facts:
    name = lab.upstream.bind((Pause(0.3), *GOOD))
    asked = lab.upstream.asked[name]
    client = await opened(lab.main)
    client.send(request(chat_body(name)))
    await until(lambda: bool(asked), 2)
    left = time.monotonic()
    client.half_close()
    await client.until_closed(2)
    await until(lambda: asked[0].connection.closed is not None, 1)
    closed = asked[0].connection.closed
    return {
        "bytes": client.count,
        "closed": client.close is not Close.NOT,
        "upstream closed ms": round(((closed or left + 10) - left) * 1000, 1),
    }


def within(name: str, late: float = 1.0) -> Between:
    """The moment of a deadline, and not much later."""
    return Between(deadline(name) * 1000 - 50, (deadline(name) + late) * 1000)


_LIMIT_MS = deadline("CLIENT_STALL_TIMEOUT") * 1000
# The router counts from the moment at which its own buffer is full, when its kernel may still take the
# last of it; it looks once a second, or four times within a limit that is shorter. The lab looks every
# 50 ms.
_CUT = Between(_LIMIT_MS - 500, _LIMIT_MS + min(_LIMIT_MS / 4, 1000) + 150)
_CLOSED_MS = 1000

ROWS: tuple[Scenario, ...] = (
    Scenario(
        row="24",
        name="readers that stop, upstream sends 100 MB each",
        expected={
            "KiB each": at_most(256),
            "upstream held back": True,
            "never cut": 0,
            "first cut after ms": _CUT,
            "last cut after ms": _CUT,
            "upstream closed ms later": at_most(_CLOSED_MS),
            "counted": True,
        },
        look=_stopped_readers,
        alone=True,
    ),
    Scenario(
        row="24",
        name="a reader that pauses and reads on",
        expected={"close": "fin", "whole": True},
        look=_pauses,
    ),
    *(
        Scenario(
            row="25",
            name=f"the client leaves {phase}{', by RST' if reset else ''}",
            expected={"latest ms": at_most(GONE_MS), "attempts": [1], "asked again first": True},
            look=partial(_leaves, phase=phase, reset=reset),
            alone=True,
            least=DEFAULT if reset else QUICK,
        )
        for phase in _PHASES
        for reset in (False, True)
    ),
    Scenario(
        row="25",
        name="17 KB of junk while waiting",
        expected={"cut after ms": at_most(GONE_MS)},
        look=_junk,
        alone=True,
    ),
    Scenario(
        row="26",
        name="half-close after the request is leaving",
        expected={"bytes": 0, "closed": True, "upstream closed ms": at_most(GONE_MS)},
        look=_half_closes,
    ),
)
