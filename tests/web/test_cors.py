"""Cross-origin access: off unless configured, and then in our own words only."""

import pytest

from autopilot.testing import FakeResponse
from tests.web.harness import ALIAS, CHAT, LIMIT, Answer, Bench, chat, head, post

PAGE = "https://page.test"
OTHER = "https://other.test"
THEIRS = (
    (b"Access-Control-Allow-Origin", b"https://theirs.test"),
    (b"Access-Control-Allow-Credentials", b"true"),
    (b"Vary", b"Accept-Encoding"),
)


def cors_fields(answer: Answer) -> dict[str, list[str]]:
    names = {key.lower() for key, _value in answer.fields}
    return {name: answer.header(name) for name in names if name.startswith("access-control-")}


def asked(origin: str, **more: str) -> list[tuple[str, str]]:
    return [("Origin", origin), *((name.replace("_", "-"), value) for name, value in more.items())]


def test_by_default_nothing_is_allowed() -> None:
    with Bench(FakeResponse().send(b"answer").end()) as bench:
        answer = bench.call(post(chat(ALIAS), asked(PAGE)))
        assert cors_fields(answer) == {}
        assert answer.header("vary") == []


def test_by_default_upstreams_own_words_cross() -> None:
    with Bench(FakeResponse(fields=THEIRS).send(b"answer").end()) as bench:
        answer = bench.call(post(chat(ALIAS), asked(PAGE)))
        assert answer.header("access-control-allow-origin") == ["https://theirs.test"]


@pytest.mark.parametrize("origins", [(), (OTHER,)])
def test_a_preflight_of_a_page_that_is_not_allowed_is_another_method(
    origins: tuple[str, ...],
) -> None:
    fields = asked(PAGE, Access_Control_Request_Method="POST")
    with Bench(origins=origins) as bench:
        answer = bench.call(head("OPTIONS", CHAT, fields), "OPTIONS")
        assert answer.status == 405
        assert answer.header("allow") == ["POST"]
        assert cors_fields(answer) == {}


@pytest.mark.parametrize(
    ("origins", "allowed", "vary"), [((PAGE, OTHER), PAGE, ["Origin"]), (("*",), "*", [])]
)
def test_an_allowed_page_may_read_every_answer(
    origins: tuple[str, ...], allowed: str, vary: list[str]
) -> None:
    fields = asked(PAGE)
    requests = [
        post(chat(ALIAS), fields),
        post(b"{", fields),
        head("POST", CHAT, [*fields, ("Content-Length", str(LIMIT + 1))]),
        head("POST", CHAT, [*fields, ("Content-Length", "-1")]),
        head("GET", "/v1/models", fields),
        head("GET", "/v1/models/nothing", fields),
    ]
    for request in requests:
        with Bench(FakeResponse().send(b"answer").end(), origins=origins) as bench:
            answer = bench.call(request)
            assert answer.header("access-control-allow-origin") == [allowed]
            (exposed,) = answer.header("access-control-expose-headers")
            assert {"x-request-id", "x-chutes-autopilot-selected"} <= set(exposed.split(", "))
            assert answer.header("vary") == vary


@pytest.mark.parametrize(
    "origin", [OTHER, "null", "https://page.test.evil.test", "http://page.test"]
)
def test_another_page_may_not(origin: str) -> None:
    with Bench(FakeResponse().send(b"answer").end(), origins=(PAGE,)) as bench:
        answer = bench.call(post(chat(ALIAS), asked(origin)))
        assert (answer.status, cors_fields(answer)) == (200, {})
        assert answer.header("vary") == ["Origin"]


def test_without_an_origin_nothing_is_said_but_that_it_would_matter() -> None:
    with Bench(FakeResponse().send(b"answer").end(), origins=(PAGE,)) as bench:
        answer = bench.call(post(chat(ALIAS)))
        assert (answer.status, cors_fields(answer)) == (200, {})
        assert answer.header("vary") == ["Origin"]


def test_when_on_upstreams_own_words_are_replaced_by_ours() -> None:
    with Bench(FakeResponse(fields=THEIRS).send(b"answer").end(), origins=(PAGE,)) as bench:
        answer = bench.call(post(chat(ALIAS), asked(PAGE)))
        assert answer.header("access-control-allow-origin") == [PAGE]
        assert answer.header("access-control-allow-credentials") == []
        assert sorted(answer.header("vary")) == ["Accept-Encoding", "Origin"]


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/models"])
@pytest.mark.parametrize(("wanted", "given"), [("x-custom", "x-custom"), (None, "authorization")])
def test_a_preflight_of_an_allowed_page_is_answered(
    path: str, wanted: str | None, given: str
) -> None:
    fields = asked(PAGE, Access_Control_Request_Method="POST")
    if wanted is not None:
        fields.append(("Access-Control-Request-Headers", wanted))
    with Bench(origins=(PAGE,)) as bench:
        client = bench.client().send(head("OPTIONS", path, fields))
        answer = client.answer("OPTIONS")
        assert (answer.status, answer.body) == (204, b"")
        assert answer.header("access-control-allow-origin") == [PAGE]
        assert "POST" in answer.header("access-control-allow-methods")[0]
        assert given in answer.header("access-control-allow-headers")[0]
        assert answer.header("access-control-max-age") == ["600"]
        assert answer.header("transfer-encoding") == []
        assert bench.posted == []
        client.wire.clear()
        assert client.get("/healthz").status == 200


def test_options_without_a_preflights_question_is_another_method() -> None:
    with Bench(origins=(PAGE,)) as bench:
        answer = bench.call(head("OPTIONS", CHAT, asked(PAGE)), "OPTIONS")
        assert answer.status == 405


def test_an_origin_is_compared_without_regard_to_case() -> None:
    with Bench(FakeResponse().send(b"answer").end(), origins=("https://Page.test",)) as bench:
        answer = bench.call(post(chat(ALIAS), asked("https://pAGE.test")))
        assert answer.header("access-control-allow-origin") == ["https://pAGE.test"]
