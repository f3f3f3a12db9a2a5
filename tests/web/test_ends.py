"""How an answer ends: whole, or visibly broken, and never the one in the guise of the other."""

import pytest
from twisted.python.failure import Failure

from autopilot.metrics import Metrics
from autopilot.policy.ending import BodyEnd
from autopilot.testing import FakeResponse
from autopilot.web.downstream import RequestDownstream
from autopilot.web.reset import POLL_SECONDS
from tests.web.harness import ALIAS, LIMITS, Answer, Bench, Client, assert_refused, chat, post

LAST_CHUNK = b"0\r\n\r\n"
OLD = "1.0"


class Broken:
    """A metric that cannot be written."""

    def labels(self, *_value: object, **_labels: str) -> "Broken":
        raise RuntimeError("a metric failed")

    inc = dec = observe = __getitem__ = labels


def broken_metric(monkeypatch: pytest.MonkeyPatch, metrics: Metrics, name: str) -> None:
    monkeypatch.setattr(metrics, name, Broken())


def assert_broken(client: Client) -> Answer:
    """The answer is cut: no last chunk, and the connection closes once it has been flushed."""
    assert not client.received.endswith(LAST_CHUNK)
    assert client.wire.closing
    assert not client.wire.aborted
    return client.answer()


def test_a_whole_answer_ends_with_the_last_chunk_and_the_connection_stays() -> None:
    with Bench(FakeResponse().send(b"answer").end()) as bench:
        client = bench.client().ask(ALIAS)
        assert client.received.endswith(LAST_CHUNK)
        assert client.answer().whole
        assert not client.wire.closing
        assert bench.ends == ["whole"]
        assert bench.count("autopilot_stream_ends_total", end="complete") == 1.0


@pytest.mark.parametrize("status", [200, 400, 503])
@pytest.mark.parametrize("parts", [[b"one"], [b"one", b"two"], [b"x" * 100_000]])
def test_a_break_after_commit_delivers_what_came_and_then_breaks(
    status: int, parts: list[bytes]
) -> None:
    upstream = FakeResponse(status)
    with Bench(upstream) as bench:
        client = bench.client().ask("org/one")
        upstream.send(*parts)
        upstream.end(BodyEnd.BROKEN)
        answer = assert_broken(client)
        assert (answer.status, answer.body, answer.whole) == (status, b"".join(parts), False)
        assert len(bench.posted) == 1
        assert bench.ends == []
        client.settle()
        assert bench.ends == ["cut"]
        assert bench.count("autopilot_stream_ends_total", end="upstream_broken") == 1.0
        assert bench.count("autopilot_stream_ends_total", end="complete") == 0.0


def test_a_refusal_that_breaks_before_its_first_byte_still_shows_its_status() -> None:
    upstream = FakeResponse(503, fields=((b"Retry-After", b"3"),))
    with Bench(upstream) as bench:
        client = bench.client().ask("org/one")
        upstream.end(BodyEnd.BROKEN)
        answer = assert_broken(client)
        assert (answer.status, answer.body, answer.whole) == (503, b"", False)
        assert answer.header("retry-after") == ["3"]


def test_a_break_of_an_answer_of_known_length_leaves_it_short() -> None:
    upstream = FakeResponse(length=10).send(b"half")
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        upstream.end(BodyEnd.BROKEN)
        answer = assert_broken(client)
        assert (answer.body, answer.whole) == (b"half", False)
        assert answer.header("content-length") == ["10"]


def test_a_client_that_does_not_read_a_broken_answer_is_cut_off() -> None:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        upstream.end(BodyEnd.BROKEN)
        bench.clock.advance(LIMITS.stall - 0.1)
        assert not client.wire.aborted
        bench.clock.advance(1.0)
        assert client.wire.aborted


def test_nothing_is_read_from_a_client_whose_answer_was_broken() -> None:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        client = bench.client().send(post(chat(ALIAS)) + post(chat(ALIAS)))
        upstream.end(BodyEnd.BROKEN)
        assert_broken(client)
        client.settle()
        assert len(bench.posted) == 1


def test_a_broken_answer_is_counted_once_and_logged_as_broken() -> None:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        client = bench.client().ask(ALIAS)
        upstream.end(BodyEnd.BROKEN)
        (line,) = bench.lines()
        assert (line["status"], line["end"], line["bytes"]) == (200, "upstream_broken", 5)
        client.settle()
        assert len(bench.lines()) == 1
        assert bench.count("autopilot_requests_total", mode="alias", status="200") == 1.0


def test_an_exception_while_the_answer_is_written_breaks_it(
    monkeypatch: pytest.MonkeyPatch, lost_errors: list[Failure]
) -> None:
    """The bytes held until commit are written before the engine waits for the rest."""

    def fail(_downstream: RequestDownstream, _data: bytes) -> None:
        raise RuntimeError("a write failed")

    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        client = bench.client()
        monkeypatch.setattr(RequestDownstream, "write", fail)
        client.ask(ALIAS)
        answer = assert_broken(client)
        assert (answer.status, answer.body, answer.whole) == (200, b"", False)
        client.settle()
        assert bench.ends == ["cut"]
    assert {failure.type for failure in lost_errors} == {RuntimeError}
    lost_errors.clear()


def test_an_exception_just_before_commit_is_an_internal_error(
    monkeypatch: pytest.MonkeyPatch, lost_errors: list[Failure]
) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("the code is wrong")

    with Bench(FakeResponse().send(b"answer").end()) as bench:
        monkeypatch.setattr("autopilot.dataplane.engine.downstream_fields", fail)
        client = bench.client().ask(ALIAS)
        assert_refused(client.answer(), 500, "internal_error")
        assert b"answer" not in client.received
        assert bench.ends == ["whole"]
    assert [failure.type for failure in lost_errors] == [RuntimeError]
    lost_errors.clear()


METRICS = ["attempts", "first_byte", "stream_ends", "requests", "duration"]


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_that_fails_costs_no_answer(
    name: str, monkeypatch: pytest.MonkeyPatch, lost_errors: list[Failure]
) -> None:
    upstream = FakeResponse().send(b"answer")
    with Bench(upstream) as bench:
        broken_metric(monkeypatch, bench.metrics, name)
        client = bench.client().ask(ALIAS)
        upstream.end()
        answer = client.answer()
        assert (answer.status, answer.body, answer.whole) == (200, b"answer", True)
        assert client.received.endswith(LAST_CHUNK)
        assert bench.ends == ["whole"]
    assert {failure.type for failure in lost_errors} == {RuntimeError}
    lost_errors.clear()


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_that_fails_makes_no_broken_answer_whole(
    name: str, monkeypatch: pytest.MonkeyPatch, lost_errors: list[Failure]
) -> None:
    upstream = FakeResponse().send(b"first")
    with Bench(upstream) as bench:
        broken_metric(monkeypatch, bench.metrics, name)
        client = bench.client().ask(ALIAS)
        upstream.end(BodyEnd.BROKEN)
        answer = assert_broken(client)
        assert (answer.body, answer.whole) == (b"first", False)
        client.settle()
        assert bench.ends == ["cut"]
    assert {failure.type for failure in lost_errors} == {RuntimeError}
    lost_errors.clear()


class TestToHttp10:
    """An HTTP/1.0 client takes a close for a clean end: only a reset is visibly none."""

    @pytest.fixture(autouse=True)
    def kernel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The number of unsent bytes is that of the wire, which it gives as its descriptor."""
        monkeypatch.setattr("autopilot.web.reset.unsent_bytes", lambda descriptor: descriptor)

    def test_a_whole_answer_is_neither_chunked_nor_kept_open(self) -> None:
        for length, declared in ((None, []), (6, ["6"])):
            with Bench(FakeResponse(length=length).send(b"answer").end()) as bench:
                client = bench.client().send(post(chat(ALIAS), version=OLD))
                answer = client.answer()
                assert (answer.version, answer.status, answer.body) == (10, 200, b"answer")
                assert answer.header("transfer-encoding") == []
                assert answer.header("content-length") == declared
                assert client.received.endswith(b"\r\n\r\nanswer")
                assert client.wire.closing
                assert not client.wire.aborted
                assert bench.ends == ["whole"]

    def test_a_refusal_of_our_own_closes_too(self) -> None:
        with Bench() as bench:
            client = bench.client().send(post(b"{", version=OLD))
            assert_refused(client.answer(), 400, "invalid_json")
            assert client.wire.closing

    def test_keep_alive_is_not_promised(self) -> None:
        with Bench(FakeResponse().send(b"answer").end()) as bench:
            client = bench.client()
            client.send(post(chat(ALIAS), [("Connection", "keep-alive")], version=OLD))
            assert client.answer().header("connection") in ([], ["close"])
            assert client.wire.closing

    def test_a_break_is_a_reset_once_all_has_been_handed_over(self) -> None:
        upstream = FakeResponse().send(b"first")
        with Bench(upstream) as bench:
            client = bench.client().send(post(chat(ALIAS), version=OLD))
            upstream.send(b" second").end(BodyEnd.BROKEN)
            assert client.received.endswith(b"\r\n\r\nfirst second")
            bench.clock.advance(POLL_SECONDS)
            assert not client.wire.closing  # the transport's own buffer has not become empty
            assert client.wire.producer is not None
            client.wire.unsent = 5
            client.wire.producer.resumeProducing()
            bench.clock.advance(POLL_SECONDS)
            assert not client.wire.closing  # the kernel has not delivered it
            client.wire.unsent = 0
            bench.clock.advance(POLL_SECONDS)
            assert client.wire.aborted
            client.settle()
            assert bench.ends == ["cut"]

    def test_a_client_that_does_not_read_is_reset_in_the_end(self) -> None:
        upstream = FakeResponse().send(b"first")
        with Bench(upstream) as bench:
            client = bench.client().send(post(chat(ALIAS), version=OLD))
            client.wire.unsent = 5
            upstream.end(BodyEnd.BROKEN)
            bench.clock.pump([1.0] * (int(LIMITS.stall) - 1))
            assert not client.wire.aborted
            bench.clock.pump([1.0] * 2)
            assert client.wire.aborted

    def test_a_client_that_leaves_meanwhile_is_forgotten(self) -> None:
        upstream = FakeResponse().send(b"first")
        with Bench(upstream) as bench:
            client = bench.client().send(post(chat(ALIAS), version=OLD))
            client.wire.unsent = 5
            upstream.end(BodyEnd.BROKEN)
            client.hang_up()
            assert not bench.clock.getDelayedCalls()
            assert not client.wire.aborted
