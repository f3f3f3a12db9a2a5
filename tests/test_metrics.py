"""The metrics: which there are, what labels they may carry, and that Prometheus can read them."""

import math
import sys
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import Clock

from autopilot import __version__
from autopilot.interfaces import IPictureSource
from autopilot.labels import MAX_MODEL_LABELS, OTHER, Feed, Mode
from autopilot.metrics import Metrics
from autopilot.policy.catalog import RowFault, Utilization
from autopilot.policy.ending import End
from autopilot.policy.failover import RULES, Outcome, Verdict
from autopilot.policy.picture import Picture
from autopilot.policy.readiness import MaxAges, NotReady
from autopilot.policy.rules import FREE, Rules
from autopilot.testing import FixedPicture, picture_of

DOCUMENTED = {
    "autopilot_requests_in_progress": ("gauge", set[str]()),
    "autopilot_requests_total": ("counter", {"mode", "status"}),
    "autopilot_requests_limit": ("gauge", set[str]()),
    "autopilot_not_ready": ("gauge", {"reason"}),
    "autopilot_attempts_total": ("counter", {"outcome"}),
    "autopilot_failovers_total": ("counter", {"reason"}),
    "autopilot_selections_total": ("counter", {"mode", "model"}),
    "autopilot_stream_ends_total": ("counter", {"end"}),
    "autopilot_clients_gone_total": ("counter", {"phase"}),
    "autopilot_rests_total": ("counter", {"reason"}),
    "autopilot_origin_failures_total": ("counter", {"reason"}),
    "autopilot_time_to_first_byte_seconds": ("histogram", {"mode"}),
    "autopilot_request_duration_seconds": ("histogram", {"mode"}),
    "autopilot_catalog_age_seconds": ("gauge", set[str]()),
    "autopilot_catalog_models": ("gauge", set[str]()),
    "autopilot_feed_age_seconds": ("gauge", set[str]()),
    "autopilot_feed_timestamp_age_seconds": ("gauge", set[str]()),
    "autopilot_catalog_age_limit_seconds": ("gauge", set[str]()),
    "autopilot_feed_age_limit_seconds": ("gauge", set[str]()),
    "autopilot_candidates": ("gauge", set[str]()),
    "autopilot_refreshes_total": ("counter", {"feed", "result"}),
    "autopilot_rows_dropped_total": ("counter", {"feed", "reason"}),
    "autopilot_build_info": ("gauge", {"version"}),
    "autopilot_shadow_choices_total": ("counter", {"choice"}),
    "autopilot_shadow_fates_total": ("counter", {"side", "fate"}),
    "autopilot_shadow_first_bytes_total": ("counter", {"side"}),
    "autopilot_shadow_first_byte_seconds_total": ("counter", {"side"}),
    "autopilot_sticky_places_total": ("counter", {"place"}),
    "autopilot_sticky_store_lookups_total": ("counter", {"result"}),
    "autopilot_sticky_store_writes_total": ("counter", {"result"}),
    "autopilot_sticky_store_unavailable": ("gauge", set[str]()),
}
SILENT_RETRIES = "autopilot_stale_connection_retries_total"
"""One more than the documented list: a silent retry is no attempt, so nothing else would show it."""

AGES = (
    "autopilot_catalog_age_seconds",
    "autopilot_feed_age_seconds",
    "autopilot_feed_timestamp_age_seconds",
)


class Bench:
    def __init__(self, picture: Picture | None = None, *, rules: Rules = FREE) -> None:
        self.monotonic, self.wall = Clock(), Clock()
        self.source = FixedPicture(picture or Picture())
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.metrics.watch(
            IPictureSource(self.source),
            monotonic=self.monotonic.seconds,
            wall=self.wall.seconds,
            rules=rules,
        )
        self.reason: NotReady | None = None
        self.metrics.watch_readiness(lambda: self.reason)
        self.metrics.limits(requests=7, max_ages=MaxAges(catalog=600.0, utilization=20.0))

    def exercise(self) -> None:
        """Have every metric hold a sample."""
        metrics = self.metrics
        for mode in Mode:
            metrics.requests.labels(mode=mode.value, status="200").inc()
            metrics.first_byte[mode].observe(0.1)
            metrics.duration[mode].observe(0.1)
            metrics.selected(mode, "org/a")
        metrics.failovers.labels(reason=next(iter(Outcome)).value).inc()
        for feed in Feed:
            metrics.refreshed(feed, "ok", dict.fromkeys(RowFault, 1))

    def families(self) -> Iterator[Metric]:
        for family in text_string_to_metric_families(self.metrics.exposition().decode()):
            if not family.name.endswith("_created"):
                yield family

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def models(self, mode: Mode | None = None) -> dict[str, float]:
        (family,) = (f for f in self.families() if f.name == "autopilot_selections")
        return {
            sample.labels["model"]: sample.value
            for sample in family.samples
            if mode is None or sample.labels["mode"] == mode.value
        }


def full_name(family: Metric) -> str:
    return family.name + ("_total" if family.type == "counter" else "")


def test_names_types_and_labels_are_the_documented_ones() -> None:
    bench = Bench(picture_of("org/a"))
    bench.exercise()
    found = {
        full_name(family): (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for family in bench.families()
    }
    assert found == DOCUMENTED | {SILENT_RETRIES: ("counter", set())}


def test_every_metric_says_what_it_is() -> None:
    assert all(len(family.documentation) > 10 for family in Bench().families())


def test_two_routers_in_one_process_do_not_share_a_registry() -> None:
    one, other = Bench(), Bench()
    one.metrics.in_progress.inc()
    assert one.value("autopilot_requests_in_progress") == 1
    assert other.value("autopilot_requests_in_progress") == 0


def test_the_running_version_is_told() -> None:
    assert Bench().value("autopilot_build_info", version=__version__) == 1


def test_outcomes_and_ends_are_there_before_they_happen() -> None:
    bench = Bench()
    for outcome in Outcome:
        assert bench.value("autopilot_attempts_total", outcome=outcome.value) == 0
    for end in End:
        assert bench.value("autopilot_stream_ends_total", end=end.value) == 0


def test_failovers_and_overload_are_there_before_they_happen() -> None:
    bench = Bench()
    for outcome in Outcome:
        there = bench.value("autopilot_failovers_total", reason=outcome.value) == 0
        assert there is (RULES[outcome].remaining is Verdict.NEXT)
    assert bench.value("autopilot_requests_total", mode="none", status="503") == 0


def test_the_one_reason_for_not_being_ready_is_read_at_the_scrape() -> None:
    bench = Bench()

    def shown() -> list[str]:
        name = "autopilot_not_ready"
        values = {each.value: bench.value(name, reason=each.value) for each in NotReady}
        assert set(values.values()) <= {0.0, 1.0}
        return [reason for reason, value in values.items() if value]

    assert shown() == []
    for reason in NotReady:
        bench.reason = reason
        assert shown() == [reason.value]
    bench.reason = None
    assert shown() == []


def test_the_limits_are_the_configured_ones() -> None:
    bench = Bench()
    assert bench.value("autopilot_requests_limit") == 7
    assert bench.value("autopilot_catalog_age_limit_seconds") == 600
    assert bench.value("autopilot_feed_age_limit_seconds") == 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its numbers")
def test_the_process_tells_its_memory_time_and_descriptors() -> None:
    bench = Bench()
    bench.metrics.watch_process()
    for name in ("resident_memory_bytes", "cpu_seconds_total", "open_fds", "max_fds"):
        assert (bench.value(f"process_{name}") or 0) > 0, name


@pytest.mark.parametrize("name", AGES)
def test_an_age_is_nan_before_the_first_fetch(name: str) -> None:
    value = Bench().value(name)
    assert value is not None
    assert math.isnan(value)


def test_nan_can_be_scraped() -> None:
    (family,) = (f for f in Bench().families() if f.name == AGES[0])
    assert [math.isnan(sample.value) for sample in family.samples] == [True]


def test_ages_are_measured_on_the_clock_of_what_they_date() -> None:
    bench = Bench()
    bench.source.picture = Picture(
        catalog_fetched_at=1.0,
        utilization_fetched_at=2.0,
        utilization=Utilization(chutes=(), timestamp=70.0),
    )
    bench.monotonic.advance(10)
    bench.wall.advance(100)
    assert [bench.value(name) for name in AGES] == [9.0, 8.0, 30.0]
    bench.monotonic.advance(1)
    assert [bench.value(name) for name in AGES] == [10.0, 9.0, 30.0]


def test_a_feed_without_a_timestamp_has_an_age_all_the_same() -> None:
    bench = Bench(picture_of("org/a", fetched_at=0.0))
    ages = [bench.value(name) for name in AGES]
    assert ages[:2] == [0.0, 0.0]
    assert ages[2] is not None
    assert math.isnan(ages[2])


def test_models_and_candidates_are_those_of_the_picture_at_the_scrape() -> None:
    bench = Bench()
    assert bench.value("autopilot_catalog_models") == 0
    assert bench.value("autopilot_candidates") == 0
    bench.source.picture = Picture(
        catalog=picture_of("org/a", "org/b", "org/c").catalog,
        candidates=picture_of("org/a").candidates,
    )
    assert bench.value("autopilot_catalog_models") == 3
    assert bench.value("autopilot_candidates") == 1


def test_a_candidate_that_the_operator_forbids_is_none() -> None:
    bench = Bench(picture_of("org/a", "org/b", "other/c"), rules=Rules(deny=("org/*",)))
    assert bench.value("autopilot_candidates") == 1


def test_a_name_that_is_no_catalogue_id_is_counted_as_other() -> None:
    bench = Bench()
    bench.metrics.selected(Mode.ALIAS, "org/a")
    bench.metrics.selected(Mode.DIRECT, None)
    bench.metrics.selected(Mode.DIRECT, None)
    assert bench.models(Mode.ALIAS) == {"org/a": 1}
    assert bench.models(Mode.DIRECT) == {OTHER: 2}


def test_model_labels_are_bounded_and_the_rest_is_other() -> None:
    bench = Bench()
    for number in range(1_500):
        bench.metrics.selected(Mode.ALIAS, f"org/{number}")
    models = bench.models()
    assert len(models) == 1_000 + 1
    assert models[OTHER] == 500
    assert MAX_MODEL_LABELS == 1_000


def test_a_model_that_has_a_label_keeps_it_when_no_more_are_given() -> None:
    bench = Bench()
    for number in range(MAX_MODEL_LABELS + 5):
        bench.metrics.selected(Mode.ALIAS, f"org/{number}")
    bench.metrics.selected(Mode.LIST, "org/0")
    bench.metrics.selected(Mode.LIST, "org/new")
    assert bench.models(Mode.LIST) == {"org/0": 1, OTHER: 1}


def test_a_refresh_is_counted_by_its_result_and_dropped_rows_by_their_reason() -> None:
    bench = Bench()
    bench.metrics.refreshed(Feed.CATALOG, "ok", {RowFault.BAD_ID: 3, RowFault.BAD_ROW: 1})
    bench.metrics.refreshed(Feed.CATALOG, "ok", {RowFault.BAD_ID: 2})
    bench.metrics.refreshed(Feed.UTILIZATION, "timeout", {})
    refreshes = "autopilot_refreshes_total"
    assert bench.value(refreshes, feed="catalog", result="ok") == 2
    assert bench.value(refreshes, feed="utilization", result="timeout") == 1
    assert bench.value(refreshes, feed="utilization", result="ok") is None
    assert bench.value("autopilot_rows_dropped_total", feed="catalog", reason="bad_id") == 5


def test_the_exposition_survives_any_name_of_a_model() -> None:
    bench = Bench()
    names = ['org/"quoted"', "org/back\\slash", "org/\u00e9", "org/{a=b}, # c"]
    for name in names:
        bench.metrics.selected(Mode.ALIAS, name)
    assert set(bench.models()) == set(names)


def test_latency_buckets_reach_from_a_quick_answer_to_the_platforms_own_deadline() -> None:
    bench = Bench()
    bench.metrics.duration[Mode.ALIAS].observe(599)
    bucket = "autopilot_request_duration_seconds_bucket"
    assert bench.value(bucket, mode="alias", le="300.0") == 0
    assert bench.value(bucket, mode="alias", le="600.0") == 1
    assert bench.value(bucket, mode="alias", le="0.005") == 0
