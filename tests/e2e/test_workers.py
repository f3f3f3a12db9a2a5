"""Several workers on one port: to a client they are one router, and a death costs what it carried only.

`holder` knows which worker has a connection, so that a test can ask one or the other.
"""

import os
import re
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.e2e.harness import (
    ALIAS,
    BEST,
    HOST,
    SECOND,
    SELECTED,
    TWISTD,
    Simulator,
    chat,
    ends_broken,
    eventually,
    fresh,
    simulator,
)
from tests.e2e.several import (
    all_end,
    all_ready,
    ask,
    counts_at,
    holder,
    one_to_each,
    refuses,
    runs,
    several,
    streams,
    workers,
)
from tests.e2e.test_lifecycle import STOP_SECONDS, STOPPED

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc to see who has a connection"
)

ENDLESS = chat("faults/stall-mid", stream=True)
"""A stream that begins and then says nothing: it is carried until somebody ends it."""

SECONDS_LONG = chat(ALIAS, stream=True)
"""One that takes two seconds from a `slow` simulator."""

ENOUGH_GRACE = "60000"


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Simulator]:
    with simulator(tmp_path, "--chunks", "40", "--chunk-delay-ms", "50") as running:
        yield running


@contextmanager
def counting(upstream: Simulator) -> Iterator[tuple[str, Counter[str]]]:
    """Where the simulator's feeds are also to be had, and how often each was fetched there."""
    fetched: Counter[str] = Counter()

    class Feeds(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched[self.path] += 1
            body = upstream.call("GET", self.path).body
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Feeds) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{server.server_port}", fetched
        server.shutdown()


def test_both_are_ready_with_what_was_fetched_once_and_so_is_a_successor(
    tmp_path: Path, upstream: Simulator
) -> None:
    with counting(upstream) as (url, fetched):
        settings = {
            "MODELS_URL": f"{url}/v1/models",
            "UTILIZATION_URL": f"{url}/chutes/utilization",
        }
        with several(tmp_path, upstream, **settings) as service:
            first, second = workers(service)
            service.expected = frozenset({"worker_ended"})
            os.kill(first, signal.SIGKILL)
            successor = eventually(
                lambda: next(iter(set(workers(service)) - {first, second}), None),
                "another takes its place",
            )
            eventually(lambda: all_ready(service), "the successor is ready")
            with one_to_each(service) as held:
                served = ask(held[successor], chat(ALIAS), token=fresh("token"))
                assert (served.status, served.headers[SELECTED]) == (200, BEST)
            assert fetched == {"/v1/models": 1, "/chutes/utilization": 1}


def test_a_client_is_kept_on_its_model_whichever_worker_answers(
    tmp_path: Path, upstream: Simulator
) -> None:
    with several(tmp_path, upstream) as service:
        with one_to_each(service) as held:
            one, other = held.values()

            def kept() -> str | None:
                """A token whose move the other worker has heard of, for which a stream leaves time."""
                token = fresh("token")
                moved = ask(one, chat(f"{SECOND},", stream=True), token=token)
                assert moved.headers[SELECTED] == SECOND
                selected = ask(other, chat(ALIAS), token=token).headers[SELECTED]
                return token if selected == SECOND else None

            token = eventually(kept, "the other worker knows where the client is")
            assert ask(other, chat(ALIAS), token=fresh("token")).headers[SELECTED] == BEST
        answered: Counter[int] = Counter()
        with ExitStack() as stack:
            for _request in range(20):
                connection = stack.enter_context(service.connection())
                assert ask(connection, chat(ALIAS), token=token).headers[SELECTED] == SECOND
                answered[holder(service, connection)] += 1
        assert set(answered) == set(workers(service))


def test_what_one_worker_learns_of_a_model_the_other_heeds(
    tmp_path: Path, own_upstream: Simulator
) -> None:
    with (
        several(tmp_path, own_upstream) as service,
        one_to_each(service) as held,
    ):
        one, other = held.values()
        own_upstream.set_fault(BEST, "cold-503", times=1)
        assert ask(one, chat(ALIAS), token=fresh("token")).headers[SELECTED] == SECOND

        def heeded() -> bool:
            request = fresh("request")
            ask(other, chat(ALIAS), token=fresh("token"), request_id=request)
            # It is well again, but nobody has asked it since.
            return own_upstream.models_asked(request) == [SECOND]

        eventually(heeded, "the other worker knows that the model rests")


def test_the_limit_of_requests_is_the_service_s(tmp_path: Path, upstream: Simulator) -> None:
    limit = 6

    def served(connection: HTTPConnection) -> bool:
        return ask(connection, chat(ALIAS), token=fresh("token")).status == 200

    with several(tmp_path, upstream, MAX_CONCURRENT_REQUESTS=str(limit)) as service:
        with ExitStack() as stack:
            carrying: Counter[int] = Counter()
            # One after the other: two that come at once may both be let in as the last.
            for _place in range(limit):
                (stream,) = stack.enter_context(streams(service, ENDLESS, 1))
                carrying[stream.worker] += 1
            assert set(carrying) == set(workers(service))
            with one_to_each(service) as held:
                for connection in held.values():
                    refused = ask(connection, chat(ALIAS), token=fresh("token"))
                    assert (refused.status, refused.code) == (503, "overloaded")
                    assert int(refused.headers["retry-after"]) >= 1
        # All have left, and each of the two has room again.
        with one_to_each(service) as held:
            for connection in held.values():
                eventually(partial(served, connection), "there is room again")


def test_streams_that_come_all_at_once_are_split_between_the_two(
    tmp_path: Path, upstream: Simulator
) -> None:
    with several(tmp_path, upstream) as service:

        def fewest() -> int:
            with streams(service, ENDLESS, 40) as begun:
                carried = Counter(stream.worker for stream in begun)
                return min(carried[worker] for worker in workers(service))

        # One to which a busy machine gives no time is not waited for: hence more than one try.
        assert any(fewest() >= 16 for _try in range(3))


def test_a_worker_that_is_killed_takes_only_its_own_streams_along(
    tmp_path: Path, slow: Simulator
) -> None:
    with several(tmp_path, slow) as service:
        service.expected = frozenset({"worker_ended"})
        before = workers(service)
        with streams(service, SECONDS_LONG, 12) as begun:
            victim = begun[0].worker
            os.kill(victim, signal.SIGKILL)
            lost = [stream for stream in begun if stream.worker == victim]
            kept = [stream for stream in begun if stream.worker != victim]
            assert lost
            assert kept
            assert all(ends_broken(stream.response) for stream in lost)
            assert all(stream.ends_whole() for stream in kept)
        eventually(lambda: len(workers(service)) == len(before), "another takes its place")
        assert victim not in workers(service)
        with one_to_each(service) as held:
            for connection in held.values():
                answer = ask(connection, chat(ALIAS, max_tokens=1), token=fresh("token"))
                assert answer.status == 200


@pytest.mark.parametrize("also_to_workers", [None, signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_lets_streams_end_and_leaves_nothing(
    tmp_path: Path, slow: Simulator, also_to_workers: signal.Signals | None
) -> None:
    """A terminal and an init system tell each process, and the parent tells its workers too."""
    with several(tmp_path, slow, DRAIN_GRACE_MS=ENOUGH_GRACE) as service:
        pids = workers(service)
        counts = counts_at(pids[0])
        assert counts.is_dir()
        with streams(service, SECONDS_LONG, 8) as begun:
            assert {stream.worker for stream in begun} == set(pids)
            for pid in pids if also_to_workers else []:
                os.kill(pid, also_to_workers or 0)
            service.process.send_signal(also_to_workers or signal.SIGTERM)
            eventually(refuses(service), "the port is closed")
            assert all(stream.ends_whole() for stream in begun)
        assert service.process.wait(STOP_SECONDS) in {*STOPPED, -signal.SIGINT}
        all_end(pids)
        assert not counts.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_all_at_once(
    tmp_path: Path, upstream: Simulator, number: signal.Signals
) -> None:
    with (
        several(tmp_path, upstream, DRAIN_GRACE_MS=ENOUGH_GRACE) as service,
        streams(service, ENDLESS, 4) as begun,
    ):
        pids = workers(service)
        counts = counts_at(pids[0])
        service.process.send_signal(signal.SIGTERM)
        eventually(refuses(service), "the port is closed")
        assert service.process.poll() is None
        assert all(map(runs, pids))
        service.process.send_signal(number)
        assert service.process.wait(STOP_SECONDS) == 128 + number
        all_end(pids)
        assert all(ends_broken(stream.response) for stream in begun)
        assert not counts.exists()


def test_workers_that_lose_their_parent_end_what_they_carry_and_go(
    tmp_path: Path, slow: Simulator
) -> None:
    with several(tmp_path, slow, DRAIN_GRACE_MS=ENOUGH_GRACE) as service:
        service.expected = frozenset({"parent_gone"})
        pids = workers(service)
        counts = counts_at(pids[0])
        with streams(service, SECONDS_LONG, 8) as begun:
            service.process.kill()
            service.process.wait()
            eventually(refuses(service), "the port is closed")
            assert all(stream.ends_whole() for stream in begun)
        all_end(pids)
        assert service.log.count('"parent_gone"') == len(pids)
        assert not counts.exists()


def refused_start(folder: Path, **settings: str) -> tuple[int, str]:
    """Exit code and words of a router that must not start, the times left out."""
    ended = subprocess.run(  # noqa: S603 - our own plug-in
        [TWISTD, "-n", "--pidfile=", "autopilot"],
        env={"PATH": os.environ["PATH"], **settings},
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=False,
    )
    words = (ended.stdout + ended.stderr).decode()
    return ended.returncode, re.sub(r'"time": "[^"]*"', "", words)


def test_a_bad_setting_is_refused_in_the_same_words(tmp_path: Path) -> None:
    one, two = (
        refused_start(tmp_path, WORKERS=number, MAX_ATTEMPTS="some") for number in ("1", "2")
    )
    assert one == two
    assert one[0] == 1
    assert one[1].startswith("autopilot: MAX_ATTEMPTS='some' is not accepted")


@pytest.mark.parametrize("host", [HOST, "::1"])
def test_a_port_that_is_taken_is_said_in_the_same_words(tmp_path: Path, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.create_server((host, 0), family=family)) as taken:
        port = taken.getsockname()[1]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        one, two = (
            refused_start(tmp_path, WORKERS=number, LISTEN_ADDR=address) for number in ("1", "2")
        )
    assert one == two
    assert one[0] == 1
    assert f"cannot listen on {host}, port {port}: Address already in use" in one[1]
    assert "Traceback" not in one[1]
