"""What is served nowhere, or not by this method: always a refusal in OpenAI's shape, never a redirect."""

import pytest

from autopilot.policy.headers import REQUEST_ID
from tests.web.harness import CHAT, COMPLETIONS, Bench, assert_refused, head, post


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v2/chat/completions",
        "/v1/chat",
        "/v1/chat/completions/more",
        "/v1/embeddings",
        "/V1/models",
        "/healthz/deep",
        "/favicon.ico",
        "/%2e%2e/healthz",
        "/v1/%00",
        "/v1//models",
        "/v1//chat/completions",
        "/v1/chat//completions",
        "/v1/models//org/one",
    ],
)
def test_another_path_is_not_found_and_never_redirected(path: str) -> None:
    for method in ("GET", "POST", "DELETE", "OPTIONS", "BREW"):
        with Bench() as bench:
            answer = bench.call(post(b"", path=path, method=method), method)
            assert answer.header("location") == []
            if path != "/v1/models//org/one" or method == "GET":
                assert_refused(answer, 404, "not_found")
            else:
                assert answer.status in {404, 405}
            assert bench.posted == []


@pytest.mark.parametrize(
    ("path", "allowed", "refused"),
    [
        (CHAT, "POST", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"]),
        (COMPLETIONS, "POST", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"]),
        ("/v1/models", "GET, HEAD", ["POST", "PUT", "DELETE", "OPTIONS"]),
        ("/v1/models/org/one", "GET, HEAD", ["POST", "DELETE", "OPTIONS"]),
        ("/healthz", "GET, HEAD", ["POST", "OPTIONS"]),
        ("/readyz", "GET, HEAD", ["POST", "OPTIONS"]),
        ("/metrics", "GET, HEAD", ["POST", "OPTIONS"]),
    ],
)
def test_another_method_is_refused_with_those_allowed(
    path: str, allowed: str, refused: list[str]
) -> None:
    for method in refused:
        with Bench() as bench:
            answer = bench.call(post(b"{}", path=path, method=method), method)
            assert_refused(answer, 405, "method_not_allowed")
            assert answer.header("allow") == [allowed]
            assert bench.posted == []


def test_head_of_nothing_has_no_body() -> None:
    with Bench() as bench:
        for path, status in (("/nothing", 404), (CHAT, 405)):
            answer = bench.call(head("HEAD", path), "HEAD")
            assert (answer.status, answer.body) == (status, b"")


@pytest.mark.parametrize("path", [CHAT, "/nothing"])
def test_the_refusal_carries_the_clients_request_id(path: str) -> None:
    with Bench() as bench:
        answer = bench.client().get(path, [("X-Request-Id", "mine")])
        assert answer.header(REQUEST_ID.decode()) == ["mine"]


def test_the_connection_stays_usable_after_a_refusal() -> None:
    with Bench() as bench:
        client = bench.client().send(head("GET", "/nothing"))
        assert not client.wire.closing
        client.wire.clear()
        assert client.get("/healthz").status == 200
