"""The reader of PromQL tells metrics from functions, keywords, labels, strings and numbers."""

import pytest

from tests.deploy.promql import Matcher, Names, Selector, names_in


def metrics(expression: str) -> list[str]:
    return [selector.metric for selector in names_in(expression).selectors]


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("up", ["up"]),
        ("rate(a_total[5m])", ["a_total"]),
        ("rate(a_total[$__rate_interval])", ["a_total"]),
        ("sum by (x) (a) / sum(b) by (y)", ["a", "b"]),
        ("sum without (x) (a) > bool 0.5 and on (x) group_left (z) b unless c", ["a", "b", "c"]),
        ("histogram_quantile(0.95, sum by (le) (rate(a_bucket[5m])))", ["a_bucket"]),
        ('a{b="c(d{e", f=~"g|h"} offset 5m', ["a"]),
        ("a{b='it is \\'d\\''}", ["a"]),
        ("max_over_time(rule:a:b[1h:30s] @ end()) * 1e3 - -.5 + 0x1F", ["rule:a:b"]),
        ("topk(10, a) or vector(0) # not b", ["a"]),
        ("a == inf or NaN", ["a"]),
        ("a > 1h30m", ["a"]),
    ],
)
def test_only_metrics_are_taken_for_metrics(expression: str, found: list[str]) -> None:
    assert metrics(expression) == found


def test_matchers_and_groupings_are_read_with_their_values() -> None:
    expression = 'sum by (job, reason) (rate(a{b!="c", d=~"e|f",}[5m])) / on (job) g'
    matchers = (
        Matcher(label="b", operator="!=", value="c"),
        Matcher(label="d", operator="=~", value="e|f"),
    )
    assert names_in(expression) == Names(
        selectors=(Selector(metric="a", matchers=matchers), Selector(metric="g")),
        groups=frozenset({"job", "reason"}),
    )


@pytest.mark.parametrize("expression", ["a{b=", "a ? b", 'a{b="c"', "sum by (a", 'a{"c"}', "'a"])
def test_what_cannot_be_read_is_an_error(expression: str) -> None:
    with pytest.raises(ValueError, match=r"no PromQL|missing|a matcher is"):
        names_in(expression)
