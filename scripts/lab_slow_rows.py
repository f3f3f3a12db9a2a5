"""Rows 27, 28 and 32: clients that are old, that pipeline, and that are slow."""

import random
import time
from functools import partial

from lab_bench import Lab, Router, chat_body, deadline, opened, request
from lab_client import soon
from lab_client_rows import within
from lab_exchange import GOOD, GOOD_EVENTS, GOOD_STREAM, Case, exchange, failed_over, since
from lab_facts import DEFAULT, Facts, Scenario, at_most
from lab_wire import Close, read_answer
from twisted.internet.defer import ensureDeferred, gatherResults

from autopilot.simulator.misbehaving.answers import chunks, delta, head, streamed
from autopilot.simulator.misbehaving.steps import Fin, Pause, Send


def _old() -> list[Scenario]:
    begun = b"".join(GOOD_EVENTS[:3])
    cut = (Send(head(200, chunked=True) + chunks(GOOD_EVENTS[:3], last=False)), Fin())
    inside = (Send(head(200, chunked=True) + chunks([begun + b"data: {"], last=False)), Fin())
    truncated = (Send(streamed(GOOD_EVENTS[:3])),)
    whole = {
        "status": 200,
        "body": "as sent",
        "chunked": False,
        "attempts": 1,
        "connection": "close",
    }
    reset = {"chunked": False, "end": "cut by RST", "attempts": 1, "connection": "close"}
    cases = (
        ("a whole stream", GOOD, GOOD_STREAM, {**whole, "end": "close-delimited"}),
        ("a break at a boundary", cut, begun, {**reset, "body": "as sent + upstream_broken"}),
        ("a break inside an event", inside, begun + b"data: {", {**reset, "body": "as sent"}),
        ("a truncation", truncated, begun, {**reset, "body": "as sent + upstream_truncated"}),
        ("failover", (Fin(),), b"", {**failed_over(), "end": "close-delimited", "chunked": False}),
    )
    return [
        Scenario(
            row="27",
            name=f"HTTP/1.0, {name}",
            expected=expected,
            look=partial(exchange, case=Case(play=play, sent=sent, version="1.0")),
            repeats=True,
        )
        for name, play, sent, expected in cases
    ]


async def _pipelines(lab: Lab) -> Facts:
    words = ("one", "two", "three")
    plays = [
        (Pause(0.1 * (3 - n)), Send(streamed([delta(content=w), *GOOD_EVENTS[-2:]])))
        for n, w in enumerate(words)
    ]
    names = [lab.upstream.bind(play) for play in plays]
    client = await opened(lab.main)
    client.send(b"".join(request(chat_body(name)) for name in names))
    await client.until(lambda: bytes(client.received).count(b"[DONE]") == len(words), 5)
    await soon(0.05)
    data, order = bytes(client.received), []
    while data and (answer := read_answer(data)) is not None and answer.complete:
        order += [word for word in words if word.encode() in answer.body]
        data = answer.rest
    client.leave()
    return {"order": order}


_DEADLINES = ("CLIENT_HEADER_TIMEOUT", "CLIENT_BODY_TIMEOUT", "KEEPALIVE_TIMEOUT")
_PIECES = round(max(map(deadline, _DEADLINES)) * 10) + 50


async def _slow(lab: Lab, pieces: bytes, *, head_first: bytes = b"") -> Facts:
    """Bytes that come one at a time, from the moment of the connection."""
    client = await opened(lab.main)
    began = time.monotonic()
    if head_first:
        client.send(head_first)
    for at in range(len(pieces)):
        if client.count or client.close is not Close.NOT or since(began) > _PATIENCE_MS:
            break
        client.socket.write(pieces[at : at + 1])
        await client.until(lambda: bool(client.count), 0.1)
    answered = since(began)
    await client.until_closed(3)
    answer = client.answer
    error = (answer.error if answer else None) or {}
    client.cut()
    return {
        "status": answer.status if answer else None,
        "code": error.get("code"),
        "ms": round(answered),
        "closed": client.close is not Close.NOT,
    }


_PATIENCE_MS = (max(map(deadline, _DEADLINES)) + 2) * 1000


async def _silent(lab: Lab, *, after: bool) -> Facts:
    client = await opened(lab.main)
    if after:
        name = lab.upstream.bind(GOOD)
        client.send(request(chat_body(name)))
        await client.until_answered()
    began, had = time.monotonic(), client.count
    await client.until_closed(_PATIENCE_MS / 1000)
    ms = since(began)
    client.cut()
    return {"closed after ms": round(ms), "bytes": client.count - had if after else None}


async def _drips_beside(lab: Lab) -> Facts:
    """Ordinary answers, alone and beside hundreds of clients that send a byte at a time."""
    number = 500
    # Its own router: the lab's short header deadline would end the drips before they are measured.
    async with lab.router("drips", {"CLIENT_HEADER_TIMEOUT_MS": "60000"}) as router:
        return await _beside(lab, router, number)


async def _beside(lab: Lab, router: Router, number: int) -> Facts:
    alone = await _median(lab, router)
    running = True

    async def drip() -> None:
        client = await opened(router)
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX: ")
        await soon(random.random())  # noqa: S311 - so that they do not all drip at once
        while running and client.close is Close.NOT:
            client.socket.write(b"a")
            await soon(1.0)
        client.cut()

    drips = [ensureDeferred(drip()) for _ in range(number)]
    await soon(1.3)
    beside = await _median(lab, router)
    running = False
    await gatherResults(drips)
    lab.notes["drips"] = {"number": number, "alone ms": alone, "beside ms": beside}
    return {"times slower": round(beside / alone, 2), "drips": number}


async def _median(lab: Lab, router: Router) -> float:
    taken = []
    for _ in range(60):
        name = lab.upstream.bind(GOOD)
        client = await opened(router)
        client.send(request(chat_body(name)))
        await client.until_bytes(1)
        taken.append(client.ms)
        await client.until_answered()
        client.leave()
        lab.upstream.unbind(name)
    return round(sorted(taken)[len(taken) // 2], 2)


_PLACE = b"POST /v1/chat/completions HTTP/1.1\r\nHost: lab\r\nContent-Length: 100000\r\n\r\n"


ROWS: tuple[Scenario, ...] = (
    *_old(),
    Scenario(
        row="28",
        name="three requests at once",
        expected={"order": ["one", "two", "three"]},
        look=_pipelines,
    ),
    Scenario(
        row="32",
        name="headers a byte at a time",
        expected={
            "status": 408,
            "code": "request_timeout",
            "closed": True,
            "ms": within("CLIENT_HEADER_TIMEOUT"),
        },
        look=partial(_slow, pieces=_PLACE[:-2] + b"X: " + b"a" * _PIECES),
    ),
    Scenario(
        row="32",
        name="a body a byte at a time",
        expected={
            "status": 408,
            "code": "request_timeout",
            "closed": True,
            "ms": within("CLIENT_BODY_TIMEOUT"),
        },
        look=partial(_slow, head_first=_PLACE, pieces=b"x" * _PIECES),
    ),
    Scenario(
        row="32",
        name="a connection that never says anything",
        expected={"closed after ms": within("CLIENT_HEADER_TIMEOUT")},
        look=partial(_silent, after=False),
    ),
    Scenario(
        row="32",
        name="a connection that is idle after an answer",
        expected={"closed after ms": within("KEEPALIVE_TIMEOUT"), "bytes": 0},
        look=partial(_silent, after=True),
    ),
    Scenario(
        row="32",
        name="ordinary answers beside drips",
        expected={"times slower": at_most(1.5)},
        look=_drips_beside,
        alone=True,
        least=DEFAULT,
    ),
)
