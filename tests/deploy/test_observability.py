"""Rules and dashboard can be imported as they are, and name nothing that the router does not expose."""

import json
import re
import subprocess
import sys
from functools import cache
from itertools import combinations
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml

from autopilot.metrics import Metrics
from tests.deploy.exposed import SCRAPE_LABELS, Series, faults, labels_of, series_of, touch
from tests.deploy.promql import names_in
from tests.test_built_service import Built

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
GRAFANA = DEPLOY / "grafana"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
COLUMNS = 24
DURATION = re.compile(r"[0-9]+[smh]")
LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")
VARIABLE = re.compile(r"label_values\((.+), *(\w+)\)")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the process's own numbers are shown on Linux only"
)
needs_promtool = pytest.mark.skipif(
    which("promtool") is None, reason="promtool (Debian package prometheus) is not installed"
)


def promtool(*arguments: str | Path) -> str:
    """What promtool says; fails the test if it is not content."""
    done = subprocess.run(
        ["promtool", *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def alerts() -> list[dict[str, Any]]:
    return [rule for path in RULES for group in loaded(path)["groups"] for rule in group["rules"]]


@cache
def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "autopilot.json").read_text())
    return found


def panels() -> list[dict[str, Any]]:
    """All but the headings of rows."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> list[tuple[str, str]]:
    """Every expression of the rules and the dashboard, and where it stands."""
    return [
        *((rule["alert"], rule["expr"]) for rule in alerts()),
        *((panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]),
        *(
            (variable["name"], VARIABLE.fullmatch(variable["definition"])[1])  # type: ignore[index]
            for variable in dashboard()["templating"]["list"]
            if variable["type"] == "query"
        ),
    ]


@pytest.fixture
def series(monkeypatch: pytest.MonkeyPatch) -> Series:
    """What a built service shows on `/metrics`, every label touched."""
    built: list[Metrics] = []
    watch = Metrics.watch_process

    def spy(metrics: Metrics, pids: None) -> None:
        built.append(metrics)
        watch(metrics, pids)

    monkeypatch.setattr(Metrics, "watch_process", spy)
    with Built() as bench:
        touch(built[0])
        return series_of(bench.fetch("/metrics").read().decode())


@needs_promtool
def test_promtool_accepts_the_configuration_and_the_rules() -> None:
    assert "SUCCESS: 1 rule files found" in promtool(
        "check", "config", PROMETHEUS / "prometheus.yml"
    )
    assert f"SUCCESS: {len(alerts())} rules found" in promtool("check", "rules", *RULES)


@needs_promtool
def test_the_alerts_fire_when_they_should_and_not_else() -> None:
    assert "SUCCESS" in promtool("test", "rules", *RULE_TESTS)


def test_each_alert_is_shown_to_fire_and_to_be_silent() -> None:
    shown = {
        (re.search(r'alertname="(\w+)"', case["expr"])[1], bool(case["exp_samples"]))  # type: ignore[index]
        for path in RULE_TESTS
        for test in loaded(path)["tests"]
        for case in test["promql_expr_test"]
    }
    assert shown == {(rule["alert"], fires) for rule in alerts() for fires in (True, False)}


def test_the_scrape_job_is_the_one_that_the_rules_name() -> None:
    config = loaded(PROMETHEUS / "prometheus.yml")
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["autopilot:8080"]}]
    named = {
        matcher.value
        for rule in alerts()
        for selector in names_in(rule["expr"]).selectors
        for matcher in selector.matchers
        if matcher.label == "job"
    }
    assert named == {job["job_name"]}
    (default,) = (each for each in dashboard()["templating"]["list"] if each["name"] == "job")
    assert default["current"]["value"] == job["job_name"]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_for_how_long_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert DURATION.fullmatch(rule["for"])
    assert set(rule["annotations"]) == {"summary", "description"}
    assert len(rule["annotations"]["description"]) > 100
    told = "".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", told)) <= SCRAPE_LABELS


def test_every_name_in_rules_and_panels_is_one_that_the_router_exposes(series: Series) -> None:
    found = [(place, fault) for place, text in expressions() for fault in faults(text, series)]
    assert found == []


def test_every_name_that_an_alert_tells_a_person_to_look_at_is_there(series: Series) -> None:
    told = {
        name
        for rule in alerts()
        for name in re.findall(r"\bautopilot_\w+(?:\{[^}]*\})?", rule["annotations"]["description"])
    }
    assert len(told) > 5
    assert [fault for name in sorted(told) for fault in faults(name, series)] == []


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rate(autopilot_bogus_total[5m])", "no metric autopilot_bogus_total"),
        ("rate(autopilot_requests[5m])", "no metric autopilot_requests"),
        ("autopilot_request_duration_seconds", "no metric autopilot_request_duration_seconds"),
        (
            "sum by (model) (autopilot_failovers_total)",
            "autopilot_failovers_total has no label model to group by",
        ),
        (
            'autopilot_failovers_total{outcome="capacity"}',
            "autopilot_failovers_total has no label outcome",
        ),
        (
            'autopilot_stream_ends_total{end=~"complete|upstream_cut"}',
            "autopilot_stream_ends_total never has end=upstream_cut",
        ),
        (
            'autopilot_not_ready{reason!="drainig"}',
            "autopilot_not_ready never has reason=drainig",
        ),
        (
            'autopilot_requests_total{status=~"6.."}',
            "autopilot_requests_total never has status=6..",
        ),
    ],
)
def test_a_name_that_is_not_there_is_seen(series: Series, expression: str, fault: str) -> None:
    assert faults(expression, series) == [fault]


@pytest.mark.parametrize(
    "expression",
    [
        "rate(autopilot_request_duration_seconds_bucket[5m])",
        "autopilot_request_duration_seconds_sum / autopilot_request_duration_seconds_count",
        'histogram_quantile(0.5, sum by (le) (autopilot_time_to_first_byte_seconds_bucket{job="x"}))',
        'autopilot_requests_total{status=~"5..", instance=~"$instance"} or up',
    ],
)
def test_a_name_that_is_there_is_not_complained_of(series: Series, expression: str) -> None:
    assert faults(expression, series) == []


def test_every_metric_of_the_router_has_a_place_on_the_dashboard(series: Series) -> None:
    shown = {each.metric for _place, text in expressions() for each in names_in(text).selectors}
    unshown = {
        "autopilot_request_duration_seconds_count",  # the requests themselves are counted too
        "autopilot_request_duration_seconds_sum",
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
    }
    assert set(series) - shown == unshown


def test_the_legend_of_a_line_names_labels_that_the_line_has(series: Series) -> None:
    for panel in panels():
        for target in panel["targets"]:
            names = names_in(target["expr"])
            told = set(LEGEND.findall(target["legendFormat"]))
            assert told <= names.groups, panel["title"]
            assert all(told <= labels_of(series, each.metric) for each in names.selectors)


def test_the_dashboard_can_be_imported_anywhere() -> None:
    board = dashboard()
    assert board["uid"] == "chutes-autopilot"
    assert board["id"] is None
    variables = {each["name"]: each for each in board["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance"]
    assert variables["datasource"]["type"] == "datasource"
    holders = [*panels(), *(target for panel in panels() for target in panel["targets"])]
    holders += [variables["job"], variables["instance"]]
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert all(holder["datasource"] == chosen for holder in holders)
    (source,) = loaded(GRAFANA / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    assert variables["datasource"]["current"]["value"] == source["uid"]


def test_every_expression_of_the_dashboard_is_about_the_job_and_instances_chosen() -> None:
    for panel in panels():
        for target in panel["targets"]:
            for selector in names_in(target["expr"]).selectors:
                chosen = {matcher.label: matcher.value for matcher in selector.matchers}
                assert chosen.get("job") == "$job", panel["title"]
                assert chosen.get("instance") == "$instance", panel["title"]


def test_panels_have_an_id_of_their_own_a_unit_and_a_description() -> None:
    every = dashboard()["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    assert len({panel["title"] for panel in every}) == len(every)
    for panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert len(panel["description"]) > 20, panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert len(set(references)) == len(references)


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    """Whether two grid positions share a cell."""
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def test_panels_lie_side_by_side_within_the_grid() -> None:
    every = dashboard()["panels"]
    for panel in every:
        place = panel["gridPos"]
        assert min(place["x"], place["y"]) >= 0
        assert min(place["w"], place["h"]) > 0
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
    for one, other in combinations(every, 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def test_positions_that_overlap_are_seen() -> None:
    one = {"x": 0, "y": 0, "w": 8, "h": 8}
    assert overlap(one, {"x": 7, "y": 7, "w": 8, "h": 8})
    assert not overlap(one, {"x": 8, "y": 0, "w": 8, "h": 8})
    assert not overlap(one, {"x": 0, "y": 8, "w": 8, "h": 8})
