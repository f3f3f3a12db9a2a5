"""Rows 15, 18 and 19: bodies whose end or whose meaning is in doubt."""

import gzip

from lab_body_rows import APART, BEGUN_BODY, body_scenario
from lab_exchange import (
    GOOD_DOCUMENT,
    GOOD_EVENTS,
    GOOD_STREAM,
    Case,
    answered,
    broken,
    failed_over,
    refused,
)
from lab_facts import Facts, Scenario, any_of

from autopilot.simulator.misbehaving.answers import (
    DONE,
    JSON,
    LAST_CHUNK,
    chunk,
    document,
    event,
    head,
    streamed,
    whole,
)
from autopilot.simulator.misbehaving.steps import Fin, Send


def _unframed() -> list[Scenario]:
    finished = b"".join(GOOD_EVENTS[:-1])
    large = document("x" * 300 * 1024)
    json_head = head(200, media=JSON)
    cases: tuple[tuple[str, Case, Facts], ...] = (
        (
            "[DONE], then FIN",
            Case(play=(Send(head(200) + GOOD_STREAM), Fin()), sent=GOOD_STREAM),
            answered(),
        ),
        (
            "finish_reason, then FIN",
            Case(play=(Send(head(200) + finished), Fin()), sent=finished),
            answered(),
        ),
        (
            "neither, then FIN",
            Case(play=(Send(head(200) + BEGUN_BODY), Fin()), sent=BEGUN_BODY),
            broken("upstream_broken"),
        ),
        (
            "JSON that parses",
            Case(play=(Send(json_head + GOOD_DOCUMENT), Fin()), sent=GOOD_DOCUMENT, streams=False),
            answered(),
        ),
        (
            "JSON that parses, last",
            Case(
                play=(Send(json_head + GOOD_DOCUMENT), Fin()),
                sent=GOOD_DOCUMENT,
                streams=False,
                second=False,
            ),
            answered(),
        ),
        (
            "JSON that is cut, last",
            Case(
                play=(Send(json_head + GOOD_DOCUMENT[:-9]), Fin()),
                sent=GOOD_DOCUMENT[:-9],
                streams=False,
                second=False,
            ),
            broken(),
        ),
        (
            "JSON that is cut while held",
            Case(play=(Send(json_head + GOOD_DOCUMENT[:-9]), Fin()), streams=False),
            failed_over(),
        ),
        (
            "300 KiB of JSON",
            Case(play=(Send(json_head + large), Fin()), sent=large, streams=False),
            broken(),
        ),
    )
    return [
        body_scenario("15", name, case, {**expected, **APART}) for name, case, expected in cases
    ]


def _encoded() -> list[Scenario]:
    packed = gzip.compress(GOOD_STREAM)
    brotli = b"\x1b\x0f\x00\xf8\xa5[\x11\x02\xff" * 9
    rows = []
    for coding, body in ((b"gzip", packed), (b"br", brotli)):
        field = b"Content-Encoding: " + coding
        for framing, wire in (
            ("chunked", head(200, field, chunked=True) + chunk(body) + LAST_CHUNK),
            ("with length", whole(body, field)),
        ):
            rows += [
                body_scenario(
                    "18",
                    f"{coding.decode()}, {framing}{'' if second else ', last'}",
                    Case(play=(Send(wire),), sent=body, second=second),
                    answered(**{"content-encoding": coding.decode()}),
                )
                for second in (True, False)
            ]
    rows.append(
        body_scenario(
            "18",
            "gzip that is cut",
            Case(
                play=(
                    Send(head(200, b"Content-Encoding: gzip", chunked=True) + chunk(packed[:60])),
                    Fin(),
                ),
                sent=packed[:60],
            ),
            broken(**{"content-encoding": "gzip"}),
        )
    )
    return rows


def _errors() -> list[Scenario]:
    told = event({"error": {"message": "engine died", "type": "x", "code": 500}})
    bare = b'{"error": {"message": "engine died", "type": "x", "code": 500}}'
    detail = b'{"detail": "engine died"}'
    rows = []
    for name, first in (
        ("an error event", told),
        ("a bare error", bare),
        ("a bare detail", detail),
    ):
        wire = streamed([first, DONE] if first is told else [first])
        sent = first + DONE if first is told else first
        # A bare object is no event: without its end a client must not take it for an answer.
        last = answered() if first is told else {**answered(), "end": any_of("cut by FIN")}
        rows += [
            body_scenario("19", f"{name} first, U2 left", Case(play=(Send(wire),)), failed_over()),
            body_scenario(
                "19",
                f"{name} first, last",
                Case(play=(Send(wire),), sent=sent, second=False),
                last,
            ),
        ]
    late = [*GOOD_EVENTS[:3], told, DONE]
    rows += [
        body_scenario(
            "19",
            "an error event after a role, U2 left",
            Case(play=(Send(streamed([GOOD_EVENTS[0], told, DONE])),)),
            failed_over(),
        ),
        body_scenario(
            "19",
            "an error event after commit",
            Case(play=(Send(streamed(late)),), sent=b"".join(late)),
            answered(),
        ),
        body_scenario(
            "19",
            "JSON error instead of a document, U2 left",
            Case(play=(Send(whole(bare)),), streams=False),
            failed_over(),
        ),
        body_scenario(
            "19",
            "JSON detail instead of a document, U2 left",
            Case(play=(Send(whole(detail)),), streams=False),
            failed_over(),
        ),
        body_scenario(
            "19",
            "JSON error instead of a document, last",
            Case(play=(Send(whole(bare)),), sent=bare, streams=False, second=False),
            answered(),
        ),
        body_scenario(
            "19",
            "JSON that breaks while held",
            Case(play=(Send(whole(GOOD_DOCUMENT)[:-9]), Fin()), streams=False),
            failed_over(),
        ),
        body_scenario(
            "19",
            "an event stream with an error event that breaks, last",
            Case(
                play=(Send(head(200, chunked=True) + chunk(told)), Fin()), sent=told, second=False
            ),
            broken("upstream_broken"),
        ),
        body_scenario(
            "19",
            "a break before content, last",
            Case(play=(Send(head(200, chunked=True)), Fin()), second=False),
            refused(502),
        ),
    ]
    return rows


ROWS: tuple[Scenario, ...] = (*_unframed(), *_encoded(), *_errors())
