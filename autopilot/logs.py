"""Log lines: one JSON object (or one line of text) an event, and never a secret in it.

Our own events carry a `record` of plain values. Of a failure only the classes and places are written:
the texts of parse errors hold whole bodies (`repr(UnicodeDecodeError)`, `JSONDecodeError.doc`), and
those of connection errors hold addresses.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TextIO, cast

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    PredicateResult,
    formatEvent,
)
from twisted.python.failure import Failure
from zope.interface import implementer

_FRAMES_SHOWN = 5
# `json.dumps` with a default makes an encoder for each line.
_ENCODER = json.JSONEncoder(default=str)
_QUIET = {LogLevel.debug, LogLevel.info}


def say(log: Logger, event: str, *, level: str = "info", **record: object) -> None:
    """Write one of our own events: a name from a closed set and plain values."""
    log.emit(LogLevel.levelWithName(level), "{event}", event=event, record=record)


def observer(
    *, stream: TextIO, level: str, style: str, always: Mapping[str, object] | None = None
) -> ILogObserver:
    """An observer that writes to `stream`. `style` is `json` or `text`, `level` a Twisted level name.

    What is in `always` stands in each line.
    """
    levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(level))
    # Twisted ships the predicates without annotations for the return value that it reads.
    predicates = [levels, _without_peers]
    lines = LineObserver(stream=stream, style=style, always=always)
    filtering = FilteringLogObserver(lines, predicates)  # type: ignore[arg-type]
    return cast("ILogObserver", filtering)


@implementer(ILogObserver)
class LineObserver:
    """Writes each event as one line. An event that cannot be written is dropped, never raised."""

    def __init__(
        self, *, stream: TextIO, style: str, always: Mapping[str, object] | None = None
    ) -> None:
        self._stream = stream
        self._always = dict(always or {})
        self._render = _as_text if style == "text" else _as_json

    def __call__(self, event: LogEvent) -> None:
        """Write `event`."""
        try:
            line = self._render(_fields(event) | self._always)
            self._stream.write(line + "\n")
            self._stream.flush()
        except Exception:  # noqa: BLE001 - the stream is closed or full, a value has no text, ...
            # A log line is not worth a request, and there is nowhere left to complain.
            return


def _without_peers(event: LogEvent) -> object:
    # Twisted's own lines about a connection ("Timing out client: {peer}") name the client's address.
    if "peer" in event:
        return PredicateResult.no
    # Its parser has a line for every interim response, of which an upstream can send any number; its
    # port has several for each connection turned away for want of a descriptor, with the address.
    chatty = event.get("log_namespace", "").startswith(("twisted.web.", "twisted.internet.tcp."))
    if chatty and event.get("log_level") in _QUIET:
        return PredicateResult.no
    return PredicateResult.maybe


def _fields(event: LogEvent) -> dict[str, object]:
    level = event.get("log_level")
    fields: dict[str, object] = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": level.name if level is not None else "info",
        "logger": event.get("log_namespace", "-"),
    }
    record = event.get("record")
    # Klein and others still use the old log.err, which has the failure under its old name only.
    failure = event.get("log_failure") or event.get("failure")
    if isinstance(record, Mapping):
        fields["event"] = event["event"]
        fields.update(record)
    elif isinstance(failure, Failure):
        fields["event"] = "failure"
        fields["error"] = _class_name(failure)
        fields["at"] = _places(failure)
    else:
        fields["event"] = "message"
        fields["message"] = formatEvent(event)
    return fields


def _class_name(failure: Failure) -> str:
    kind = failure.type
    return f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else "unknown"


def _places(failure: Failure) -> list[str]:
    return [
        f"{PurePath(filename).name}:{line} {function}"
        for function, filename, line, *_ in failure.frames[-_FRAMES_SHOWN:]
    ]


def _as_json(fields: Mapping[str, object]) -> str:
    return _ENCODER.encode(fields)


def _as_text(fields: Mapping[str, object]) -> str:
    head = " ".join(str(fields[name]) for name in ("time", "level", "logger", "event"))
    rest = [
        f"{name}={_plain(value)}"
        for name, value in fields.items()
        if name not in {"time", "level", "logger", "event"}
    ]
    return " ".join([head, *rest])


def _plain(value: object) -> str:
    if isinstance(value, str) and value.isprintable():
        return value
    return json.dumps(value, default=str)
