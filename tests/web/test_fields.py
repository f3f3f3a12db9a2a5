"""Which header fields cross, in each direction, and what the router adds of its own."""

import pytest

from autopilot.policy.ending import BodyEnd
from autopilot.policy.picture import Picture
from autopilot.testing import FakeResponse, picture_of
from tests.web.harness import ALIAS, Bench, chat, post, sent_upstream

SELECTED = "x-chutes-autopilot-selected"


def whole(status: int = 200, fields: tuple[tuple[bytes, bytes], ...] = ()) -> FakeResponse:
    return FakeResponse(status, fields=fields).send(b"answer").end()


def test_the_clients_fields_go_upstream_repeated_ones_included() -> None:
    fields = [
        ("Authorization", "Bearer key"),
        ("X-Repeated", "one"),
        ("X-Repeated", "two"),
        ("Cookie", "a=b"),
        ("Content-Type", "application/json"),
        ("User-Agent", "test/1"),
        ("OpenAI-Organization", "org"),
    ]
    with Bench(whole()) as bench:
        bench.call(post(chat(ALIAS), fields))
        (posted,) = bench.posted
        for name in {name for name, _value in fields}:
            expected = [value.encode() for key, value in fields if key == name]
            assert sent_upstream(posted, name.lower()) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Authorization", "Basic key"),
        ("Proxy-Connection", "close"),
        ("TE", "trailers"),
        ("Trailer", "X-Sum"),
        ("Upgrade", "h2c"),
        ("Expect", "100-continue"),
        ("X-Forwarded-For", "192.0.2.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Anything", "x"),
        ("Forwarded", "for=192.0.2.9"),
        ("X-Real-IP", "192.0.2.9"),
    ],
)
def test_what_belongs_to_this_hop_or_names_the_client_stays_here(field: str, value: str) -> None:
    with Bench(whole()) as bench:
        bench.client().send(post(chat(ALIAS), [(field, value)]))
        assert sent_upstream(bench.posted[0], field.lower()) == []


@pytest.mark.parametrize("connection", ["X-Hop", "keep-alive, x-hop", "X-HOP ,close"])
def test_what_the_client_names_in_connection_stays_here(connection: str) -> None:
    fields = [("X-Hop", "1"), ("X-Hop", "2"), ("Connection", connection), ("X-Kept", "yes")]
    with Bench(whole()) as bench:
        bench.call(post(chat(ALIAS), fields))
        assert sent_upstream(bench.posted[0], "x-hop") == []
        assert sent_upstream(bench.posted[0], "connection") == []
        assert sent_upstream(bench.posted[0], "x-kept") == [b"yes"]


def test_the_clients_framing_and_host_never_go_upstream() -> None:
    chunked = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: router.test\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
    )
    for request in (post(chat(ALIAS)), chunked % (len(chat(ALIAS)), chat(ALIAS))):
        with Bench(whole()) as bench:
            assert bench.call(request).status == 200
            for name in ("host", "content-length", "transfer-encoding"):
                assert sent_upstream(bench.posted[0], name) == []


@pytest.mark.parametrize("offered", [[], [("Accept-Encoding", "gzip")], [("accept-encoding", "*")]])
def test_upstream_is_asked_for_no_encoding(offered: list[tuple[str, str]]) -> None:
    with Bench(whole()) as bench:
        bench.call(post(chat(ALIAS), offered))
        assert sent_upstream(bench.posted[0], "accept-encoding") == [b"identity"]


def test_upstreams_fields_reach_the_client_repeated_ones_included() -> None:
    fields = (
        (b"Content-Type", b"text/event-stream; charset=utf-8"),
        (b"Set-Cookie", b"a=1; Path=/"),
        (b"Set-Cookie", b"b=2"),
        (b"X-Repeated", b"one"),
        (b"x-repeated", b"two"),
        (b"Content-Encoding", b"gzip"),
        (b"Retry-After", b"7"),
        (b"Server", b"cloudflare"),
        (b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (b"Vary", b"Accept"),
        (b"Access-Control-Allow-Origin", b"*"),
        (b"X-Raw", b"caf\xe9"),
    )
    with Bench(whole(200, fields)) as bench:
        answer = bench.call(post(chat(ALIAS)))
        for name in {name.lower() for name, _value in fields}:
            expected = [value.decode("latin-1") for key, value in fields if key.lower() == name]
            assert answer.header(name.decode()) == expected


@pytest.mark.parametrize(
    "field",
    [
        b"Keep-Alive",
        b"Proxy-Authenticate",
        b"Trailer",
        b"Upgrade",
        b"Connection",
        b"Proxy-Connection",
    ],
)
def test_upstreams_hop_fields_stay_there(field: bytes) -> None:
    with Bench(whole(200, ((field, b"theirs"),))) as bench:
        assert bench.call(post(chat(ALIAS))).header(field.lower().decode()) == []


def test_a_field_without_a_content_type_gets_none_of_ours() -> None:
    with Bench(whole()) as bench:
        assert bench.call(post(chat(ALIAS))).header("content-type") == []


def test_an_encoded_body_crosses_undecoded() -> None:
    body = b"\x1f\x8b\x08\x00not really gzip"
    upstream = FakeResponse(fields=((b"Content-Encoding", b"gzip"),)).send(body).end()
    with Bench(upstream) as bench:
        answer = bench.call(post(chat(ALIAS)))
        assert (answer.body, answer.header("content-encoding")) == (body, ["gzip"])


def test_a_known_length_is_sent_on_and_an_unknown_one_is_chunked() -> None:
    for length, declared, coding in ((6, ["6"], []), (None, [], ["chunked"])):
        lying = ((b"Content-Length", b"99"), (b"Transfer-Encoding", b"gzip"))
        upstream = FakeResponse(fields=lying, length=length).send(b"ans", b"wer").end()
        with Bench(upstream) as bench:
            answer = bench.call(post(chat(ALIAS)))
            assert (answer.body, answer.whole) == (b"answer", True)
            assert answer.header("content-length") == declared
            assert answer.header("transfer-encoding") == coding


def test_each_chunk_leaves_in_the_turn_in_which_it_came() -> None:
    upstream = FakeResponse()
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        assert client.received == b""
        upstream.send(b"data: 1\n\n")
        assert client.received.endswith(b"\r\n\r\n9\r\ndata: 1\n\n\r\n")
        upstream.send(b"x")
        assert client.received.endswith(b"\r\n1\r\nx\r\n")
        upstream.end()
        assert client.answer().body == b"data: 1\n\nx"


@pytest.mark.parametrize(
    "status", [200, 201, 301, 302, 307, 308, 400, 401, 402, 403, 413, 422, 426]
)
def test_a_final_answer_crosses_as_it_came(status: int) -> None:
    fields = ((b"Location", b"https://elsewhere.test/"), (b"X-Theirs", b"yes"))
    for name in (ALIAS, "org/one"):
        with Bench(whole(status, fields)) as bench:
            answer = bench.call(post(chat(name)))
            assert (answer.status, answer.body, answer.whole) == (status, b"answer", True)
            assert answer.header("location") == ["https://elsewhere.test/"]
            assert answer.header("x-theirs") == ["yes"]
            assert len(bench.posted) == 1
            assert bench.ends == ["whole"]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
def test_the_last_candidates_failure_crosses_as_it_came(status: int) -> None:
    with Bench(whole(status, ((b"Retry-After", b"3"),))) as bench:
        answer = bench.call(post(chat("org/one")))
        assert (answer.status, answer.body) == (status, b"answer")
        assert answer.header("retry-after") == ["3"]


@pytest.mark.parametrize(("status", "length"), [(204, None), (304, None), (302, 0)])
def test_an_answer_without_a_body_crosses_without_one(status: int, length: int | None) -> None:
    with Bench(FakeResponse(status, fields=((b"ETag", b'"x"'),), length=length).end()) as bench:
        client = bench.client().ask("org/one")
        answer = client.answer()
        assert (answer.status, answer.body, answer.whole) == (status, b"", True)
        assert answer.header("etag") == ['"x"']
        assert answer.header("transfer-encoding") == []
        assert not client.wire.closing


def test_a_429_that_must_not_be_repeated_says_so() -> None:
    with Bench(whole(429, ((b"X-Should-Retry", b"true"),))) as bench:
        answer = bench.call(post(chat(ALIAS)))
        assert (answer.status, answer.body) == (429, b"answer")
        assert answer.header("x-should-retry") == ["false"]
        assert len(bench.posted) == 1


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 429, 500, 503])
def test_a_routed_answer_names_its_model_whatever_its_status(status: int) -> None:
    theirs = ((b"X-Chutes-Autopilot-Selected", b"theirs"),)
    for name in (ALIAS, "org/one,org/two"):
        parts = [b"x"] * (status != 204)
        results = [FakeResponse(status, fields=theirs).send(*parts).end() for _ in range(2)]
        with Bench(*results) as bench:
            answer = bench.call(post(chat(name)))
            assert answer.status == status
            assert answer.header(SELECTED) == [bench.asked[-1]]


def test_the_model_that_answered_is_named_and_not_the_one_that_failed() -> None:
    with Bench(FakeResponse(503).end(), whole()) as bench:
        answer = bench.call(post(chat(ALIAS)))
        assert bench.asked == ["org/one", "org/two"]
        assert answer.header(SELECTED) == ["org/two"]


@pytest.mark.parametrize("status", [200, 400, 503])
def test_a_direct_answer_names_no_model(status: int) -> None:
    theirs = ((b"X-Chutes-Autopilot-Selected", b"theirs"),)
    with Bench(whole(status, theirs)) as bench:
        assert bench.call(post(chat("org/one"))).header(SELECTED) == []


def test_a_refusal_of_our_own_names_no_model() -> None:
    with Bench(FakeResponse().end(BodyEnd.BROKEN), FakeResponse().end()) as bench:
        answer = bench.call(post(chat(ALIAS)))
        assert answer.status == 502
        assert answer.header(SELECTED) == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("модель", "%D0%BC%D0%BE%D0%B4%D0%B5%D0%BB%D1%8C"),
        ("a b", "a%20b"),
        ("a\u2028b", "a%E2%80%A8b"),
        ("a\u00a0b", "a%C2%A0b"),
        ("\ud800", "%ED%A0%80"),
        ("x: y; <script>", "x:%20y;%20<script>"),
    ],
)
def test_a_strange_name_is_percent_encoded_in_the_field(name: str, shown: str) -> None:
    with Bench(whole(), picture=Picture()) as bench:
        client = bench.client().ask(f"{name},org/two")
        assert client.answer().header(SELECTED) == [shown]
        assert client.received.isascii()


def test_a_strange_catalogue_id_is_percent_encoded_too() -> None:
    with Bench(whole(), picture=picture_of("org/é\r\nX-Injected: yes")) as bench:
        answer = bench.call(post(chat(ALIAS)))
        assert answer.header(SELECTED) == ["org/%C3%A9%0D%0AX-Injected:%20yes"]
        assert answer.header("x-injected") == []
