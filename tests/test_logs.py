"""Log lines: one for each event, parseable, and without what a failure or a peer would tell."""

import io
import json
import re
from collections.abc import Callable
from typing import Any, cast

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from zope.interface.verify import verifyObject

from autopilot.logs import LineObserver, observer, say

MARKED = "marked-secret"
PEER = "192.168.1.1"
STYLES = pytest.mark.parametrize("style", ["json", "text"])


class Bench:
    def __init__(self, *, level: str = "info", style: str = "json") -> None:
        self.stream = io.StringIO()
        self.observe = observer(stream=self.stream, level=level, style=style)
        self.log = Logger(namespace="autopilot.test", observer=self.observe)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def only(self) -> dict[str, Any]:
        (line,) = self.lines
        return cast("dict[str, Any]", json.loads(line))


def raised(error: Exception) -> Failure:
    try:
        raise error
    except type(error):
        return Failure()


def test_the_line_observer_is_a_log_observer() -> None:
    assert verifyObject(ILogObserver, LineObserver(stream=io.StringIO(), style="json"))


def test_an_event_of_ours_is_one_json_object_of_plain_values() -> None:
    bench = Bench()
    say(bench.log, "request", request_id="r", attempts=[{"model": "a", "ms": 1.5}], status=200)
    line = bench.only()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert line == {
        "level": "info",
        "logger": "autopilot.test",
        "event": "request",
        "request_id": "r",
        "attempts": [{"model": "a", "ms": 1.5}],
        "status": 200,
    }


def test_a_message_of_others_is_formatted() -> None:
    bench = Bench()
    bench.log.emit(LogLevel.warn, "{count} things", count=3)
    line = bench.only()
    assert (line["level"], line["event"], line["message"]) == ("warn", "message", "3 things")


@STYLES
@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "\n", "x" * 10_000])
def test_every_event_is_exactly_one_line(style: str, text: str) -> None:
    bench = Bench(style=style)
    say(bench.log, "request", path=text, listed=[text])
    bench.log.info("{text}", text=text)
    assert bench.text.count("\n") == 2
    assert bench.text.endswith("\n")


def test_text_shows_the_same_for_a_person() -> None:
    bench = Bench(style="text")
    say(bench.log, "request", status=200, selected="org/a", attempts=[{"model": "a"}], ended=None)
    (line,) = bench.lines
    assert line.partition(" ")[2] == (
        'info autopilot.test request status=200 selected=org/a attempts=[{"model": "a"}] ended=null'
    )


@STYLES
@pytest.mark.parametrize(
    "failure",
    [
        lambda: raised(ValueError(MARKED)),
        lambda: raised(UnicodeDecodeError("utf-8", MARKED.encode(), 0, 1, MARKED)),
        lambda: raised(json.JSONDecodeError("bad", MARKED, 0)),
        lambda: raised(ConnectionError(MARKED)),
        lambda: Failure(ValueError(MARKED)),
    ],
    ids=["ValueError", "UnicodeDecodeError", "JSONDecodeError", "ConnectionError", "not raised"],
)
def test_of_a_failure_only_class_and_places_are_written(
    style: str, failure: Callable[[], Failure]
) -> None:
    bench = Bench(style=style)
    shown = failure()
    bench.log.failure(f"while reading {MARKED}", shown)
    assert len(bench.lines) == 1
    assert MARKED not in bench.text
    assert shown.type is not None
    assert shown.type.__name__ in bench.text


def test_a_failure_says_where_it_happened_without_the_path() -> None:
    bench = Bench()
    bench.log.failure("text", raised(ZeroDivisionError(MARKED)))
    line = bench.only()
    assert (line["level"], line["event"]) == ("critical", "failure")
    assert line["error"] == "builtins.ZeroDivisionError"
    (place,) = line["at"]
    assert re.fullmatch(r"test_logs\.py:\d+ raised", place)


def test_of_a_deep_failure_only_the_last_places_are_written() -> None:
    def deeper(depth: int) -> None:
        if depth == 0:
            raise ZeroDivisionError
        deeper(depth - 1)

    bench = Bench()
    try:
        deeper(50)
    except ZeroDivisionError:
        bench.log.failure("text")
    assert len(bench.only()["at"]) == 5


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["debug", "info", "warn", "error", "critical"]),
        ("info", ["info", "warn", "error", "critical"]),
        ("warn", ["warn", "error", "critical"]),
        ("error", ["error", "critical"]),
        ("critical", ["critical"]),
    ],
)
def test_what_is_less_important_than_the_level_is_not_written(
    level: str, written: list[str]
) -> None:
    bench = Bench(level=level)
    for each in ("debug", "info", "warn", "error", "critical"):
        say(bench.log, "request", level=each)
    assert [json.loads(line)["level"] for line in bench.lines] == written


@pytest.mark.parametrize("namespace", ["twisted.web.http", "twisted.web.http.HTTPChannel"])
def test_the_web_servers_own_lines_are_dropped_because_they_name_peers(namespace: str) -> None:
    bench = Bench(level="debug")
    Logger(namespace=namespace, observer=bench.observe).critical("peer {peer}", peer=PEER)
    assert bench.text == ""


def test_a_failure_of_the_web_server_is_written_without_its_text() -> None:
    bench = Bench()
    log = Logger(namespace="twisted.web.http", observer=bench.observe)
    log.failure(f"from {PEER}", raised(ValueError(PEER)))
    assert bench.only()["error"] == "builtins.ValueError"
    assert PEER not in bench.text


def test_a_connection_that_times_out_leaves_no_line_with_its_peer() -> None:
    seen: list[LogEvent] = []
    bench = Bench(level="debug")
    clock = Clock()
    channel: Any = HTTPChannel()
    channel.callLater = clock.callLater
    channel.timeOut = 10
    channel.factory = None
    publish = cast("ILogObserver", seen.append)
    globalLogPublisher.addObserver(publish)
    globalLogPublisher.addObserver(bench.observe)
    try:
        channel.makeConnection(StringTransport())
        clock.advance(10)
        clock.advance(60)
    finally:
        globalLogPublisher.removeObserver(publish)
        globalLogPublisher.removeObserver(bench.observe)
    assert any(PEER in str(event.get("peer")) for event in seen)
    assert PEER not in bench.text


class Full(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


@STYLES
def test_a_stream_that_is_closed_or_broken_never_raises(style: str) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, Full()):
        write = LineObserver(stream=stream, style=style)
        write({"log_time": 0.0, "log_format": "text"})


def test_a_stream_that_cannot_spell_a_character_never_raises() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    write = LineObserver(stream=stream, style="text")
    write({"log_time": 0.0, "log_format": "\u00e9"})


class Unspeakable:
    def __str__(self) -> str:
        raise ValueError(MARKED)

    __repr__ = __str__


@STYLES
def test_an_event_that_has_no_text_is_dropped_and_the_next_is_written(style: str) -> None:
    bench = Bench(style=style)
    # Directly: the publisher would swallow what an observer raises.
    write = LineObserver(stream=bench.stream, style=style)
    write({"log_time": 0.0, "event": "request", "record": {"value": [Unspeakable()]}})
    assert bench.text == ""
    say(bench.log, "request")
    assert len(bench.lines) == 1


class Silent:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "event",
    [
        {"log_time": 0.0, "event": "request", "record": {"value": Silent()}},
        {"event": "request", "record": {}},
    ],
    ids=["no text", "no time"],
)
def test_an_event_that_cannot_be_written_never_raises_whatever_is_wrong_with_it(
    event: LogEvent,
) -> None:
    LineObserver(stream=io.StringIO(), style="json")(event)


def test_a_value_that_json_does_not_know_is_written_as_its_text() -> None:
    bench = Bench()
    say(bench.log, "request", value={"set": {1}})
    assert bench.only()["value"] == {"set": "{1}"}


def test_a_message_whose_format_fails_is_still_a_line() -> None:
    bench = Bench()
    bench.log.info("{missing}")
    assert bench.only()["event"] == "message"


def test_each_line_is_flushed_as_it_is_written() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(io.BufferedWriter(cast("Any", raw)), encoding="utf-8")
    log = Logger(observer=observer(stream=stream, level="info", style="json"))
    say(log, "request")
    assert raw.getvalue().endswith(b"}\n")


def test_what_a_process_says_of_itself_stands_in_each_line() -> None:
    stream = io.StringIO()
    log = Logger(observer=observer(stream=stream, level="info", style="json", always={"worker": 1}))
    say(log, "something", number=3)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["number"], line["worker"]) == ("something", 3, 1)
