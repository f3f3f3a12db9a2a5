"""What the router exposes: every series of a built service whose every label has been touched."""

import re
from collections.abc import Iterable

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from autopilot.controlplane.fetch import FetchFault
from autopilot.labels import Feed, Mode
from autopilot.metrics import Metrics
from autopilot.policy.catalog import FeedFault, RowFault
from autopilot.policy.errors import Code
from tests.deploy.promql import Matcher, Names, names_in

SCRAPE_LABELS = frozenset({"job", "instance"})
"""What Prometheus adds to each series of a target."""

UP = "up"
"""The one series that Prometheus makes itself."""

Series = dict[str, list[dict[str, str]]]
"""The label sets of each series name, `_bucket` and the like included."""


def touch(metrics: Metrics) -> None:
    """Have every label value of a closed set be there, and one of each that is open."""
    statuses = {"200", "client_gone", *(str(code.status) for code in Code)}
    for mode in Mode:
        for status in statuses:
            metrics.requests.labels(mode=mode.value, status=status)
        metrics.selected(mode, "org/a")
    metrics.first_byte.start(Mode)
    metrics.duration.start(Mode)
    results = {"ok", "error", *(each.value for each in (*FetchFault, *FeedFault))}
    for feed in Feed:
        for result in results:
            metrics.refreshed(feed, result, dict.fromkeys(RowFault, 1))


def series_of(exposition: str) -> Series:
    """Names and labels of all series in an exposition, and of what Prometheus adds."""
    families: Iterable[Metric] = text_string_to_metric_families(exposition)
    found: Series = {UP: [{}]}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


def faults(expression: str, series: Series) -> list[str]:
    """What in `expression` names something that is not there, in words."""
    names = names_in(expression)
    found = [
        f"no metric {selector.metric}"
        for selector in names.selectors
        if selector.metric not in series
    ]
    known = [each for each in names.selectors if each.metric in series]
    for selector in known:
        labels = labels_of(series, selector.metric)
        for matcher in selector.matchers:
            if matcher.label not in labels:
                found.append(f"{selector.metric} has no label {matcher.label}")
            else:
                found += [
                    f"{selector.metric} never has {matcher.label}={value}"
                    for value in _never(matcher, series[selector.metric])
                ]
    return found + _ungroupable(names, series)


def labels_of(series: Series, metric: str) -> frozenset[str]:
    """The labels under which `metric` is stored."""
    return SCRAPE_LABELS.union(*series[metric])


def _ungroupable(names: Names, series: Series) -> list[str]:
    # Stricter than PromQL, where another part of the expression may have the label: none here needs that.
    return [
        f"{selector.metric} has no label {label} to group by"
        for selector in names.selectors
        if selector.metric in series
        for label in sorted(names.groups - labels_of(series, selector.metric))
    ]


def _never(matcher: Matcher, labels: list[dict[str, str]]) -> list[str]:
    """The values in `matcher` that no series has; those of a dashboard's variables are not known."""
    if matcher.label in SCRAPE_LABELS or "$" in matcher.value:
        return []
    regular = matcher.operator.endswith("~")
    wanted = matcher.value.split("|") if regular else [re.escape(matcher.value)]
    there = {each[matcher.label] for each in labels if matcher.label in each}
    return [
        value
        for value in wanted
        if not any(re.fullmatch(value, each) is not None for each in there)
    ]
