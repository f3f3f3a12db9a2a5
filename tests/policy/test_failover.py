"""The one table: what every answer means, and what may follow it."""

import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.errors import Code
from autopilot.policy.failover import (
    JUDGED_BODY_BYTES,
    RULES,
    Outcome,
    Verdict,
    decide,
    judge_body,
    judge_status,
)

from .strategies import json_like_bytes, steady

NEXT, COMMIT = Verdict.NEXT, Verdict.COMMIT
PASS, GIVE_UP = Verdict.PASS_THROUGH, Verdict.GIVE_UP
CAPACITY = b'{"detail":"Infrastructure is at maximum capacity, try again later"}'
HTML = b"<html><head><title>429 Too Many Requests</title></head></html>"
EVERY_SITUATION = list(product((True, False), (None, *Outcome)))


def outcome_of(status: int, body: bytes = b"") -> Outcome:
    return judge_status(status) or judge_body(status, body)


def test_the_table_knows_every_outcome() -> None:
    assert set(RULES) == set(Outcome)


@pytest.mark.parametrize("outcome", Outcome)
def test_every_case_has_a_verdict_and_next_only_while_it_can_be_obeyed(outcome: Outcome) -> None:
    for remaining, previous in EVERY_SITUATION:
        verdict = decide(outcome, remaining=remaining, previous=previous)
        assert isinstance(verdict, Verdict)
        if not remaining:
            assert verdict is not NEXT
        if outcome is not Outcome.SUCCESS:
            assert verdict is not COMMIT


@pytest.mark.parametrize("outcome", Outcome)
def test_whoever_gives_up_has_words_for_it_unless_nobody_is_left_to_hear_them(
    outcome: Outcome,
) -> None:
    rule = RULES[outcome]
    unheard = {Outcome.CLIENT_GONE, Outcome.SHUTDOWN}
    needs_words = GIVE_UP in (rule.last, rule.remaining) and outcome not in unheard
    assert (rule.refusal is not None) is needs_words
    if rule.refusal is not None:
        code, message = rule.refusal
        assert code.status in {502, 504}
        assert message.endswith(".")


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.CONNECT_FAILED, Code.UPSTREAM_CONNECT_ERROR),
        (Outcome.CONNECT_TIMEOUT, Code.UPSTREAM_CONNECT_TIMEOUT),
        (Outcome.CONNECTION_LOST, Code.UPSTREAM_CONNECTION_LOST),
        (Outcome.PROTOCOL_ERROR, Code.UPSTREAM_PROTOCOL_ERROR),
        (Outcome.HEADER_TIMEOUT, Code.UPSTREAM_HEADER_TIMEOUT),
        (Outcome.FIRST_BYTE_TIMEOUT, Code.UPSTREAM_FIRST_BODY_BYTE_TIMEOUT),
        (Outcome.EMPTY_BODY, Code.UPSTREAM_BODY_ERROR),
        (Outcome.BROKEN_BODY, Code.UPSTREAM_BODY_ERROR),
    ],
)
def test_an_attempt_without_an_answer_moves_on_and_at_last_refuses(
    outcome: Outcome, code: Code
) -> None:
    assert decide(outcome, remaining=True) is NEXT
    assert decide(outcome, remaining=False) is GIVE_UP
    refusal = RULES[outcome].refusal
    assert refusal is not None
    assert refusal[0] is code


def detail(value: object) -> bytes:
    return json.dumps({"detail": value}).encode()


@pytest.mark.parametrize(
    ("status", "body", "remaining"),
    [
        (429, CAPACITY, NEXT),
        (429, detail("Free models limit reached ..."), PASS),
        (429, HTML, PASS),
        (503, detail("No instances available (yet) for chute_id='x'"), NEXT),
        (503, detail("This chute is currently disabled."), NEXT),
        (500, detail("exhausted all available targets to no avail"), NEXT),
        (500, detail("No infrastructure available to serve request"), NEXT),
        (502, HTML, NEXT),
        (504, HTML, NEXT),
        (501, b"", NEXT),
        (505, b"", NEXT),
        (599, b"", NEXT),
        (400, detail("Invalid request: the context is too long"), PASS),
        (401, detail("Invalid token."), PASS),
        (402, detail({"message": "m", "quota_reset_timestamp": 1}), PASS),
        (403, detail("Forbidden"), PASS),
        (404, detail("model not found: org/a"), NEXT),
        (404, detail("No matching chute found!"), NEXT),
        (404, detail("Not Found"), PASS),
        (404, HTML, PASS),
        (413, b"", PASS),
        (418, CAPACITY, PASS),
        (422, detail([]), PASS),
        (426, b"", PASS),
        (499, b"", PASS),
        (300, b"", PASS),
        (301, b"", PASS),
        (304, b"", PASS),
        (307, b"", PASS),
        (308, b"", PASS),
        (200, b"", COMMIT),
        (201, b"", COMMIT),
        (206, b"", COMMIT),
        (204, b"", NEXT),
    ],
)
def test_an_answer_means_what_the_platforms_table_says(
    status: int, body: bytes, remaining: Verdict
) -> None:
    outcome = outcome_of(status, body)
    assert decide(outcome, remaining=True) is remaining
    # The last answer is the client's, untouched.
    assert decide(outcome, remaining=False) is (COMMIT if remaining is COMMIT else PASS)


def test_a_second_500_in_a_row_is_final_and_only_that() -> None:
    again = outcome_of(500)
    for previous in (None, *Outcome):
        verdict = decide(again, remaining=True, previous=previous)
        assert verdict is (PASS if previous is again else NEXT)
    for status in (502, 503, 504):
        assert decide(outcome_of(status), remaining=True, previous=again) is NEXT
    assert decide(Outcome.CONNECTION_LOST, remaining=True, previous=again) is NEXT


def test_only_account_and_edge_limits_tell_clients_not_to_retry() -> None:
    stopping = {outcome for outcome in Outcome if RULES[outcome].stops_retries}
    assert stopping == {
        outcome_of(429, detail("Free models limit reached ...")),
        outcome_of(429, HTML),
    }
    assert outcome_of(429, CAPACITY) not in stopping


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome.CONNECT_FAILED,
        Outcome.CONNECT_TIMEOUT,
        Outcome.ACCOUNT_LIMIT,
        Outcome.EDGE_LIMIT,
        Outcome.REFUSED,
        Outcome.REDIRECTED,
        Outcome.SUCCESS,
        Outcome.CLIENT_GONE,
    ],
)
def test_what_says_nothing_about_the_model_does_not_blame_it(outcome: Outcome) -> None:
    assert not RULES[outcome].blames_model


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome.CAPACITY,
        Outcome.UNAVAILABLE,
        Outcome.INTERNAL_ERROR,
        Outcome.SERVER_ERROR,
        Outcome.MODEL_NOT_FOUND,
        Outcome.NO_CONTENT,
        Outcome.EMPTY_BODY,
        Outcome.BROKEN_BODY,
        Outcome.HEADER_TIMEOUT,
        Outcome.FIRST_BYTE_TIMEOUT,
        Outcome.CONNECTION_LOST,
        Outcome.PROTOCOL_ERROR,
    ],
)
def test_what_the_model_did_wrong_is_held_against_it(outcome: Outcome) -> None:
    assert RULES[outcome].blames_model


@pytest.mark.parametrize(
    "body",
    [
        b"",
        CAPACITY[:-1],
        CAPACITY + b"x",
        CAPACITY.replace(b"later", b"later."),
        CAPACITY.replace(b"Infra", b"infra"),
        CAPACITY.replace(b"detail", b"error"),
        b"[" + CAPACITY + b"]",
        json.dumps("Infrastructure is at maximum capacity, try again later").encode(),
        detail(["Infrastructure is at maximum capacity, try again later"]),
        detail(None),
        detail(429),
        b'{"error":{"message":"Infrastructure is at maximum capacity, try again later"}}',
        CAPACITY.decode().encode("utf-16"),
        b'{"detail":' * 1600,
        b'{"detail":' + b"9" * 5000 + b"}",
        HTML,
    ],
)
def test_a_429_that_is_not_exactly_the_capacity_answer_is_never_retried(body: bytes) -> None:
    assert judge_body(429, body) in {Outcome.ACCOUNT_LIMIT, Outcome.EDGE_LIMIT}


@pytest.mark.parametrize(
    "body",
    [
        CAPACITY,
        b" \n" + CAPACITY + b"\n",
        b'{"x": 1, "detail" : "Infrastructure is at maximum capacity\\u002c try again later"}',
    ],
)
def test_the_capacity_answer_is_known_by_what_it_says_not_by_its_spelling(body: bytes) -> None:
    assert judge_body(429, body) is Outcome.CAPACITY


@pytest.mark.parametrize(
    "body",
    [
        b"",
        HTML,
        b'{"detail":"model not found: org/a"',
        detail("Not Found"),
        detail("the model not found: org/a"),
        detail("No matching chute found"),
        detail(["model not found: org/a"]),
        detail({"model not found: ": 1}),
        b'{"error":"model not found: org/a"}',
        CAPACITY,
    ],
)
def test_a_404_that_does_not_name_the_model_is_the_callers(body: bytes) -> None:
    assert judge_body(404, body) is Outcome.REFUSED


@steady
@given(body=json_like_bytes, status=st.sampled_from([404, 429]))
def test_any_body_can_be_judged_and_noise_never_blames_the_model(body: bytes, status: int) -> None:
    assert not RULES[judge_body(status, body)].blames_model


def test_a_body_that_nests_too_deeply_to_be_read_is_judged_all_the_same() -> None:
    body = b'{"detail":' + b"[" * JUDGED_BODY_BYTES
    assert judge_body(429, body) is Outcome.EDGE_LIMIT
    assert judge_body(404, body) is Outcome.REFUSED


def test_every_status_is_judged_and_only_404_and_429_by_their_bodies() -> None:
    judged = {status: judge_status(status) for status in range(-1, 1000)}
    assert {status for status, outcome in judged.items() if outcome is None} == {404, 429}
    odd = {judged[status] for status in judged if not 200 <= status <= 599}
    assert odd == {Outcome.PROTOCOL_ERROR}
    proper = {judged[status] for status in range(200, 600)}
    assert Outcome.PROTOCOL_ERROR not in proper
