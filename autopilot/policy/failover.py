"""What an attempt came to, and what happens next: one table from outcomes to verdicts.

The meanings are those of `research/PLATFORM.md`, "What an answer means".

Rule 1: only what came before the commit is judged here; after it nothing leads to another candidate.
Rule 2: what blames the caller, or would be punished if repeated, is passed through, once.
Rule 3: what the model or its infrastructure did wrong moves on, while a candidate is left.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from autopilot.policy.errors import Code

CAPACITY_DETAIL = "Infrastructure is at maximum capacity, try again later"
_NOT_FOUND_PREFIX = "model not found: "
_NO_CHUTE_DETAIL = "No matching chute found!"

JUDGED_BODY_BYTES = 16 * 1024
"""How much of a 429 or 404 body is read to judge it. The platform's own are below 300 bytes."""

JUDGED_BODY_SECONDS = 1.0
"""How long such a body is waited for: it comes with its headers, or something is wrong."""


class Outcome(StrEnum):
    """How one attempt ended. The values are metric labels and log words."""

    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    DNS_FAILED = "dns_failed"
    TLS_FAILED = "tls_failed"
    CONNECTION_LOST = "connection_lost"
    PROTOCOL_ERROR = "protocol_error"
    HEADER_TIMEOUT = "header_timeout"
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    EMPTY_BODY = "empty_body"
    BROKEN_BODY = "broken_body"
    ERROR_FIRST = "error_first"
    NO_CONTENT = "no_content"
    CAPACITY = "capacity"
    ACCOUNT_LIMIT = "account_limit"
    EDGE_LIMIT = "edge_limit"
    MODEL_NOT_FOUND = "model_not_found"
    INTERNAL_ERROR = "internal_error"
    UNAVAILABLE = "unavailable"
    SERVER_ERROR = "server_error"
    REFUSED = "refused"
    REDIRECTED = "redirected"
    SUCCESS = "success"
    CLIENT_GONE = "client_gone"
    SHUTDOWN = "shutdown"


class Verdict(Enum):
    """What the engine must do."""

    NEXT = auto()
    """Drop this answer and try the next candidate."""
    COMMIT = auto()
    """Give this answer to the client; it is the model's."""
    PASS_THROUGH = auto()
    """Give this answer to the client untouched; it is no success."""
    GIVE_UP = auto()
    """There is no answer to give: refuse in our own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one outcome means.

    `remaining` and `last` are the verdicts with and without a further candidate. `blames_model`: the
    client should not be kept on this model. `refusal`: our own words when there is nothing to pass.
    `stops_retries`: the answer tells the SDKs not to retry, since the platform punishes that.
    """

    remaining: Verdict
    last: Verdict
    blames_model: bool = False
    refusal: tuple[Code, str] | None = None
    stops_retries: bool = False


def _moves_on(last: Verdict = Verdict.PASS_THROUGH) -> Rule:
    return Rule(remaining=Verdict.NEXT, last=last, blames_model=True)


def _failed(code: Code, message: str, *, blames_model: bool = True) -> Rule:
    return Rule(
        remaining=Verdict.NEXT,
        last=Verdict.GIVE_UP,
        blames_model=blames_model,
        refusal=(code, message),
    )


def _final(verdict: Verdict, *, stops_retries: bool = False) -> Rule:
    return Rule(remaining=verdict, last=verdict, stops_retries=stops_retries)


ORIGIN_OUTCOMES = frozenset(
    {Outcome.CONNECT_FAILED, Outcome.CONNECT_TIMEOUT, Outcome.DNS_FAILED, Outcome.TLS_FAILED}
)
"""Outcomes that speak of the origin, which all candidates share, and not of a model."""

RULES: Mapping[Outcome, Rule] = {
    # All candidates share one origin: failing to reach it says nothing about the model.
    Outcome.CONNECT_FAILED: _failed(
        Code.UPSTREAM_CONNECT_ERROR,
        "The upstream did not accept a connection.",
        blames_model=False,
    ),
    Outcome.DNS_FAILED: _failed(
        Code.UPSTREAM_CONNECT_ERROR,
        "The upstream's name could not be resolved.",
        blames_model=False,
    ),
    Outcome.TLS_FAILED: _failed(
        Code.UPSTREAM_CONNECT_ERROR,
        "No TLS connection to the upstream could be made: its certificate is not accepted here.",
        blames_model=False,
    ),
    Outcome.CONNECT_TIMEOUT: _failed(
        Code.UPSTREAM_CONNECT_TIMEOUT,
        "The upstream did not accept a connection in time.",
        blames_model=False,
    ),
    Outcome.CONNECTION_LOST: _failed(
        Code.UPSTREAM_CONNECTION_LOST, "The upstream closed the connection without an answer."
    ),
    Outcome.PROTOCOL_ERROR: _failed(
        Code.UPSTREAM_PROTOCOL_ERROR, "The upstream answered with something that is not HTTP."
    ),
    Outcome.HEADER_TIMEOUT: _failed(
        Code.UPSTREAM_HEADER_TIMEOUT, "The upstream did not start to answer in time."
    ),
    Outcome.FIRST_BYTE_TIMEOUT: _failed(
        Code.UPSTREAM_FIRST_BODY_BYTE_TIMEOUT,
        "The upstream sent headers, but no byte of an answer in time.",
    ),
    Outcome.EMPTY_BODY: _failed(
        Code.UPSTREAM_BODY_ERROR, "The upstream reported success with an empty answer."
    ),
    Outcome.BROKEN_BODY: _failed(
        Code.UPSTREAM_BODY_ERROR, "The upstream's answer broke before its first byte."
    ),
    Outcome.ERROR_FIRST: _moves_on(),
    Outcome.NO_CONTENT: _moves_on(),
    Outcome.CAPACITY: _moves_on(),
    Outcome.ACCOUNT_LIMIT: _final(Verdict.PASS_THROUGH, stops_retries=True),
    Outcome.EDGE_LIMIT: _final(Verdict.PASS_THROUGH, stops_retries=True),
    Outcome.MODEL_NOT_FOUND: _moves_on(),
    Outcome.INTERNAL_ERROR: _moves_on(),
    Outcome.UNAVAILABLE: _moves_on(),
    Outcome.SERVER_ERROR: _moves_on(),
    Outcome.REFUSED: _final(Verdict.PASS_THROUGH),
    Outcome.REDIRECTED: _final(Verdict.PASS_THROUGH),
    Outcome.SUCCESS: _final(Verdict.COMMIT),
    Outcome.CLIENT_GONE: _final(Verdict.GIVE_UP),
    Outcome.SHUTDOWN: _final(Verdict.GIVE_UP),
}


def decide(outcome: Outcome, *, remaining: bool, previous: Outcome | None = None) -> Verdict:
    """The verdict on an attempt.

    `remaining`: a further candidate may be tried. `previous`: the outcome of the attempt before, since
    a second 500 in a row may well be the request itself.
    """
    if outcome is Outcome.INTERNAL_ERROR and previous is Outcome.INTERNAL_ERROR:
        return Verdict.PASS_THROUGH
    rule = RULES[outcome]
    return rule.remaining if remaining else rule.last


_BY_STATUS = {
    204: Outcome.NO_CONTENT,
    404: None,
    429: None,
    500: Outcome.INTERNAL_ERROR,
    503: Outcome.UNAVAILABLE,
}
_BY_CLASS = {
    2: Outcome.SUCCESS,
    3: Outcome.REDIRECTED,
    4: Outcome.REFUSED,
    5: Outcome.SERVER_ERROR,
}


def judge_status(status: int) -> Outcome | None:
    """What a final status alone says; None for 404 and 429, whose bodies must be read.

    A 2xx is a success so far: it has to show a first body byte. A status that no final response can
    have is a protocol error.
    """
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return _BY_CLASS.get(status // 100, Outcome.PROTOCOL_ERROR)


def judge_body(status: int, body: bytes) -> Outcome:
    """What a 404 or 429 says with the beginning of its body, at most `JUDGED_BODY_BYTES` long.

    A body that is cut or is no JSON never means that the model is to blame.
    """
    detail = detail_of(body)
    if status == 429:  # noqa: PLR2004
        if detail == CAPACITY_DETAIL:
            return Outcome.CAPACITY
        return Outcome.EDGE_LIMIT if detail is None else Outcome.ACCOUNT_LIMIT
    if isinstance(detail, str) and (
        detail.startswith(_NOT_FOUND_PREFIX) or detail == _NO_CHUTE_DETAIL
    ):
        return Outcome.MODEL_NOT_FOUND
    return Outcome.REFUSED


def detail_of(body: bytes) -> object:
    """The `detail` of a platform error; None if the body is none."""
    try:
        answer = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return answer.get("detail") if isinstance(answer, dict) else None
