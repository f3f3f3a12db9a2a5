"""The reader of PromQL finds every name wherever it stands, also beside the variables of Grafana."""

import pytest

from tests.deploy.promql import Matcher, Names, Selector, names_in


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("up", ["up"]),
        ("histogram_quantile(0.95, sum by (le) (rate(a_bucket[5m])))", ["a_bucket"]),
        ("max_over_time(rule:a:b[1h:30s] @ end()) * -(c offset 5m)", ["rule:a:b", "c"]),
        ("topk(scalar(a), b) > bool 0.5 unless c or vector(0) # not d", ["a", "b", "c"]),
        (
            "rate(a_total[$__rate_interval]) / rate(b_total[$__range:$__interval])",
            ["a_total", "b_total"],
        ),
    ],
)
def test_metrics_are_found_wherever_they_stand(expression: str, found: list[str]) -> None:
    assert [selector.metric for selector in names_in(expression).selectors] == found


def test_matchers_are_read_with_their_operators_and_values() -> None:
    expression = r"""a{b="c(d{e", f!='it is \'g\'', h=~"$instance", i!~"j|k",}"""
    matchers = (
        Matcher(label="b", operator="=", value="c(d{e"),
        Matcher(label="f", operator="!=", value="it is 'g'"),
        Matcher(label="h", operator="=~", value="$instance"),
        Matcher(label="i", operator="!~", value="j|k"),
    )
    assert names_in(expression) == Names(
        selectors=(Selector(metric="a", matchers=matchers),), groups=frozenset()
    )


@pytest.mark.parametrize(
    ("expression", "groups"),
    [
        ("a + b", set()),
        ("sum by (c, d) (a) / sum(b) without (e)", {"c", "d", "e"}),
        ("a * on (c) b", {"c"}),
        ("a * ignoring (c) group_left (d) b", {"c", "d"}),
    ],
)
def test_the_labels_of_groupings_are_found(expression: str, groups: set[str]) -> None:
    assert names_in(expression).groups == groups


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("sum by (a", "unclosed"),
        ("rate(a[$job])", "unexpected character"),
        ('{__name__="a"}', "not one metric"),
        ('a{b="c" or d="e"}', "not one metric"),
    ],
)
def test_what_cannot_be_read_is_an_error(expression: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        names_in(expression)
