"""What a PromQL expression names: its metrics, its matchers, and the labels that it groups by.

promtool cannot show what it has parsed. That an expression is well-formed is its business and that of
Prometheus; this only tells names apart: what stands before a parenthesis or a grouping is a function,
what stands in braces is a matcher, and any other word that is no keyword is a metric.
"""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
      | (?P<comment>\#[^\n]*)
      | (?P<range>\[[^\]]*\])
      | (?P<duration>[0-9]+(?:[smhdwy]|ms)[0-9smhdwy]*)
      | (?P<number>0x[0-9a-fA-F]+|[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)
      | (?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^(){},=<>@])
      | (?P<space>\s+)
    """,
    re.VERBOSE,
)
_GROUPINGS = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_KEYWORDS = _GROUPINGS | {"and", "or", "unless", "atan2", "bool", "offset", "inf", "nan"}
_QUOTES = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """One condition of a selector."""

    label: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """A metric as an expression names it."""

    metric: str
    matchers: tuple[Matcher, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """All that an expression names. `groups` are the labels of `by`, `on` and their like."""

    selectors: tuple[Selector, ...]
    groups: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    kind: str
    text: str


def names_in(expression: str) -> Names:
    """What `expression` names.

    Raises:
        ValueError: it holds what no PromQL expression does.
    """
    tokens = _tokens(expression)
    selectors: list[Selector] = []
    groups: set[str] = set()
    at = 0
    while at < len(tokens):
        word, following = tokens[at], tokens[at + 1].text if at + 1 < len(tokens) else ""
        at += 1
        if word.kind != "word":
            continue
        if word.text.lower() in _GROUPINGS and following == "(":
            end = _index(tokens, ")", at)
            groups |= {token.text for token in tokens[at:end] if token.kind == "word"}
            at = end + 1
        elif word.text.lower() in _KEYWORDS or following in {"(", "by", "without"}:
            continue
        elif following == "{":
            end = _index(tokens, "}", at)
            selectors.append(Selector(metric=word.text, matchers=_matchers(tokens[at + 1 : end])))
            at = end + 1
        else:
            selectors.append(Selector(metric=word.text))
    return Names(selectors=tuple(selectors), groups=frozenset(groups))


def _tokens(expression: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None or match.lastgroup is None:
            raise ValueError(f"no PromQL at {expression[at : at + 20]!r}")
        if match.lastgroup not in {"space", "comment"}:
            found.append(_Token(kind=match.lastgroup, text=match[0]))
        at = match.end()
    return found


def _index(tokens: list[_Token], text: str, start: int) -> int:
    for index in range(start, len(tokens)):
        if tokens[index].text == text:
            return index
    raise ValueError(f"{text} is missing")


def _matchers(tokens: list[_Token]) -> tuple[Matcher, ...]:
    words = [token for token in tokens if token.text != ","]
    if len(words) % 3:
        raise ValueError("a matcher is a label, an operator and a string")
    return tuple(
        Matcher(label=label.text, operator=operator.text, value=value.text[_QUOTES:-_QUOTES])
        for label, operator, value in zip(words[::3], words[1::3], words[2::3], strict=True)
    )
