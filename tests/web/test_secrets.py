"""No token, prompt or address of a client in a log line, a metric or an error, whatever happens."""

from collections.abc import Callable
from ipaddress import ip_network

import pytest
from twisted.python.failure import Failure

from autopilot.dataplane.upstream import AttemptFailed
from autopilot.policy.ending import BodyEnd
from autopilot.policy.failover import Outcome
from autopilot.policy.picture import Picture
from autopilot.testing import FakeResponse
from tests.web.harness import (
    ALIAS,
    CHAT,
    COMPLETIONS,
    LIMIT,
    PEER,
    Bench,
    Client,
    chat,
    head,
    post,
)

TOKEN = "canary-token-7c1e"
PROMPT = "canary-prompt-90ab"
CLAIMED = "203.0.113.199"
ANSWER = b"canary-answer-41fd"
CANARIES = (TOKEN, PROMPT, CLAIMED, PEER, ANSWER.decode(), "10.9.8.7")

FIELDS = [
    ("Authorization", f"Bearer {TOKEN}"),
    ("X-Forwarded-For", CLAIMED),
    ("Cookie", TOKEN),
    ("Referer", f"https://{PROMPT}.test/"),
    ("User-Agent", PROMPT),
]


def ask(model: object, *, stream: bool = True, path: str = CHAT) -> bytes:
    messages = [{"role": "user", "content": PROMPT}]
    return post(chat(model, stream=stream, messages=messages, user=CLAIMED), FIELDS, path=path)


def raw(body: bytes) -> bytes:
    return post(body, FIELDS)


def answered() -> FakeResponse:
    return FakeResponse().send(ANSWER).end()


def nothing(_bench: Bench, _client: Client) -> None:
    """The exchange is over by itself."""


def leave(_bench: Bench, client: Client) -> None:
    client.hang_up()


def wait(bench: Bench, _client: Client) -> None:
    bench.clock.advance(700.0)


Then = Callable[[Bench, Client], None]
Case = tuple[list[FakeResponse | Exception | None], bytes, Then]
SECRET = PROMPT.encode()

CASES: dict[str, Callable[[], Case]] = {
    "answered": lambda: ([answered()], ask(ALIAS), nothing),
    "not streamed": lambda: ([answered()], ask(ALIAS, stream=False), nothing),
    "completion": lambda: ([answered()], ask(ALIAS, path=COMPLETIONS), nothing),
    "list": lambda: ([answered()], ask("org/one,org/two"), nothing),
    "direct": lambda: ([answered()], ask("org/one"), nothing),
    "failover": lambda: ([FakeResponse(503).send(ANSWER).end(), answered()], ask(ALIAS), nothing),
    "refused": lambda: ([FakeResponse(401).send(ANSWER).end()], ask(ALIAS), nothing),
    "limited": lambda: ([FakeResponse(429).send(ANSWER).end()], ask(ALIAS), nothing),
    "not found": lambda: ([FakeResponse(404).send(ANSWER).end()], ask("org/one"), nothing),
    "no content": lambda: ([FakeResponse(204).end(), FakeResponse(204).end()], ask(ALIAS), nothing),
    "broken": lambda: ([FakeResponse().send(ANSWER).end(BodyEnd.BROKEN)], ask(ALIAS), nothing),
    "empty": lambda: ([FakeResponse().end()], ask("org/one"), nothing),
    "lost": lambda: ([AttemptFailed(Outcome.CONNECTION_LOST)], ask("org/one"), nothing),
    "silent": lambda: ([None], ask("org/one"), wait),
    "headers only": lambda: ([FakeResponse()], ask("org/one"), wait),
    "left before headers": lambda: ([None], ask(ALIAS), leave),
    "left before the first byte": lambda: ([FakeResponse()], ask(ALIAS), leave),
    "not UTF-8": lambda: ([], raw(b'{"model":"' + SECRET + b'\xff"}'), nothing),
    "not JSON": lambda: ([], raw(b'{"model":"' + SECRET + b'"'), nothing),
    "NaN": lambda: ([], raw(b'{"x":"' + SECRET + b'","y":NaN}'), nothing),
    "trailing": lambda: ([], raw(b'{"model":"x"}' + SECRET), nothing),
    "no object": lambda: ([], raw(b'["' + SECRET + b'"]'), nothing),
    "nested": lambda: ([], raw(b'{"' + SECRET + b'":' + b"[" * 1900 + b"1"), nothing),
    "no model": lambda: ([], raw(b'{"x":"' + SECRET + b'"}'), nothing),
    "two models": lambda: ([], raw(b'{"model":"' + SECRET + b'","model":1}'), nothing),
    "a list as model": lambda: ([], raw(b'{"model":["' + SECRET + b'"]}'), nothing),
    "a control character": lambda: ([], raw(b'{"model":"' + SECRET + b'\\u0000"}'), nothing),
    "too long a model": lambda: ([], raw(b'{"model":"' + SECRET * 99 + b'"}'), nothing),
    "too long a list": lambda: ([], ask(",".join(f"{PROMPT}{n}" for n in range(9))), nothing),
    "too large": lambda: ([], post(SECRET * LIMIT, FIELDS), nothing),
    "declared too large": lambda: (
        [],
        head("POST", CHAT, [*FIELDS, ("Content-Length", str(LIMIT + 1))]) + SECRET,
        nothing,
    ),
    "a bad length": lambda: (
        [],
        head("POST", CHAT, [*FIELDS, ("Content-Length", PROMPT)]),
        nothing,
    ),
    "a bad chunk": lambda: (
        [],
        head("POST", CHAT, [*FIELDS, ("Transfer-Encoding", "chunked")]) + SECRET + b"\r\n",
        nothing,
    ),
    "a bad request line": lambda: ([], f"{TOKEN} {PROMPT}\r\n\r\n".encode(), nothing),
    "half a body": lambda: ([], ask(ALIAS)[:-3], leave),
    "another path": lambda: ([], head("GET", f"/{PROMPT}?{TOKEN}", FIELDS), nothing),
    "another method": lambda: ([], head("DELETE", f"{CHAT}?{TOKEN}", FIELDS), nothing),
    "another model": lambda: ([], head("GET", f"/v1/models/{PROMPT}", FIELDS), nothing),
}

OURS = {
    "answered",
    "not streamed",
    "completion",
    "list",
    "direct",
    "failover",
    "refused",
    "limited",
}
PASSED_ON = OURS | {"not found", "broken"}


def assert_clean(text: str) -> None:
    for canary in CANARIES:
        assert canary not in text


@pytest.mark.parametrize("kind", CASES)
def test_no_secret_leaves_by_log_metric_or_error(kind: str) -> None:
    for style in ("json", "text"):
        scripted, request, then = CASES[kind]()
        trusted = (ip_network("192.0.2.0/24"),)
        with Bench(*scripted, log_style=style, trusted_proxies=trusted) as bench:
            client = bench.client().send(request)
            then(bench, client)
            client.hang_up()
            if kind not in PASSED_ON:
                assert_clean(client.received.decode("latin-1"))
            if bench.posted:
                assert bench.log.getvalue()
            assert_clean(bench.log.getvalue())
            assert_clean(bench.metrics.exposition().decode())


def test_a_model_name_that_only_the_client_knows_is_shown_to_nobody_else() -> None:
    for name in (PROMPT, f"{PROMPT},org/two"):
        with Bench(answered(), picture=Picture()) as bench:
            bench.client().send(ask(name))
            assert_clean(bench.log.getvalue())
            assert_clean(bench.metrics.exposition().decode())
            assert "other" in bench.log.getvalue()


@pytest.mark.parametrize("style", ["json", "text"])
def test_an_unexpected_error_is_logged_without_its_text(
    style: str, monkeypatch: pytest.MonkeyPatch, lost_errors: list[Failure]
) -> None:
    def fail(_path: str, fields: object, body: bytes, *, fresh: bool) -> None:  # noqa: ARG001
        raise ValueError(fields, body)

    with Bench(log_style=style) as bench:
        monkeypatch.setattr(bench.fake, "post", fail)
        client = bench.client().send(ask(ALIAS))
        assert client.answer().code == "internal_error"
        assert_clean(client.received.decode())
        assert_clean(bench.log.getvalue())
        assert "ValueError" in bench.log.getvalue()
    lost_errors.clear()
