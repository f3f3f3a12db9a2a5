"""What a PromQL expression names: its metrics, its matchers, and the labels that it groups by.

promtool cannot show what it has parsed. promql-parser can, yet it knows nothing of Grafana, which puts a
duration in the place of its own variables before Prometheus sees the expression; so does this.
"""

import re
from dataclasses import dataclass

import promql_parser
from promql_parser import (
    AggModifier,
    AggregateExpr,
    BinaryExpr,
    BinModifier,
    Expr,
    MatchOp,
    VectorSelector,
)

# https://grafana.com/docs/grafana/latest/visualizations/dashboards/variables/global-variables/
_GRAFANA_DURATION = re.compile(r"\$__(?:interval|rate_interval|range)\b")
_ANY_DURATION = "1m"
# By name, because a MatchOp has no hash.
_OPERATORS = {
    str(MatchOp.Equal): "=",
    str(MatchOp.NotEqual): "!=",
    str(MatchOp.Re): "=~",
    str(MatchOp.NotRe): "!~",
}


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


def names_in(expression: str) -> Names:
    """What `expression` names. Other variables of a dashboard may stand in strings only.

    Raises:
        ValueError: it is no PromQL, or it selects otherwise than by a metric and matchers that all hold.
    """
    nodes: list[Expr] = []
    parsed = promql_parser.parse(_GRAFANA_DURATION.sub(_ANY_DURATION, expression))
    promql_parser.walk(parsed, pre_visit=nodes.append)
    return Names(
        selectors=tuple(_selector(node) for node in nodes if isinstance(node, VectorSelector)),
        groups=frozenset(label for node in nodes for label in _groups(node)),
    )


def _selector(node: VectorSelector) -> Selector:
    if node.name is None or node.matchers.or_matchers:
        raise ValueError(f"{node} is not one metric with matchers that all hold")
    matchers = (
        Matcher(label=each.name, operator=_OPERATORS[str(each.op)], value=each.value)
        for each in node.matchers.matchers
    )
    return Selector(metric=node.name, matchers=tuple(matchers))


def _groups(node: Expr) -> list[str]:
    match node:
        case AggregateExpr(modifier=AggModifier() as grouping):
            return grouping.labels
        case BinaryExpr(modifier=BinModifier() as modifier):
            matching = modifier.matching.labels if modifier.matching else []
            return matching + (modifier.group_labels or [])
    return []
