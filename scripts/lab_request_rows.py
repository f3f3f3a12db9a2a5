"""Rows 29 to 31: requests that are not HTTP, too long, or too large."""

import json
from collections.abc import Sequence
from functools import partial

from lab_bench import SETTINGS, Lab, opened, request
from lab_client import soon
from lab_exchange import GOOD
from lab_facts import DEFAULT, FULL, QUICK, Facts, Scenario, at_most
from lab_wire import Close, End
from twisted.internet.defer import ensureDeferred, gatherResults

LIMIT = int(SETTINGS["MAX_REQUEST_BYTES"])
_KIB = 1024
_BUFFERS_MIB = 12
_LINGER_SECONDS = 2.0
_POST = b"POST /v1/chat/completions HTTP/1.1\r\n"
_HOST = b"Host: lab\r\n"
_GET = b"GET /healthz HTTP/1.1\r\n"


async def refusal_of(lab: Lab, wire: bytes, *, chunks: Sequence[bytes] = ()) -> Facts:
    """What these raw bytes are answered with, and whether the connection is closed for it."""
    before = lab.upstream.strangers
    client = await opened(lab.main)
    client.send(wire)
    for each in chunks:
        client.send(each)
    await client.until(lambda: client.end not in {End.OPEN, End.GARBAGE}, 3.0)
    answer, ms = client.answer, client.ms
    first = client.end
    # The router closes its side at once and reads on for a while, so that its words are not lost.
    closed = await client.until_closed(_LINGER_SECONDS + 1)
    client.leave()
    error = (answer.error if answer else None) or {}
    return {
        "status": answer.status if answer else None,
        "code": error.get("code"),
        "param": error.get("param"),
        "shape": bool(error) and answer is not None and answer.value("content-type"),
        "connection": answer.value("connection") if answer else None,
        "end": str(first),
        "closed": closed,
        "U asked": lab.upstream.strangers - before,
        "ms": round(ms, 1),
        "selected header": answer.value("x-chutes-autopilot-selected") if answer else None,
        "continues": client.received.startswith(b"HTTP/1.1 100"),
    }


def _syntax(status: int, code: str) -> Facts:
    return {
        "status": status,
        "code": code,
        "shape": "application/json",
        "connection": "close",
        "end": "clean",
        "closed": True,
        "U asked": 0,
        "continues": False,
    }


def _wire(*lines: bytes, body: bytes = b"") -> bytes:
    return _POST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


_BAD: tuple[tuple[str, bytes], ...] = (
    ("two lengths", _wire(b"Host: a", b"Content-Length: 2", b"Content-Length: 2", body=b"{}")),
    ("two different lengths", _wire(b"Host: a", b"Content-Length: 2", b"Content-Length: 3")),
    (
        "length and chunked",
        _wire(b"Host: a", b"Content-Length: 2", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    ),
    (
        "chunked in HTTP/1.0",
        b"POST /v1/chat/completions HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("unknown coding", _wire(b"Host: a", b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
    ("a folded header", _GET + b"Host: a\r\nX: a\r\n b\r\n\r\n"),
    ("no Host", _GET + b"X: a\r\n\r\n"),
    ("two Hosts", _GET + b"Host: a\r\nHost: a\r\n\r\n"),
    ("a bad Host", _GET + b"Host: a/..//@b\r\n\r\n"),
    ("NUL in a value", _GET + b"Host: a\r\nX: a\0b\r\n\r\n"),
    ("NUL in the target", b"GET /heal\0thz HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("bare LF", b"GET /healthz HTTP/1.1\nHost: a\n\n"),
    ("a bare LF in a header", _GET + b"Host: a\r\nX: a\nY: b\r\n\r\n"),
    ("a length of 5000 digits", _wire(b"Host: a", b"Content-Length: " + b"9" * 5000)),
    ("a length that is none", _wire(b"Host: a", b"Content-Length: +2", body=b"{}")),
    ("target byte 0x80", b"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("space before the colon", _GET + b"Host: a\r\nX : a\r\n\r\n"),
    ("a bad chunk size", _wire(b"Host: a", b"Transfer-Encoding: chunked", body=b"zz\r\n")),
)
_TOO_LONG: tuple[tuple[str, bytes, int, str], ...] = (
    (
        "a target of 17 KiB",
        b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        414,
        "uri_too_long",
    ),
    (
        "a header of 17 KiB",
        _GET + b"Host: a\r\nX: " + b"a" * 17_000 + b"\r\n\r\n",
        431,
        "headers_too_large",
    ),
    (
        "headers of 17 KiB in all",
        _GET + _HOST + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 500) for n in range(34)) + b"\r\n",
        431,
        "headers_too_large",
    ),
    (
        "102 headers",
        _GET + _HOST + b"".join(b"X-%d: a\r\n" % n for n in range(101)) + b"\r\n",
        431,
        "headers_too_large",
    ),
)


def _malformed() -> list[Scenario]:
    rows = [("29", name, wire, 400, "bad_request") for name, wire in _BAD]
    rows += [("30", name, wire, status, code) for name, wire, status, code in _TOO_LONG]
    return [
        Scenario(
            row=row,
            name=name,
            expected=_syntax(status, code),
            look=partial(refusal_of, wire=wire),
        )
        for row, name, wire, status, code in rows
    ]


_HUGE = b"x" * (LIMIT + 1)


def _too_large() -> list[Scenario]:
    declared = b"Content-Length: %d" % (LIMIT + 1)
    cases: tuple[tuple[str, bytes, tuple[bytes, ...]], ...] = (
        ("declared", _wire(b"Host: a", declared, body=_HUGE), ()),
        (
            "chunked",
            _wire(b"Host: a", b"Transfer-Encoding: chunked"),
            tuple(b"10000\r\n" + b"x" * 65536 + b"\r\n" for _ in range(LIMIT // 65536 + 1)),
        ),
        ("declared, with Expect", _wire(b"Host: a", declared, b"Expect: 100-continue"), ()),
        ("10 GB declared, nothing sent", _wire(b"Host: a", b"Content-Length: 10000000000"), ()),
    )
    return [
        Scenario(
            row="31",
            name=f"a body over the limit, {name}",
            expected={**_syntax(413, "request_too_large"), "ms": at_most(300)},
            look=partial(refusal_of, wire=wire, chunks=chunks),
        )
        for name, wire, chunks in cases
    ]


async def _exactly(lab: Lab, more: int) -> Facts:
    name = lab.upstream.bind(GOOD)
    frame = len(json.dumps({"model": name, "p": ""}))
    body = json.dumps({"model": name, "p": "x" * (LIMIT + more - frame)}).encode()
    client = await opened(lab.main)
    client.send(request(body))
    await client.until_answered()
    client.leave()
    asked = lab.upstream.asked[name]
    return {
        "status": client.answer.status if client.answer else None,
        "size": len(body) - LIMIT,
        "arrived": [len(each.body) - LIMIT for each in asked],
    }


async def _pushed(lab: Lab, *, declared: bool) -> Facts:
    """Clients that push 100 MB at a limit of 1 MiB and do not listen."""
    number = {QUICK: 8, DEFAULT: 50, FULL: 50}[lab.level]
    before = lab.main.resident
    peak = before
    block = b"x" * 65536
    opening = _wire(b"Host: a", b"Content-Length: 104857600")
    if not declared:
        opening = _wire(b"Host: a", b"Transfer-Encoding: chunked")
        block = b"10000\r\n" + block + b"\r\n"

    async def one() -> tuple[int | None, float, bool]:
        nonlocal peak
        client = await opened(lab.main)
        client.send(opening)
        for _ in range(100 * 16):
            if client.close is not Close.NOT or client.answer is not None:
                break
            client.socket.write(block)
            peak = max(peak, lab.main.resident)
            await soon(0)
        await client.until(lambda: client.answer is not None, 5.0)
        answer, at = client.answer, client.ms
        closed = await client.until_closed(_LINGER_SECONDS + 1)
        client.cut()
        return (answer.status if answer else None), at, closed

    seen = await gatherResults([ensureDeferred(one()) for _ in range(number)])
    return {
        "statuses": sorted({str(status) for status, _ms, _closed in seen}),
        "closed": all(closed for _status, _ms, closed in seen),
        "MiB more": round((peak - before) / _KIB / _KIB, 1),
        "MiB beyond the bodies": round(
            (peak - before - number * LIMIT) / _KIB / _KIB / lab.workers, 1
        ),
        "clients": number,
    }


_PUSH = "many clients push 100 MB, declared"

ROWS: tuple[Scenario, ...] = (
    *_malformed(),
    *_too_large(),
    Scenario(
        row="31",
        name="exactly the limit",
        expected={"status": 200, "size": 0, "arrived": [0]},
        look=partial(_exactly, more=0),
    ),
    Scenario(
        row="31",
        name="one byte more",
        expected={"status": 413, "size": 1, "arrived": []},
        look=partial(_exactly, more=1),
    ),
    Scenario(
        row="31",
        name=_PUSH,
        expected={"statuses": ["413"], "closed": True, "MiB more": at_most(32)},
        look=partial(_pushed, declared=True),
        alone=True,
    ),
    Scenario(
        row="31",
        name="many clients push 100 MB, chunked",
        # Nobody has said how much will come, and each may be a body of just the limit: so much of each
        # has to be kept before it can be refused. With 50 clients at once that alone is 50 MiB, more
        # than the 32 of the contract, to which a declared length is held. On top come the eighth by
        # which a growing buffer is ahead of its content, 6 MiB for 50, and what its moves leave behind,
        # in each worker.
        expected={
            "statuses": ["413"],
            "closed": True,
            "MiB beyond the bodies": at_most(_BUFFERS_MIB),
        },
        look=partial(_pushed, declared=False),
        alone=True,
    ),
)
