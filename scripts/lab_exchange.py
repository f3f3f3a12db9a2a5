"""One exchange as the contract speaks of it: a script for U1, a good U2, and what came of them."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from lab_bench import Lab, Router, chat_body, opened, request, request_id, until
from lab_client import LONG_SECONDS
from lab_facts import Facts, Look, any_of
from lab_wire import End, without_event

from autopilot.simulator.misbehaving.answers import document, stream, streamed, whole
from autopilot.simulator.misbehaving.steps import Script, Send
from autopilot.simulator.misbehaving.upstream import Asked, Play

GOOD_EVENTS = stream(["all", " is", " well"])
GOOD_STREAM = b"".join(GOOD_EVENTS)
GOOD_DOCUMENT = document("all is well")
GOOD: Script = (Send(streamed(GOOD_EVENTS)),)

SECOND_EVENTS = stream(["the", " second", " says"])
SECOND_STREAM = b"".join(SECOND_EVENTS)
SECOND_DOCUMENT = document("the second says")
SECOND: Script = (Send(streamed(SECOND_EVENTS)),)
SECOND_JSON: Script = (Send(whole(SECOND_DOCUMENT)),)

CLOSED_SECONDS = 0.5
"""How soon the router must have closed an upstream connection that it cannot use again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A script and how it is asked for.

    `sent`: the body of the script's answer, to be recognised. `second`: whether U2 is left.
    `then`: looks at what U1 has seen, once the exchange is over.
    """

    play: Play
    sent: bytes = b""
    second: bool = True
    streams: bool = True
    within: float = LONG_SECONDS
    fields: tuple[str, ...] = ()
    version: str = "1.1"
    then: Callable[[Lab, list[Asked]], Facts] | None = None


async def exchange(lab: Lab, case: Case, router: Router | None = None) -> Facts:
    """Everything that can be seen of one exchange."""
    router = router or lab.main
    upstream = lab.upstream
    good = SECOND if case.streams else SECOND_JSON
    first, second = upstream.bind(case.play), upstream.bind(good)
    rid = request_id()
    model = f"{first},{second}" if case.second else first
    body = chat_body(model, stream=case.streams)
    asked = upstream.asked[first]
    try:
        client = await opened(router)
        client.send(request(body, *case.fields, rid=rid, version=case.version))
        await client.until_answered(case.within)
        ms = client.ms
        end = client.end
        answer = client.answer
        await until(lambda: _over(asked), 0.2)
        client.leave()
        line = await router.log_of(rid) or {}
        facts: dict[str, object] = {
            "status": answer.status if answer else None,
            "body": named(answer.body, case.sent, good) if answer else "none",
            "end": str(end),
            "attempts": len(line.get("attempts", ())),
            "outcomes": [attempt["outcome"] for attempt in line.get("attempts", ())],
            "code": line.get("code"),
            "logged end": line.get("end"),
            "chunked": answer.chunked if answer else None,
            "retry-after": answer.value("retry-after") if answer else None,
            "selected": _who(answer.value("x-chutes-autopilot-selected"), first, second)
            if answer
            else None,
            "content-length": answer.value("content-length") if answer else None,
            "content-encoding": answer.value("content-encoding") if answer else None,
            "connection": answer.value("connection") if answer else None,
            "U1 asked": len(asked),
            "U2 asked": len(upstream.asked[second]),
            "ms": round(ms, 1),
        }
        if case.then is not None:
            facts |= case.then(lab, asked)
        return facts
    finally:
        upstream.unbind(first, second)


def _over(asked: Iterable[Asked]) -> bool:
    return all(each.over is not None or each.connection.closed is not None for each in asked)


def _who(name: str | None, first: str, second: str) -> str | None:
    return {first: "U1", second: "U2"}.get(name, name) if name else None


def named(body: bytes, sent: bytes, good: Script) -> str:
    """What a body is, in words that do not depend on the run."""
    seconds = SECOND_STREAM if good is SECOND else SECOND_DOCUMENT
    bare, code = without_event(body)
    if body == seconds:
        return "U2's"
    if sent and body == sent:
        return "as sent"
    if code is not None and bare == sent:
        return f"as sent + {code}"
    if not body:
        return "empty"
    if b'"error"' in body and b'"code"' in body and b"upstream_" in body:
        return "refusal"
    return f"{len(body)} other bytes: {body[:60]!r}"


def kept_apart(_lab: Lab, asked: list[Asked]) -> Facts:
    """That the connection of U1's answer was never used again."""
    return {"connection reused": any(not each.last_on_connection for each in asked)}


async def closes(lab: Lab, case: Case, *, within: float = CLOSED_SECONDS) -> Facts:
    """An exchange, and whether the router closed U1's connection by itself, soon."""
    seen: list[Asked] = []

    def note(_lab: Lab, asked: list[Asked]) -> Facts:
        seen.extend(asked)
        return {}

    facts = await exchange(lab, _with(case, note))
    gone = await until(lambda: all(each.connection.closed is not None for each in seen), within)
    return {**facts, "upstream closed": gone, **kept_apart(lab, seen)}


def looker(case: Case, expected: Facts, *, within: float = CLOSED_SECONDS) -> Look:
    """How to look at a case: the end of U1's connection is waited for only where it matters."""
    if "upstream closed" in expected:
        return partial(closes, case=case, within=within)
    return partial(exchange, case=case)


def _with(case: Case, then: Callable[[Lab, list[Asked]], Facts]) -> Case:
    return Case(
        play=case.play,
        sent=case.sent,
        second=case.second,
        streams=case.streams,
        within=case.within,
        fields=case.fields,
        version=case.version,
        then=then,
    )


def failed_over(**more: object) -> Facts:
    """fo: U2's whole answer and no byte of U1's."""
    return {
        "status": 200,
        "body": "U2's",
        "end": str(End.CLEAN),
        "attempts": 2,
        "selected": "U2",
        "U2 asked": 1,
        **more,
    }


def refused(status: int, code: str | None = None, /, **more: object) -> Facts:
    """The answer shown when no candidate is left."""
    named_code = {} if code is None else {"code": code}
    return {
        "status": status,
        "body": "refusal",
        "end": str(End.CLEAN),
        "attempts": 1,
        **named_code,
        **more,
    }


def broken(event: str | None = None, /, **more: object) -> Facts:
    """break: every byte, then visibly no end. `event`: the code of the event at a boundary."""
    return {
        "status": 200,
        "body": "as sent" if event is None else f"as sent + {event}",
        "end": str(End.CUT_FIN),
        "attempts": 1,
        "U2 asked": 0,
        **more,
    }


def passed(status: int, **more: object) -> Facts:
    """Passed through unchanged, once."""
    return {
        "status": status,
        "body": "as sent",
        "end": str(End.CLEAN),
        "attempts": 1,
        "U2 asked": 0,
        **more,
    }


def answered(**more: object) -> Facts:
    """U1's own answer, whole."""
    return passed(200, **more)


CUT = any_of(str(End.CUT_FIN), str(End.CUT_RST))


def since(moment: float) -> float:
    """Milliseconds since `moment`."""
    return (time.monotonic() - moment) * 1000
