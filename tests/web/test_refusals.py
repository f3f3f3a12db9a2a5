"""Every refusal that a completion request can meet, and the request id that all answers carry."""

import json
import re

import pytest
from twisted.python.failure import Failure

from autopilot.dataplane.upstream import AttemptFailed
from autopilot.policy.catalog import Catalog
from autopilot.policy.ending import BodyEnd
from autopilot.policy.failover import RULES, Outcome
from autopilot.policy.picture import Picture
from autopilot.testing import FakeResponse, picture_of
from tests.web.harness import (
    ALIAS,
    CHAT,
    COMPLETIONS,
    DEADLINES,
    LIMIT,
    Answer,
    Bench,
    assert_refused,
    chat,
    head,
    post,
    sent_upstream,
)

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NINE = ",".join(f"m{number}" for number in range(9))


def model(value: bytes) -> bytes:
    return b'{"model":' + value + b"}"


BODIES: list[tuple[bytes, str, str | None]] = [
    (b"", "invalid_json", None),
    (b"   ", "invalid_json", None),
    (b"{", "invalid_json", None),
    (b"{} trailing", "invalid_json", None),
    (b'{"model":"org/one"}}', "invalid_json", None),
    (b"{'model':'org/one'}", "invalid_json", None),
    (b'{"model":"org/one","x":NaN}', "invalid_json", None),
    (b'{"model":"org/one","x":[-Infinity]}', "invalid_json", None),
    (b'{"model":"org/one","x":"\xff"}', "invalid_json", None),
    (b'\xef\xbb\xbf{"model":"org/one"}', "invalid_json", None),
    ('{"model":"org/one"}'.encode("utf-16"), "invalid_json", None),
    (b'{"model":"org/one","x":"\n"}', "invalid_json", None),
    (b"[]", "invalid_body", None),
    (b'"text"', "invalid_body", None),
    (b"null", "invalid_body", None),
    (b"1", "invalid_body", None),
    (b'{"model":"org/one","model":"org/one"}', "invalid_body", "model"),
    (b'{"model":"org/one","mod\\u0065l":"org/two"}', "invalid_body", "model"),
    (model(b"1"), "invalid_body", "model"),
    (model(b'["org/one"]'), "invalid_body", "model"),
    (model(b'""'), "invalid_body", "model"),
    (model(b'"' + b"x" * 1025 + b'"'), "invalid_body", "model"),
    (model(b'"org/one\\r\\nX-Injected: yes"'), "invalid_body", "model"),
    (model(b'"org/one\\u0000"'), "invalid_body", "model"),
    (b"{}", "missing_model", "model"),
    (model(b"null"), "missing_model", "model"),
    (b'{"nested":{"model":"org/one"}}', "missing_model", "model"),
    (model(b'","'), "invalid_model_list", "model"),
    (model(b'" , ,"'), "invalid_model_list", "model"),
    (model(NINE.encode().join([b'"', b'"'])), "invalid_model_list", "model"),
    (model(b'"org/three"'), "unknown_model", "model"),
    (model(b'"org/one,org/three"'), "unknown_model", "model"),
    (model(b'"../healthz"'), "unknown_model", "model"),
    (model(b'"?x="'), "unknown_model", "model"),
    (model('"модель"'.encode()), "unknown_model", "model"),
    (model(b'"\\ud800"'), "unknown_model", "model"),
]


@pytest.mark.parametrize(("body", "code", "param"), BODIES)
def test_an_unusable_body_is_refused_before_anything_goes_upstream(
    body: bytes, code: str, param: str | None
) -> None:
    for path in (CHAT, COMPLETIONS):
        with Bench() as bench:
            assert_refused(bench.call(post(body, path=path)), 400, code, param=param)
            assert bench.posted == []
            assert bench.ends == ["whole"]
            assert bench.count("autopilot_requests_total", mode="none", status="400") == 1.0


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"model":"org/one","x":[[[['])
def test_deep_nesting_is_the_clients_fault_and_not_ours(opening: bytes) -> None:
    with Bench(limit=1 << 20) as bench:
        answer = bench.call(post(opening * 100_000 if len(opening) < 9 else opening))
        assert answer.status == 400
        assert answer.code in {"invalid_body", "invalid_json"}
        assert bench.posted == []


def test_the_content_type_of_a_request_is_not_judged() -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "%%%"):
        with Bench(FakeResponse().send(b"answer").end()) as bench:
            answer = bench.call(post(chat(ALIAS), [("Content-Type", kind)]))
            assert (answer.status, answer.body) == (200, b"answer")


def test_an_unknown_model_is_named_and_so_is_every_other_one() -> None:
    with Bench() as bench:
        message = bench.call(post(chat("org/three,org/one,org/four"))).json["error"]["message"]
        assert "org/three" in message
        assert "org/four" in message
        assert "org/one" not in message


def test_with_an_empty_catalogue_names_go_upstream_unchecked() -> None:
    with Bench(FakeResponse().send(b"answer").end(), picture=Picture()) as bench:
        assert bench.call(post(chat("org/unheard-of"))).status == 200
        assert bench.asked == ["org/unheard-of"]


def test_no_candidates_is_a_server_error() -> None:
    for name in (ALIAS, f"{ALIAS},{ALIAS}"):
        with Bench(picture=Picture(catalog=Catalog())) as bench:
            assert_refused(bench.call(post(chat(name))), 503, "no_candidates")
            assert bench.posted == []


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        (Outcome.CONNECT_FAILED, 502, "upstream_connect_error"),
        (Outcome.CONNECT_TIMEOUT, 504, "upstream_connect_timeout"),
        (Outcome.CONNECTION_LOST, 502, "upstream_connection_lost"),
        (Outcome.PROTOCOL_ERROR, 502, "upstream_protocol_error"),
    ],
)
@pytest.mark.parametrize("name", [ALIAS, "org/one,org/two", "org/one"])
def test_without_an_answer_the_last_failure_is_told(
    outcome: Outcome, status: int, code: str, name: str
) -> None:
    with Bench(*[AttemptFailed(outcome)] * 2) as bench:
        assert_refused(bench.call(post(chat(name))), status, code)
        assert len(bench.posted) == (1 if name == "org/one" else 2)
        assert bench.ends == ["whole"]


def test_every_refusal_of_the_verdict_table_has_its_test_here() -> None:
    tested = {
        "upstream_connect_error",
        "upstream_connect_timeout",
        "upstream_connection_lost",
        "upstream_protocol_error",
        "upstream_header_timeout",
        "upstream_first_body_byte_timeout",
        "upstream_body_error",
    }
    assert tested == {rule.refusal[0].text for rule in RULES.values() if rule.refusal}


@pytest.mark.parametrize(
    ("stream", "seconds"), [(True, DEADLINES.first_body_byte), (False, DEADLINES.completion)]
)
def test_headers_that_never_come_are_a_gateway_timeout(*, stream: bool, seconds: float) -> None:
    with Bench() as bench:
        client = bench.client().ask("org/one", stream=stream)
        bench.clock.advance(seconds - 0.01)
        assert client.received == b""
        bench.clock.advance(0.02)
        assert_refused(client.answer(), 504, "upstream_header_timeout")
        assert bench.fake.cancelled == 1


def test_a_first_byte_that_never_comes_is_a_gateway_timeout() -> None:
    upstream = FakeResponse()
    with Bench(upstream) as bench:
        client = bench.client().ask("org/one")
        bench.clock.advance(DEADLINES.first_body_byte - 0.01)
        assert client.received == b""
        bench.clock.advance(0.02)
        assert_refused(client.answer(), 504, "upstream_first_body_byte_timeout")
        assert upstream.discarded


@pytest.mark.parametrize("end", BodyEnd)
@pytest.mark.parametrize("length", [0, None])
def test_a_success_without_a_byte_is_a_bad_gateway(end: BodyEnd, length: int | None) -> None:
    with Bench(FakeResponse(200, length=length).end(end)) as bench:
        assert_refused(bench.call(post(chat("org/one"))), 502, "upstream_body_error")


def test_a_fault_of_our_own_is_an_internal_error(
    monkeypatch: pytest.MonkeyPatch, lost_errors: list[Failure]
) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("the code is wrong")

    with Bench() as bench:
        monkeypatch.setattr(bench.fake, "post", fail)
        assert_refused(bench.call(post(chat(ALIAS))), 500, "internal_error")
        assert bench.ends == ["whole"]
        assert bench.count("autopilot_requests_total", mode="alias", status="500") == 1.0
    assert [failure.type for failure in lost_errors] == [RuntimeError]
    lost_errors.clear()


def test_a_fault_of_our_own_outside_an_exchange_is_one_too(
    monkeypatch: pytest.MonkeyPatch, lost_errors: list[Failure]
) -> None:
    def fail() -> bytes:
        raise RuntimeError("the code is wrong")

    with Bench() as bench:
        monkeypatch.setattr(bench.metrics, "exposition", fail)
        assert_refused(bench.client().get("/metrics"), 500, "internal_error")
    assert [failure.type for failure in lost_errors] == [RuntimeError]
    lost_errors.clear()


def answers_of_every_kind(fields: list[tuple[str, str]]) -> list[tuple[str, Answer]]:
    """One answer of each kind to a request with `fields`."""
    ending = FakeResponse().send(b"answer").end()
    kinds: list[tuple[str, Bench, bytes]] = [
        ("answered", Bench(ending), post(chat(ALIAS), fields)),
        ("direct", Bench(FakeResponse().send(b"x").end()), post(chat("org/one"), fields)),
        ("passed on", Bench(FakeResponse(401).send(b"x").end()), post(chat(ALIAS), fields)),
        ("redirect", Bench(FakeResponse(302).send(b"x").end()), post(chat(ALIAS), fields)),
        ("no content", Bench(FakeResponse(204).end()), post(chat("org/one"), fields)),
        ("bad body", Bench(), post(b"{", fields)),
        ("unknown", Bench(), post(chat("org/three"), fields)),
        ("large", Bench(), head("POST", CHAT, [*fields, ("Content-Length", str(LIMIT + 1))])),
        ("malformed", Bench(), head("POST", CHAT, [*fields, ("Content-Length", "-1")])),
        ("lost", Bench(AttemptFailed(Outcome.CONNECT_FAILED)), post(chat("org/one"), fields)),
        ("unready", Bench(picture=Picture()), post(chat(ALIAS), fields)),
        ("completion", Bench(FakeResponse().send(b"x").end()), post(chat(ALIAS), fields)),
    ]
    answers = []
    for kind, bench, request in kinds:
        with bench:
            answers.append((kind, bench.call(request)))
    return answers


@pytest.mark.parametrize("offered", ["x", "x" * 128, "!~{}", "a,b;c"])
def test_every_answer_carries_the_clients_own_request_id_once(offered: str) -> None:
    for kind, answer in answers_of_every_kind([("X-Request-Id", offered)]):
        assert answer.header("x-request-id") == [offered], kind


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("X-Request-Id", "")],
        [("X-Request-Id", "x" * 129)],
        [("X-Request-Id", "two words")],
        [("X-Request-Id", "caf\u00e9")],
        [("X-Request-Id", "one"), ("X-Request-Id", "two")],
    ],
)
def test_without_a_usable_one_every_answer_carries_a_new_uuid(
    fields: list[tuple[str, str]],
) -> None:
    seen = []
    for kind, answer in answers_of_every_kind(fields):
        (given,) = answer.header("x-request-id")
        assert UUID.fullmatch(given), kind
        seen.append(given)
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("offered", ["mine", None])
def test_the_request_id_goes_upstream_and_replaces_upstreams_own(offered: str | None) -> None:
    theirs = [(b"X-Request-ID", b"theirs"), (b"x-request-id", b"theirs too")]
    with Bench(FakeResponse(fields=theirs).send(b"answer").end()) as bench:
        answer = bench.call(post(chat(ALIAS), [("X-Request-Id", offered)] if offered else []))
        (given,) = answer.header("x-request-id")
        assert given == (offered or given)
        assert "theirs" not in given
        assert sent_upstream(bench.posted[0], "x-request-id") == [given.encode()]
        assert [line["request_id"] for line in bench.lines()] == [given]


def test_all_attempts_of_a_request_have_one_id() -> None:
    with Bench(FakeResponse(503).end(), FakeResponse().send(b"answer").end()) as bench:
        (given,) = bench.call(post(chat(ALIAS))).header("x-request-id")
        sent = [sent_upstream(posted, "x-request-id") for posted in bench.posted]
        assert sent == [[given.encode()]] * 2


@pytest.mark.parametrize("name", ["org/one", "chute-org/one", "org/one:latency"])
def test_a_direct_body_goes_upstream_to_the_byte(name: str) -> None:
    body = b' {"n":1e400, "model" : %s,"k":1.0,"deep":{"model":1,"model":2}}\n'
    body %= json.dumps(name).encode()
    with Bench(FakeResponse().send(b"answer").end()) as bench:
        bench.call(post(body))
        assert bench.posted[0].body == body


def test_a_routed_body_goes_upstream_with_only_its_model_replaced() -> None:
    body = b'{"n":1e400 ,\t"model" :"%s","k":1.0,"u":"\\ud800","i":' + b"7" * 60 + b"}\r\n"
    with Bench(FakeResponse().send(b"answer").end(), picture=picture_of("org/zero")) as bench:
        bench.call(post(body % ALIAS.encode()))
        assert bench.posted[0].body == body % b"org/zero"
