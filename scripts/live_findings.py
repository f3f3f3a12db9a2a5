"""Findings: what a live answer is called, and the table that says which have been seen."""

from collections.abc import Iterable
from pathlib import Path

from live_plan import CATALOGUE, UTILIZATION, Key, Step
from live_store import Fixture

from autopilot.policy.evidence import judge_evidence
from autopilot.policy.failover import Outcome, detail_of, judge_body
from autopilot.policy.rest import Cause, cause_in

BEGIN = "<!-- live findings: begin -->"
END = "<!-- live findings: end -->"

_OK, _QUOTA, _LIMITED, _UNAVAILABLE = 200, 402, 429, 503
_LIMITS = {
    Outcome.CAPACITY: "capacity",
    Outcome.ACCOUNT_LIMIT: "account",
    Outcome.EDGE_LIMIT: "edge",
}
_CAUSES = {Cause.COLD: "cold", Cause.UNTIL_CATALOG: "disabled"}
_BEGINS = (
    ("model not found:", "model"),
    ("No matching chute found!", "chute"),
    ("exhausted all available targets", "exhausted"),
    ("No infrastructure available", "infrastructure"),
    ("No result returned", "result"),
    ("Invalid request:", "invalid"),
)
"""Beginnings of details that tell one refusal of a status from another."""


class NoMarkersError(Exception):
    """The document has no place for the table."""


def fixture_name(step: Step, status: int, body: bytes) -> str:
    """The name of the fixture that this answer is: it takes the place of the one written by hand."""
    if step.chute is not None:
        return f"evidence-{judge_evidence(status, body).outcome}"
    if step.name in {CATALOGUE, UTILIZATION}:
        return step.name if status == _OK else f"{step.name}-{status}"
    if step.key is not Key.OURS:
        return f"chat-{step.key}-key-{status}"
    if status == _OK:
        return f"chat-stream{_stream_end(body)}" if step.stream else "chat-document"
    kind = _kind(status, body)
    return f"chat-{kind}-{status}" if kind else f"chat-{status}"


def _stream_end(body: bytes) -> str:
    if b'data: {"error"' in body:
        return "-error"
    last = body.rstrip().rpartition(b"\n")[2]
    if last == b"data: [DONE]":
        return ""
    return "-late-error" if last.startswith(b"{") else "-cut"


def _kind(status: int, body: bytes) -> str:
    detail = detail_of(body)
    if status == _QUOTA:
        return "text" if isinstance(detail, str) else "object"
    if status == _LIMITED:
        return _LIMITS[judge_body(status, body)]
    if status == _UNAVAILABLE:
        cause = cause_in(body)
        return "" if cause is None else _CAUSES[cause]
    return next((word for begin, word in _BEGINS if str(detail).startswith(begin)), "")


def table(fixtures: Iterable[Fixture]) -> str:
    """What has been seen live and what has not, one row a fixture."""
    lines = ["| answer | request | status | seen live |", "| --- | --- | --- | --- |"]
    for fixture in sorted(fixtures, key=lambda each: each.name):
        request = fixture.request
        asked = f"{request['method']} {request['path']}, key: {request['key']}"
        seen = fixture.captured_at or "not yet: representative"
        lines.append(f"| {fixture.name} | {asked} | {fixture.status} | {seen} |")
    return "\n".join(lines)


def update(document: Path, fixtures: Iterable[Fixture]) -> None:
    """Put the table between the markers.

    Raises:
        NoMarkersError: there are none.
    """
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise NoMarkersError(f"{document} has no lines {BEGIN} and {END}")
    document.write_text(f"{before}{BEGIN}\n\n{table(fixtures)}\n\n{END}{after}", encoding="utf-8")
