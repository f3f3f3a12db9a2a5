"""Rows 17 and 20 to 23: statuses that are no success, and answers that have no body."""

from functools import partial

from lab_bench import RANKED, TOKEN, Lab, chat_body, deadline, opened, request, request_id, until
from lab_client import connect
from lab_exchange import (
    CLOSED_SECONDS,
    GOOD,
    Case,
    closes,
    exchange,
    failed_over,
    looker,
    passed,
)
from lab_facts import Between, Facts, Scenario, at_most

from autopilot.simulator.misbehaving.answers import HTML, JSON, head, refusal, whole
from autopilot.simulator.misbehaving.steps import Rst, Script, Send, Stall
from autopilot.simulator.misbehaving.upstream import Asked
from autopilot.simulator.wire import edge_page

_SOON = at_most(150)
_CAPACITY = "Infrastructure is at maximum capacity, try again later"
_ACCOUNT = "Free models limit reached for today, add balance to continue."
_NOT_FOUND = ("model not found: lab/x", "No matching chute found!")
_PAYMENT = {"message": "Quota exceeded, pay to 5LabCanaryPaymentAddress"}


def _detail(status: int, detail: object, *fields: bytes) -> tuple[Script, bytes]:
    wire = refusal(status, detail, *fields)
    return (Send(wire),), wire.partition(b"\r\n\r\n")[2]


def _scenario(
    row: str, name: str, script: Script, sent: bytes, expected: Facts, *, second: bool = True
) -> Scenario:
    case = Case(play=script, sent=sent, second=second)
    return Scenario(
        row=row, name=name, expected=expected, look=partial(exchange, case=case), repeats=True
    )


def _bodiless() -> list[Scenario]:
    cases = (
        ("204", b"204 No Content", ()),
        ("204 with an illegal body", b"204 No Content", (b"oops",)),
        ("304", b"304 Not Modified", ()),
        (
            "304 with a length and an illegal body",
            b"304 Not Modified",
            (b"Content-Length: 4", b"oops"),
        ),
    )
    rows = []
    for name, line, more in cases:
        fields, body = (more[:-1], more[-1]) if more else ((), b"")
        script: Script = (Send(head(line, *fields, media=None) + body), Stall())
        expected = {
            "status": int(line[:3]),
            "body": "empty",
            "end": "clean",
            "attempts": 1,
            "chunked": False,
            # An illegal body stands where the next answer would: the connection is of no more use.
            **({"upstream closed": True, "connection reused": False} if body else {}),
        }
        case = Case(play=script, second=False)
        rows.append(
            Scenario(
                row="17", name=f"{name}, last", expected=expected, look=partial(closes, case=case)
            )
        )
    return rows


async def _head(lab: Lab) -> Facts:
    seen: dict[str, object] = {}
    for method in ("GET", "HEAD"):
        client = await connect(lab.main.port)
        client.head_only = method == "HEAD"
        client.send(f"{method} /readyz HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n".encode())
        await client.until_closed()
        answer = client.answer
        seen[method] = (
            answer and answer.status,
            answer and answer.value("content-length"),
            str(client.end),
        )
    return {"the same": seen["GET"] == seen["HEAD"], "HEAD": seen["HEAD"]}


def _unavailable() -> list[Scenario]:
    idle = deadline("STREAM_IDLE_TIMEOUT") * 1000
    detail = "No instances available (yet) for chute_id='x'"
    wire = refusal(503, detail, b"Retry-After: 5")
    body = wire.partition(b"\r\n\r\n")[2]
    hanging: Script = (
        Send(head(503, b"Retry-After: 5", media=JSON, length=len(body) + 50) + body),
        Stall(),
    )
    large = b"<p>" + b"x" * 3_000_000
    huge: Script = (Send(head(503, b"Retry-After: 5", media=HTML, length=len(large)) + large),)
    none: Script = (Send(head(503, b"Retry-After: 5", media=None, length=0)),)
    plays: tuple[tuple[str, Script, bytes], ...] = (
        ("no body", none, b""),
        ("a body", (Send(wire),), body),
        ("a body, then silence", hanging, body),
        ("3 MB of body", huge, large),
    )
    rows = []
    for name, script, sent in plays:
        gone = {"upstream closed": True} if script is hanging or script is huge else {}
        rows.append(
            Scenario(
                row="20",
                name=f"503, {name}, U2 left",
                expected=failed_over(ms=_SOON, **gone),
                look=looker(Case(play=script), gone, within=CLOSED_SECONDS + 1),
                repeats=script is not hanging and script is not huge,
            )
        )
        last = passed(503, **{"retry-after": "5"}, **({} if sent else {"body": "empty"}))
        if script is hanging:
            last = {**last, "end": "cut by FIN", "ms": Between(idle - 20, idle + 250)}
        rows.append(
            Scenario(
                row="20",
                name=f"503, {name}, last",
                expected=last,
                look=looker(Case(play=script, sent=sent, second=False), last),
            )
        )
    return rows


async def _sticky(lab: Lab, script: Script) -> Facts:
    """A client that sticks to U meets this refusal there, and asks again."""
    upstream, answers = lab.upstream, [GOOD, script, GOOD]
    liked = upstream.bind(lambda _asked: answers.pop(0) if answers else GOOD)
    other = upstream.bind(GOOD)
    token = TOKEN + request_id()
    statuses = []
    for model in (f"{liked},{other}", f"{other},{liked}", f"{other},{liked}"):
        client = await opened(lab.main)
        client.send(request(chat_body(model), token=token))
        await client.until_answered()
        statuses.append(client.answer.status if client.answer else None)
        client.leave()
        await lab.word_goes_round()
    return {
        "statuses": statuses,
        "liked asked": len(upstream.asked[liked]),
        "other asked": len(upstream.asked[other]),
    }


async def _rested(lab: Lab, script: Script) -> Facts:
    """A second client that names a model that has just refused for want of capacity."""
    upstream = lab.upstream
    full, other = upstream.bind(script), upstream.bind(GOOD)
    for _ in range(2):
        client = await opened(lab.main)
        client.send(request(chat_body(f"{full},{other}")))
        await client.until_answered()
        client.leave()
        await lab.word_goes_round()
    return {"full asked": len(upstream.asked[full]), "other asked": len(upstream.asked[other])}


def _limits() -> list[Scenario]:
    page = edge_page(429)
    rows = []
    for extra, fields in (("", ()), (" with Retry-After", (b"Retry-After: 7",))):
        kept = {"retry-after": "7" if fields else None}
        html = (Send(whole(page, *fields, status=429, media=HTML)),)
        account, account_body = _detail(429, _ACCOUNT, *fields)
        for name, script, sent in (
            (f"the edge's page{extra}", html, page),
            (f"the account's limit{extra}", account, account_body),
        ):
            rows += [
                _scenario("21", f"429, {name}", script, sent, passed(429, **kept)),
                Scenario(
                    row="21",
                    name=f"429, {name}, at a sticky model",
                    expected={"statuses": [200, 429, 200], "liked asked": 3, "other asked": 0},
                    look=partial(_sticky, script=script),
                ),
            ]
    full, body = _detail(429, _CAPACITY)
    rows += [
        _scenario("21", "429, capacity, U2 left", full, b"", failed_over(ms=_SOON)),
        _scenario(
            "21",
            "429, capacity, last",
            full,
            body,
            # Nobody else is left and upstream says nothing: the soonest recovery, 1 to 30 s.
            {**passed(429), "retry-after": _SECONDS},
            second=False,
        ),
        Scenario(
            row="21",
            name="429, capacity, rests the model",
            expected={"full asked": 1, "other asked": 2},
            look=partial(_rested, script=full),
        ),
    ]
    return rows


class _RetryAfter(Between):
    """A header of whole seconds within the bounds."""

    def holds(self, seen: object) -> bool:
        return isinstance(seen, str) and seen.isdigit() and super().holds(int(seen))


_SECONDS = _RetryAfter(1, 30)


def _blames() -> list[Scenario]:
    rows = []
    for status, detail in (
        (400, "Invalid request: temperature must not be negative"),
        (401, "Invalid token."),
        (402, _PAYMENT),
        (403, "This account may not use the requested chute."),
        (404, "There is nothing here."),
        (413, "Too large."),
        (422, [{"type": "missing", "loc": ["body"], "msg": "Field required"}]),
        (426, "Upgrade."),
    ):
        script, sent = _detail(status, detail)
        rows.append(_scenario("22", f"{status}", script, sent, passed(status)))
    for status, detail in (
        (500, "exhausted all available targets to no avail"),
        (502, "Bad gateway"),
        (504, "Gateway timeout"),
        *((404, text) for text in _NOT_FOUND),
    ):
        script, sent = _detail(status, detail)
        name = f"{status} {detail if status == 404 else ''}".strip()  # noqa: PLR2004
        rows += [
            _scenario("22b", f"{name}, U2 left", script, b"", failed_over(ms=_SOON)),
            _scenario("22b", f"{name}, last", script, sent, passed(status), second=False),
        ]
    return rows


async def _list(lab: Lab, script: Script, length: int) -> Facts:
    models = [lab.upstream.bind(script) for _ in range(length)]
    return await _asked_in_turn(lab, ",".join(models), models)


async def _alias(lab: Lab, script: Script) -> Facts:
    # A router of its own: what rests after it would be in nobody else's order.
    for name in RANKED:
        lab.upstream.plays[name] = script
        lab.upstream.asked[name] = []
    async with lab.router("alias") as router:
        client = await opened(router)
        client.send(request(chat_body("chutesai/AutoPilot")))
        await client.until_answered()
        client.leave()
        return {
            "status": client.answer.status if client.answer else None,
            "asked": [len(lab.upstream.asked[name]) for name in RANKED],
        }


async def _asked_in_turn(lab: Lab, model: str, models: list[str]) -> Facts:
    client = await opened(lab.main)
    client.send(request(chat_body(model)))
    await client.until_answered()
    client.leave()
    return {
        "status": client.answer.status if client.answer else None,
        "asked": [len(lab.upstream.asked[name]) for name in models],
    }


def _chains() -> list[Scenario]:
    failing, _body = _detail(500, "exhausted all available targets to no avail")
    cold, _body = _detail(503, "No instances available (yet) for chute_id='x'")
    return [
        Scenario(
            row="22b",
            name="a list of six, each 503: to its end",
            expected={"status": 503, "asked": [1] * 6},
            look=partial(_list, script=cold, length=6),
        ),
        Scenario(
            row="22b",
            name="a list of six, each 500: two in a row end it",
            expected={"status": 500, "asked": [1, 1, 0, 0, 0, 0]},
            look=partial(_list, script=failing, length=6),
        ),
        Scenario(
            row="22b",
            name="the alias, each 503: MAX_ATTEMPTS",
            expected={"status": 503, "asked": [1, 1, 1, 0, 0, 0]},
            look=partial(_alias, script=cold),
            starts=True,
        ),
    ]


async def _redirect(lab: Lab, status: int) -> Facts:
    visits: list[Asked] = []

    def elsewhere(asked: Asked) -> Script:
        visits.append(asked)
        return (Rst(),)

    path = f"/elsewhere-{status}"
    lab.upstream.plays[path] = elsewhere
    # Another name for this machine: another host to whoever would follow.
    target = f"http://localhost:{lab.upstream_port}{path}"
    script, sent = _detail(status, "moved", b"Location: " + target.encode())
    facts = await exchange(lab, Case(play=script, sent=sent))
    accepted = await until(lambda: bool(visits), 0.2)
    return {**facts, "followed": accepted}


ROWS: tuple[Scenario, ...] = (
    *_bodiless(),
    Scenario(
        row="17",
        name="HEAD keeps the length",
        expected={"the same": True, "HEAD": (200, "5", "clean")},
        look=_head,
    ),
    *_unavailable(),
    *_limits(),
    *_blames(),
    *_chains(),
    *(
        Scenario(
            row="23",
            name=f"{status} to another host",
            expected=passed(status, followed=False),
            look=partial(_redirect, status=status),
            repeats=False,
        )
        for status in (301, 302, 307, 308)
    ),
)
