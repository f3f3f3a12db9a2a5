"""Routers that share a real Redis: clients are treated alike, and whatever it does all are answered.

No test here measures time: that nobody waited too long is seen by what was counted. A slow machine may
take longer than a lookup is given, and the client then goes where the picture says: see `kept`.
"""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from tests.certificates import Authority
from tests.e2e.harness import (
    ALIAS,
    BEST,
    SECOND,
    SELECTED,
    Router,
    Simulator,
    chat,
    eventually,
    fresh,
    router,
)
from tests.e2e.redis_server import RedisServer, free_port, needs_redis, redis_server

pytestmark = needs_redis

SHARED = "shared by these tests only"
PREFIX = b"autopilot:sticky:"
LOOKUPS = "autopilot_sticky_store_lookups_total"
UNAVAILABLE = "autopilot_sticky_store_unavailable"
TTL = 900
THREADS = 4


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@contextmanager
def sharing(folder: Path, upstream: Simulator, url: str, **settings: str) -> Iterator[Router]:
    """A router whose sticky store is at `url`."""
    settings = {"STICKY_TTL_SECS": str(TTL), "STICKY_SECRET": SHARED} | settings
    with router(folder, upstream, STICKY_URL=url, **settings) as service:
        yield service


def selected(service: Router, token: str, model: str = ALIAS) -> str:
    answer = service.post(chat(model), token=token)
    assert answer.status == 200
    return answer.headers[SELECTED]


def moved(service: Router, token: str) -> None:
    """Have the client be kept on the second best."""
    assert selected(service, token, f"{SECOND},") == SECOND


def lookups(service: Router, *results: str) -> float:
    """How many came to one of `results`, or to any."""
    every = results or ("hit", "miss", "timeout", "error", "skipped")
    return sum(service.metric(LOOKUPS, result=each) for each in every)


def kept(by: Router, *others: Router) -> str:
    """The token of a client that was moved by one router and found in its place by all of them."""

    def found() -> str | None:
        token = fresh("token")
        moved(by, token)
        return token if all(selected(each, token) == SECOND for each in (by, *others)) else None

    return eventually(found, "a client is kept where it was moved")


def only_place(redis: RedisServer) -> bytes:
    """The one place that Redis holds, which it may be told of only after the answer has arrived."""
    eventually(lambda: len(redis.places()) == 1, "there is one place")
    (place,) = redis.places()
    return place


def test_a_client_is_treated_alike_by_all_who_share_the_store_and_its_secret(
    tmp_path: Path, upstream: Simulator, redis: RedisServer
) -> None:
    with (
        sharing(tmp_path, upstream, redis.url) as one,
        sharing(tmp_path, upstream, redis.url) as other,
        sharing(tmp_path, upstream, redis.url, STICKY_SECRET="another one of theirs") as stranger,
    ):
        assert selected(other, fresh("token")) == BEST
        token = kept(one, other)
        assert selected(stranger, token) == BEST
        token = kept(one, other)
        redis.command("FLUSHALL")
        moved(one, token)
        place = only_place(redis)
        upstream.set_fault(SECOND, "cold-503", times=1)
        assert selected(other, token) == BEST
        upstream.clear_faults()
        eventually(
            lambda: BEST.encode() in redis.command("GET", place),
            "the place has moved",
        )
        # The failure was the other's; the place is everybody's.
        assert selected(one, token) == BEST


def test_redis_holds_a_hash_and_a_model_for_the_time_that_the_setting_says(
    tmp_path: Path, upstream: Simulator, redis: RedisServer
) -> None:
    with sharing(tmp_path, upstream, redis.url) as service:
        token = kept(service)
        redis.command("FLUSHALL")
        moved(service, token)
        place = only_place(redis)
        assert len(place) == len(PREFIX) + 64
        assert place.startswith(PREFIX)
        assert token.encode() not in place
        eventually(
            lambda: redis.command("GET", place).split(b"\r\n")[1] == SECOND.encode(),
            "the model is the one that answered",
        )
        assert 0 < int(redis.command("TTL", place).removeprefix(b":")) <= TTL
        # Each answer renews it.
        redis.command("EXPIRE", place, "5")
        selected(service, token)
        eventually(
            lambda: int(redis.command("TTL", place).removeprefix(b":")) > 5, "the time is renewed"
        )
        redis.command("PEXPIRE", place, "1")
        eventually(lambda: redis.places() == [], "the server has forgotten the client")
        assert selected(service, token) == BEST


def test_a_store_that_is_killed_under_load_costs_no_answer_and_is_found_again(
    tmp_path: Path, upstream: Simulator, redis: RedisServer
) -> None:
    with sharing(tmp_path, upstream, redis.url) as service:
        before = kept(service)
        asked = lookups(service)
        stop = Event()

        def load() -> list[int]:
            statuses = []
            while not stop.is_set():
                statuses.append(service.post(chat(ALIAS)).status)
            return statuses

        def skipped() -> float:
            return service.metric(LOOKUPS, result="skipped")

        with ThreadPoolExecutor(THREADS) as threads:
            loads = [threads.submit(load) for _ in range(THREADS)]
            try:
                eventually(lambda: service.metric(LOOKUPS, result="miss") > 20, "they ask")
                failed = lookups(service, "error", "timeout")
                redis.kill()
                eventually(lambda: service.metric(UNAVAILABLE) == 1, "the breaker opens")
                without = skipped()
                eventually(lambda: skipped() > without + 20, "requests go on without it")
                failed = lookups(service, "error", "timeout") - failed
                redis.start()
                eventually(lambda: service.metric(UNAVAILABLE) == 0, "the breaker closes")
                misses = service.metric(LOOKUPS, result="miss")
                eventually(
                    lambda: service.metric(LOOKUPS, result="miss") > misses + 20, "they ask again"
                )
            finally:
                stop.set()
        statuses = [status for each in loads for status in each.result()]
        assert set(statuses) == {200}
        assert lookups(service) == asked + len(statuses)
        # What was under way as it died, and what waited for each of three attempts to connect.
        assert 0 < failed <= 4 * THREADS
        # It came back empty: the client is where the picture says.
        assert selected(service, before) == BEST


def test_a_store_that_hangs_costs_a_few_requests_their_deadline_and_no_answer(
    tmp_path: Path, upstream: Simulator, redis: RedisServer
) -> None:
    with sharing(tmp_path, upstream, redis.url) as service:
        token = kept(service)
        late, skipped = lookups(service, "timeout"), lookups(service, "skipped")
        redis.signal(signal.SIGSTOP)
        # Without the store the client is where the picture says.
        assert [selected(service, token) for _ in range(5)] == [BEST] * 5
        late, skipped = lookups(service, "timeout") - late, lookups(service, "skipped") - skipped
        assert (late, skipped) == (3, 2)
        assert service.metric(UNAVAILABLE) == 1
        redis.signal(signal.SIGCONT)

        def found() -> bool:
            selected(service, fresh("token"))
            return service.metric(UNAVAILABLE) == 0

        eventually(found, "the store is asked again")
        kept(service)
        assert "sticky_store_unavailable" in service.log
        assert "sticky_store_available" in service.log


def test_a_wrong_password_costs_no_answer_and_is_said_without_it(
    tmp_path: Path, upstream: Simulator
) -> None:
    with redis_server(tmp_path, "--requirepass", "marked-pass") as server:
        right = server.url.replace("//", "//:marked-pass@")
        wrong = right.replace("pass@", "passes@")
        with (
            sharing(tmp_path, upstream, right) as service,
            sharing(tmp_path, upstream, wrong) as refused,
            sharing(tmp_path, upstream, server.url) as nameless,
        ):
            token = fresh("token")
            for each in (refused, nameless):
                for _ in range(4):
                    assert selected(each, token) == BEST
                assert each.metric(UNAVAILABLE) == 1
                assert each.metric(LOOKUPS, result="miss") == 0
                assert "marked" not in each.log
                assert str(server.port) not in each.log
                assert "sticky_store_unavailable" in each.log
            kept(service)
            assert service.metric(LOOKUPS, result="hit") > 0


@pytest.mark.parametrize(
    "garbage",
    [
        ("SET", b"\xff\xfe\x00\r\n"),
        ("SET", b"x" * 1_000_000),
        ("SET", b"org/that-nobody-has"),
        ("SET", b"1"),
        ("RPUSH", b"org/a"),
    ],
    ids=["bytes", "long", "unknown", "number", "list"],
)
def test_what_somebody_else_wrote_moves_nobody_and_is_replaced(
    tmp_path: Path, upstream: Simulator, redis: RedisServer, garbage: tuple[str, bytes]
) -> None:
    with sharing(tmp_path, upstream, redis.url) as service:
        token = fresh("token")
        moved(service, token)
        place = only_place(redis)
        redis.command("DEL", place)
        verb, value = garbage
        redis.command(verb, place, value)
        assert selected(service, token) == BEST
        eventually(
            lambda: redis.command("GET", place).endswith(b"\r\n" + BEST.encode()), "it is replaced"
        )
        assert service.metric(UNAVAILABLE) == 0


def test_over_tls_the_certificate_is_verified(tmp_path: Path, upstream: Simulator) -> None:
    authority = Authority()
    trusted, own = tmp_path / "trusted.pem", tmp_path / "own.pem"
    trusted.write_bytes(authority.certificate_pem)
    own.write_bytes(authority.pem("localhost"))
    port = free_port()
    files = ("--tls-cert-file", str(own), "--tls-key-file", str(own))
    authorities = ("--tls-ca-cert-file", str(trusted), "--tls-auth-clients", "no")
    url = f"rediss://localhost:{port}"
    with redis_server(tmp_path, "--tls-port", str(port), *files, *authorities):
        with sharing(tmp_path, upstream, url, SSL_CERT_FILE=str(trusted)) as service:
            kept(service)
            assert service.metric(LOOKUPS, result="hit") > 0
        with sharing(tmp_path, upstream, url) as doubting:
            for _ in range(4):
                assert selected(doubting, "client") == BEST
            assert doubting.metric(UNAVAILABLE) == 1
