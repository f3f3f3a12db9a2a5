"""Each setting does in the built service what its name says, and a request leaves nothing behind there.

Over `Bench` of `tests/test_service.py`: the whole of `make_service` on a reactor in memory. `Built` has
fetched both feeds (`org/b` ranks before `org/a`), and its `asked` are the requests at the platform.
"""

import json
import sys
import tracemalloc
from collections.abc import Iterator, Mapping
from http.client import HTTPResponse
from typing import Any, Self, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IProtocol
from twisted.internet.testing import StringTransport

from autopilot.policy.rest import BRIEF_SECONDS, MAX_REST
from autopilot.policy.stickiness import StickyTable
from tests.test_http_client import Line
from tests.test_service import CATALOG, FEED, MODELS, UPSTREAM, UTILIZATION, Bench, Client

ALIAS = "chutesai/AutoPilot"
BEST, SECOND = "org/b", "org/a"
CHUNK = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
DAY_MS = "86400000"
DAY = 86_400.0
NOT_AGAIN = {"MODELS_REFRESH_MS": DAY_MS, "UTILIZATION_REFRESH_MS": DAY_MS}
FRESH_FOR_A_DAY = {"READYZ_MAX_SNAPSHOT_AGE_MS": DAY_MS, "READYZ_MAX_ALLOWLIST_AGE_MS": DAY_MS}
MIB = 1 << 20
TOKEN = "a-token-that-is-marked"
CANDIDATES = "/autopilot/candidates"


class Caller(Client):
    """A client from any address, with any fields."""

    def __init__(self, bench: Bench, address: str = "127.0.0.1") -> None:
        peer = IPv4Address("TCP", address, 50000)
        self.transport = StringTransport(peerAddress=peer)
        self.protocol = cast("IProtocol", bench.net.reactor.tcpServers[0][1].buildProtocol(peer))
        self.protocol.makeConnection(self.transport)

    def send(
        self,
        model: str,
        fields: Mapping[str, str] | None = None,
        *,
        stream: bool = True,
        prompt: int = 0,
    ) -> None:
        content = json.dumps({"model": model, "stream": stream, "prompt": "x" * prompt}).encode()
        lines = ["POST /v1/chat/completions HTTP/1.1", "Host: r", f"Content-Length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in (fields or {}).items()]
        whole = "\r\n".join([*lines, "", ""]).encode() + content
        for start in range(0, len(whole), 65536):
            self.protocol.dataReceived(whole[start : start + 65536])

    def answered(self) -> bool:
        return bool(self.transport.value())

    def refusal(self) -> tuple[int, str]:
        answer = self.answer()
        return answer.status, json.loads(answer.read())["error"]["code"]


class Built(Bench):
    """A running service that knows both models. A context manager: nothing may be left at its end."""

    def __init__(self, **settings: str) -> None:
        super().__init__(**(NOT_AGAIN | settings))
        self.callers: list[Caller] = []
        self._accepted = 0
        self.start()
        self.feed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_about: object) -> None:
        for caller in self.callers:
            caller.leave()
        self.stop()
        if kind is None:
            assert self.left() == []

    def call(self, model: str, address: str = "127.0.0.1", **more: Any) -> Caller:
        """Send a request on a connection of its own."""
        caller = Caller(self, address)
        self.callers.append(caller)
        caller.send(model, **more)
        return caller

    def asked(self) -> tuple[str, Line]:
        """The model of the request that has just reached the platform, and where to answer it."""
        dialled = [index for index, port in enumerate(self.dialled()) if port == UPSTREAM]
        for index in dialled[self._accepted :]:
            self.net.accept(index)
        self._accepted = len(dialled)
        (line,) = (line for line in self.net.lines if line.received.startswith(b"POST "))
        model = json.loads(line.received.partition(b"\r\n\r\n")[2])["model"]
        line.clear()
        return model, line

    def served(self, model: str, *failing: str, **more: Any) -> str:
        """Send a request through, 503 from each of `failing`; the model that answered it."""
        caller = self.call(model, **more)
        for name in failing:
            asked, line = self.asked()
            assert asked == name
            line.answer(b"{}", status=b"503 No")
        name, line = self.asked()
        line.answer(CHUNK + DONE, fields=b"content-type: text/event-stream\r\n")
        assert caller.answer().status == 200
        return name

    def ready(self) -> str:
        answer = self.get("/readyz")
        body = answer.read()
        return "ready" if answer.status == 200 else json.loads(body)["error"]["code"]

    def metric(self, name: str, **labels: str) -> float | None:
        """One sample that `/metrics` shows now, None if there is none."""
        text = self.fetch("/metrics").read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if (sample.name, sample.labels) == (name, labels):
                    return float(sample.value)
        return None

    def fetch(self, path: str, **fields: str) -> HTTPResponse:
        caller = Caller(self)
        self.callers.append(caller)
        lines = [f"GET {path} HTTP/1.1", "Host: r", *(f"{n}: {v}" for n, v in fields.items())]
        caller.protocol.dataReceived("\r\n".join([*lines, "", ""]).encode())
        return caller.answer()


def padded(document: bytes, size: int) -> bytes:
    return document + b" " * (size - len(document))


@pytest.mark.parametrize(("size", "result"), [(2000, "ok"), (2001, "too_large")])
@pytest.mark.parametrize("feed", ["catalog", "utilization"])
def test_control_plane_max_bytes_bounds_each_of_the_two_feeds(
    feed: str, size: int, result: str
) -> None:
    bench = Bench(CONTROL_PLANE_MAX_BYTES="2000", **NOT_AGAIN)
    bench.start()
    sizes = {"catalog": 0, "utilization": 0, feed: size}
    bench.accept(MODELS).answer(padded(CATALOG, sizes["catalog"]))
    bench.accept(UTILIZATION).answer(padded(FEED, sizes["utilization"]))
    text = bench.get("/metrics").read().decode()
    assert f'\nautopilot_refreshes_total{{feed="{feed}",result="{result}"}} 1.0\n' in text
    assert (bench.get("/readyz").status == 200) == (result == "ok")
    bench.net.turn()
    bench.stop()
    assert bench.left() == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("READYZ_MAX_SNAPSHOT_AGE_MS", "stale_snapshot"),
        ("READYZ_MAX_ALLOWLIST_AGE_MS", "stale_allowlist"),
    ],
)
def test_readyz_turns_at_the_age_of_each_setting(name: str, code: str) -> None:
    with Built(**(FRESH_FOR_A_DAY | {name: "7000"})) as bench:
        bench.net.reactor.advance(7)
        assert bench.ready() == "ready"
        bench.net.reactor.advance(0.001)
        assert bench.ready() == code


def test_the_metrics_hold_what_the_settings_limit_and_what_readyz_says() -> None:
    limits = {
        "MAX_CONCURRENT_REQUESTS": "7",
        "READYZ_MAX_SNAPSHOT_AGE_MS": "8000",
        "READYZ_MAX_ALLOWLIST_AGE_MS": "9000",
    }
    with Built(**limits) as bench:

        def shown(reason: str) -> float | None:
            return bench.metric("autopilot_not_ready", reason=reason)

        assert bench.metric("autopilot_requests_limit") == 7
        assert bench.metric("autopilot_feed_age_limit_seconds") == 8
        assert bench.metric("autopilot_catalog_age_limit_seconds") == 9
        assert (bench.ready(), shown("stale_snapshot")) == ("ready", 0)
        bench.net.reactor.advance(8.5)
        assert (bench.ready(), shown("stale_snapshot")) == ("stale_snapshot", 1)
        bench.net.reactor.advance(1)
        assert (bench.ready(), shown("stale_allowlist")) == ("stale_allowlist", 1)
        assert shown("stale_snapshot") == 0
        assert (bench.metric("process_open_fds") is not None) is (sys.platform == "linux")


def test_max_model_list_items_bounds_a_list() -> None:
    with Built(MAX_MODEL_LIST_ITEMS="2") as bench:
        assert bench.served(f"{SECOND},{BEST}", SECOND) == BEST
        third = bench.call(f"{SECOND},{BEST},{ALIAS}")
        assert third.refusal() == (400, "invalid_model_list")
    with Built(MAX_MODEL_LIST_ITEMS="1") as bench:
        # The names are few enough; what the alias stands for is cut.
        caller = bench.call(f"{ALIAS},")
        bench.asked()[1].answer(b"{}", status=b"503 No")
        assert caller.answer().status == 503


def test_max_attempts_bounds_an_alias_and_no_list() -> None:
    with Built(MAX_ATTEMPTS="1") as bench:
        caller = bench.call(ALIAS)
        model, line = bench.asked()
        line.answer(b"{}", status=b"503 No")
        assert (model, caller.answer().status) == (BEST, 503)
    with Built(MAX_ATTEMPTS="1") as bench:
        assert bench.served(f"{BEST},{SECOND}", BEST) == SECOND
    with Built(MAX_ATTEMPTS="2") as bench:
        assert bench.served(ALIAS, BEST) == SECOND


def test_upstream_connect_timeout_bounds_a_connection() -> None:
    with Built(UPSTREAM_CONNECT_TIMEOUT_MS="3500", MAX_ATTEMPTS="1") as bench:
        caller = bench.call(ALIAS)
        bench.net.reactor.advance(3.4)
        assert not caller.answered()
        bench.net.reactor.advance(0.2)
        assert caller.refusal() == (504, "upstream_connect_timeout")


def test_upstream_header_timeout_moves_on_from_a_stream_that_does_not_begin() -> None:
    with Built(UPSTREAM_HEADER_TIMEOUT_MS="3500") as bench:
        bench.call(ALIAS)
        assert bench.asked()[0] == BEST
        bench.net.reactor.advance(3.49)
        assert bench.dialled().count(UPSTREAM) == 1
        bench.net.reactor.advance(0.1)
        assert bench.asked()[0] == SECOND


def test_upstream_completion_timeout_bounds_a_request_that_is_not_streamed() -> None:
    settings = {"UPSTREAM_COMPLETION_TIMEOUT_MS": "700000", "UPSTREAM_HEADER_TIMEOUT_MS": "1"}
    with Built(**settings) as bench:
        caller = bench.call(SECOND, stream=False)
        bench.asked()
        bench.net.reactor.advance(699.9)
        assert not caller.answered()
        bench.net.reactor.advance(0.1)
        assert caller.refusal() == (504, "upstream_header_timeout")


def test_upstream_first_body_byte_timeout_moves_on_from_headers_without_a_body() -> None:
    with Built(UPSTREAM_FIRST_BODY_BYTE_TIMEOUT_MS="20500") as bench:
        bench.call(ALIAS)
        bench.asked()[1].send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
        bench.net.reactor.advance(20.4)
        assert bench.dialled().count(UPSTREAM) == 1
        bench.net.reactor.advance(0.1)
        assert bench.asked()[0] == SECOND


FIELDS = b"content-type: text/event-stream\r\ncontent-length: %d\r\n" % len(CHUNK + DONE)
BEGUN = b"HTTP/1.1 200 OK\r\n%s\r\n%s" % (FIELDS, CHUNK)


def breaks_after(bench: Built, seconds: float) -> bool:
    """Whether an answer that begins and falls silent is closed after `seconds`, and not before."""
    caller = bench.call(ALIAS)
    _model, line = bench.asked()
    line.send(BEGUN)
    before = []
    for step in (seconds - 0.1, 0.2):
        bench.net.reactor.advance(step)
        bench.net.turn()
        before.append(line.is_open())
    assert caller.answered()
    return before == [True, False]


def test_stream_idle_timeout_ends_an_answer_that_falls_silent() -> None:
    with Built(STREAM_IDLE_TIMEOUT_MS="3500") as bench:
        assert breaks_after(bench, 3.5)


def test_request_timeout_ends_a_request_and_is_off_at_nought() -> None:
    with Built(REQUEST_TIMEOUT_MS="4500") as bench:
        assert breaks_after(bench, 4.5)
    with Built(REQUEST_TIMEOUT_MS="0", STREAM_IDLE_TIMEOUT_MS=DAY_MS) as bench:
        assert not breaks_after(bench, DAY - 1)


def token(text: str) -> dict[str, Any]:
    return {"fields": {"Authorization": f"Bearer {text}"}}


@pytest.mark.parametrize(
    ("ttl", "later", "then"),
    [("600", 599.0, SECOND), ("600", 600.0, BEST), ("0", 599.0, BEST), ("900", 899.0, SECOND)],
)
def test_sticky_ttl_is_how_long_a_client_stays(ttl: str, later: float, then: str) -> None:
    # Longer than any rest, so that the failed model is as good as any then.
    assert later > MAX_REST
    with Built(STICKY_TTL_SECS=ttl) as bench:
        assert bench.served(ALIAS, BEST) == SECOND
        bench.net.reactor.advance(later)
        assert bench.served(ALIAS) == then


@pytest.mark.parametrize(
    ("most", "kept"), [("0", [False, False]), ("1", [False, True]), ("2", [True, True])]
)
def test_sticky_max_entries_is_how_many_clients_are_kept(most: str, kept: list[bool]) -> None:
    with Built(STICKY_MAX_ENTRIES=most) as bench:
        for text in ("one", "two"):
            # By a list, as no failure is then needed to be kept on the second best.
            assert bench.served(f"{SECOND},", **token(text)) == SECOND
        got = [bench.call(ALIAS, **token(text)) and bench.asked()[0] for text in ("one", "two")]
        assert [model == SECOND for model in got] == kept


PROXY, OTHER_PROXY = "10.1.2.3", "10.1.9.9"


@pytest.mark.parametrize(
    ("switch", "networks", "believed"),
    [
        ("true", "10.0.0.0/8", True),
        ("true", "fd00::/8, 10.1.0.0/16", True),
        ("true", "10.2.0.0/16", False),
        ("false", "10.0.0.0/8", False),
        ("", "10.0.0.0/8", False),
    ],
)
def test_a_forwarded_address_counts_by_the_switch_and_the_networks_together(
    switch: str, networks: str, *, believed: bool
) -> None:
    with Built(TRUST_PROXY_HEADERS=switch, TRUSTED_PROXY_CIDRS=networks) as bench:
        known = {"X-Forwarded-For": "192.0.2.1"}
        assert bench.served(f"{SECOND},", address=PROXY, fields=known) == SECOND
        same = bench.served(ALIAS, address=OTHER_PROXY, fields=known)
        other = bench.served(ALIAS, address=PROXY, fields={"X-Forwarded-For": "192.0.2.2"})
        assert (same, other) == ((SECOND, BEST) if believed else (BEST, SECOND))


def test_model_aliases_are_all_routed_and_listed_first() -> None:
    with Built(MODEL_ALIASES="my/auto, Other") as bench:
        assert bench.served("my/auto") == BEST
        assert bench.served("Other") == BEST
        assert bench.served(f"{SECOND},my/auto", SECOND, **token("one")) == BEST
        assert bench.call(ALIAS).refusal() == (400, "unknown_model")
        listed = json.loads(bench.fetch("/v1/models").read())["data"]
        assert [model["id"] for model in listed] == ["my/auto", "Other", SECOND, BEST]


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({}, [SECOND, BEST]),
        ({"ALLOW_MODELS": "*/a"}, [SECOND]),
        ({"DENY_MODELS": "*/b"}, [SECOND]),
        # The catalogue says nothing of either.
        ({"REQUIRE_TEE": "true"}, []),
        ({"MAX_PRICE": "prompt=1"}, []),
        ({"MAX_PRICE": "completion=1"}, []),
    ],
)
def test_only_what_the_operator_allows_is_listed_counted_and_asked(
    settings: dict[str, str], allowed: list[str]
) -> None:
    with Built(**settings) as bench:
        listed = json.loads(bench.fetch("/v1/models").read())["data"]
        assert [model["id"] for model in listed] == [ALIAS, *allowed]
        assert bench.metric("autopilot_candidates") == len(allowed)
        if allowed:
            assert bench.served(ALIAS) == allowed[-1]
        else:
            assert bench.call(ALIAS).refusal() == (503, "no_candidates")


def test_shadow_selector_is_asked_beside_and_not_followed() -> None:
    for settings, differing in (({}, 0), ({"SHADOW_SELECTOR": "alphabetic"}, 1)):
        with Built(**settings) as bench:
            assert bench.served(ALIAS) == BEST
            assert bench.metric("autopilot_shadow_choices_total", choice="other") == differing


def test_cors_allow_origins_names_who_may_read_an_answer() -> None:
    with Built(CORS_ALLOW_ORIGINS="https://one.test,https://two.test") as bench:
        for origin, allowed in (
            ("https://one.test", "https://one.test"),
            ("https://two.test", "https://two.test"),
            ("https://three.test", None),
        ):
            answer = bench.fetch("/healthz", Origin=origin)
            assert answer.headers["access-control-allow-origin"] == allowed
    with Built() as bench:
        answer = bench.fetch("/healthz", Origin="https://one.test")
        assert answer.headers["access-control-allow-origin"] is None


def test_the_key_of_a_client_is_another_one_in_each_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys: list[bytes] = []
    put = StickyTable.put

    def spy(table: StickyTable, key: bytes, model: str, *, now: float) -> None:
        keys.append(key)
        put(table, key, model, now=now)

    monkeypatch.setattr(StickyTable, "put", spy)
    for _ in range(2):
        with Built() as bench:
            bench.served(ALIAS, **token("one"))
            bench.served(f"{SECOND},", **token("one"))
    first, again, other, other_again = keys
    assert (first, other) == (again, other_again)
    assert first != other
    assert min(map(len, keys)) >= 16


@pytest.fixture
def traced() -> Iterator[None]:
    """All memory is counted."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    ("model", "failing"), [(ALIAS, 0), (ALIAS, 1), (f"{BEST},{SECOND}", 1), (BEST, 0)]
)
def test_nothing_keeps_the_body_of_a_request_while_its_answer_streams(
    model: str, failing: int
) -> None:
    with Built() as bench:
        bench.served(BEST)  # whatever is made once and kept
        size = 4 * MIB
        before = tracemalloc.get_traced_memory()[0]
        caller = bench.call(model, prompt=size)
        sent = tracemalloc.get_traced_memory()[0] - before
        for _ in range(failing):
            bench.asked()[1].answer(b"{}", status=b"503 No")
        _model, line = bench.asked()
        line.send(BEGUN)
        assert caller.answer().status == 200
        # It was there to be sent again until now, so that this measures what it should.
        assert sent > size
        assert tracemalloc.get_traced_memory()[0] - before < MIB
        line.send(DONE)


def resting_models(bench: Built) -> float:
    text = bench.fetch("/metrics").read().decode()
    (value,) = (
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "autopilot_resting_models"
    )
    return float(value)


def test_the_gauge_counts_the_models_that_rest_now() -> None:
    with Built() as bench:
        assert resting_models(bench) == 0
        assert bench.served(ALIAS, BEST) == SECOND
        assert resting_models(bench) == 1
        bench.net.reactor.advance(BRIEF_SECONDS)
        assert resting_models(bench) == 0


def status_at(bench: Bench, door: int, path: str, **fields: str) -> int:
    """The status that the port, counted in the order in which they were opened, gives."""
    caller = Client(bench.net)
    caller.leave()
    transport = caller.transport = StringTransport()
    site = bench.net.reactor.tcpServers[door][1]
    caller.protocol = cast("IProtocol", site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)))
    caller.protocol.makeConnection(transport)
    lines = [f"GET {path} HTTP/1.1", "Host: r", *(f"{n}: {v}" for n, v in fields.items())]
    caller.protocol.dataReceived("\r\n".join([*lines, "", ""]).encode())
    answer = caller.answer()
    caller.leave()
    return answer.status


def test_admin_token_opens_the_explanations_to_who_brings_it() -> None:
    with Built() as bench:
        assert bench.fetch(CANDIDATES, Authorization=f"Bearer {TOKEN}").status == 404
    with Built(ADMIN_TOKEN=TOKEN) as bench:
        assert bench.fetch(CANDIDATES).status == 401
        answer = bench.fetch(CANDIDATES, Authorization=f"Bearer {TOKEN}")
        account = json.loads(answer.read())
        assert [row["model"] for row in account["candidates"]] == [BEST, SECOND]
        assert (account["worker"], account["ready"]) == (0, True)
        assert len(bench.listened) == 1


def test_admin_listen_addr_has_them_there_and_nowhere_else() -> None:
    with Built(ADMIN_LISTEN_ADDR="127.0.0.1:8081") as bench:
        assert [listened["port"] for listened in bench.listened] == [8080, 8081]
        assert (status_at(bench, 0, CANDIDATES), status_at(bench, 1, CANDIDATES)) == (404, 200)
        assert (status_at(bench, 0, "/healthz"), status_at(bench, 1, "/healthz")) == (200, 404)


def test_with_both_the_other_address_asks_for_the_token() -> None:
    with Built(ADMIN_LISTEN_ADDR="127.0.0.1:8081", ADMIN_TOKEN=TOKEN) as bench:
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert status_at(bench, 0, CANDIDATES, **bearer) == 404
        assert status_at(bench, 1, CANDIDATES) == 401
        assert status_at(bench, 1, CANDIDATES, **bearer) == 200
