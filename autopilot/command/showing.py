"""An account for a person at a terminal: aligned, short, and without what is not known."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autopilot.dataplane.account import Account
from autopilot.policy.affinity import Place

MOST_TERMS = 4
"""Terms shown of each model: a strategy's last ones, which end with what it compares."""

_GAP = "  "
_NOUGHT = 1e-9  # 1 - 0.9 - 0.1 is not 0, but as good as


def shown_candidates(told: Account) -> str:
    """The order with its terms."""
    removed = [("removed", line) for line in _removed(told["filters"])]
    parts = ["", *_facts(removed)] if removed else []
    return "\n".join([_headline(told), *parts, "", _order(told["candidates"])])


def shown_explanation(told: Account) -> str:
    """What would be done, and below it the order that it was chosen from."""
    refusal = told["refusal"]
    if refusal is not None:
        lines = [("refusal", f"{refusal['status']} {refusal['code']}: {refusal['message']}")]
        return "\n".join([_headline(told), "", *_facts(lines)])
    lines = [
        ("mode", told["mode"] + ("" if told["selector"] is None else f", by {told['selector']}")),
        ("needs", _needs(told["needs"])),
        *([("wishes", _wishes(told["wishes"]))] if told["wishes"] else []),
        *(("removed", line) for line in _removed(told["filters"])),
        *([("later", ", ".join(told["later"]))] if told["later"] else []),
        ("sticky", _sticky(told["sticky"])),
    ]
    lines += [
        ("asked" if number == 1 else "then", f"{number}. {name}")
        for number, name in enumerate(told["candidates"], 1)
    ]
    parts = [_headline(told), "", *_facts(lines)]
    return "\n".join([*parts, "", _order(told["order"])])


def aligned(rows: Sequence[Sequence[str]], *, left: Iterable[int] = ()) -> list[str]:
    """The rows with their columns at the same width; numbers stand right, those in `left` do not."""
    lefts = frozenset(left)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        _GAP.join(
            cell.ljust(width) if at in lefts else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _headline(told: Account) -> str:
    age = told["feed"]["age_s"]
    parts = [
        f"{told['catalog']['models']} models in the catalogue",
        "the feed is of an unknown time" if age is None else f"the feed is {duration(age)} old",
    ]
    if told["worker"] is not None:
        parts.append(f"worker {told['worker']}")
    if not told["ready"]:
        parts.append(f"not ready: {told['not_ready']}")
    if "candidates" in told and "mode" not in told:
        parts.insert(0, f"{len(told['candidates'])} candidates by {told['selector']}")
    return "; ".join(parts)


def _facts(lines: Sequence[tuple[str, str]]) -> list[str]:
    return aligned(lines, left=(0, 1))


def _order(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "nobody can be asked"
    terms = list(dict.fromkeys(term for row in rows for term in row["terms"]))[-MOST_TERMS:]
    observed = any(row["observed"]["first_byte_s"] for row in rows)
    head = ["rank", "model", *terms, *(["first byte"] if observed else []), "in flight", "rest"]
    cells = [
        [
            str(row["rank"]),
            row["model"],
            *(number(row["terms"].get(term)) for term in terms),
            *([_first_byte(row)] if observed else []),
            str(row["in_flight"]),
            _rest(row["rest"]),
        ]
        for row in rows
    ]
    return "\n".join(aligned([head, *cells], left=(1, len(head) - 1)))


def number(value: float | None) -> str:
    """A figure in as many places as a person compares."""
    if value is None:
        return "-"
    return "0" if abs(value) < _NOUGHT else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Seconds in the largest unit that leaves more than one of it."""
    for unit, name in ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def _first_byte(row: Mapping[str, Any]) -> str:
    means = row["observed"]["first_byte_s"]
    return "-" if not means else f"{means[0]['mean']:.2f} s"


def _rest(rest: Mapping[str, Any] | None) -> str:
    if rest is None:
        return ""
    return f"{rest['cause']}, {rest['seconds_left']:.0f} s" if rest["resting"] else "to be probed"


def _needs(needs: Mapping[str, Any]) -> str:
    said = [
        f"{value} {name.replace('_', ' ')}"
        for name, value in needs.items()
        if not isinstance(value, bool) and value
    ]
    said += [name for name, value in needs.items() if value is True]
    return ", ".join(said) or "nothing special"


def _wishes(wishes: Mapping[str, Any]) -> str:
    return "; ".join(f"{name} {json.dumps(value)}" for name, value in wishes.items())


def _removed(filters: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{len(step['removed'])} of {step['before']} by {step['constraint']}" for step in filters
    ]


def _sticky(sticky: Mapping[str, Any] | None) -> str:
    if sticky is None:
        return "no place: the client named its model"
    if sticky["model"] is None:
        return "no place yet"
    weighed = sticky["weighed"]
    text = f"{sticky['place']} ({sticky['model']})"
    if weighed is None:
        return text + (": others are wished for first" if sticky["place"] == Place.LEFT else "")
    return (
        f"{text}: disadvantage {number(weighed['disadvantage'])} to {weighed['rival']}, against a cache "
        f"worth {number(weighed['cache'])} and a hysteresis of {number(weighed['hysteresis'])}"
    )
