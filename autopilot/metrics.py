"""What the router counts: one object, one injected registry, closed label sets.

Nothing that a client sends becomes a label: modes, outcomes and ends are enumerations, a model is a
catalogue id or `other`, and the number of model labels is bounded although ids come and go.

Of several processes that are one service, each may expose the numbers of all: see `exposition`.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import product

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from autopilot import __version__
from autopilot.exposition import Processes, Shared
from autopilot.interfaces import IPictureSource, Seconds
from autopilot.labels import (
    MAX_MODEL_LABELS,
    OTHER,
    Each,
    Feed,
    Mode,
    Phase,
    StickyLookup,
    StickyWrite,
)
from autopilot.policy.affinity import Place
from autopilot.policy.catalog import RowFault
from autopilot.policy.ending import End
from autopilot.policy.errors import Code
from autopilot.policy.failover import ORIGIN_OUTCOMES, RULES, Outcome, Verdict
from autopilot.policy.readiness import MaxAges, NotReady
from autopilot.policy.rest import CAUSES
from autopilot.policy.rules import FREE, Rules
from autopilot.policy.shadow import Fate, Side
from autopilot.readings import of_picture, of_readiness, of_rests

_SELECTIONS = "autopilot_selections_total"

_LATENCY_BUCKETS = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
)


class Metrics:
    """All metrics of one router, exposed by `registry`: with `shared`, those of a whole service."""

    def __init__(self, registry: CollectorRegistry, shared: Shared | None = None) -> None:
        # One more series for each of ours, which no dashboard wants.
        disable_created_metrics()
        self._registry = registry
        self._counted = registry if shared is None else shared.join(registry)
        # There are some already when others count too, or did so in this process's place.
        self._models = {
            sample.labels["model"]
            for family in registry.collect()
            for sample in family.samples
            if sample.name == _SELECTIONS
        }
        self.in_progress = Gauge(
            "autopilot_requests_in_progress",
            "Chat and completion requests being handled.",
            registry=self._counted,
            multiprocess_mode="livesum",
        )
        self.requests = Counter(
            "autopilot_requests_total",
            "Finished chat and completion requests; status client_gone if the client left first.",
            ["mode", "status"],
            registry=self._counted,
        )
        self.attempts = Each(
            Counter(
                "autopilot_attempts_total",
                "Upstream attempts by what they came to.",
                ["outcome"],
                registry=self._counted,
            )
        )
        self.failovers = Counter(
            "autopilot_failovers_total",
            "Moves to a next candidate, by the outcome that caused them.",
            ["reason"],
            registry=self._counted,
        )
        self._selections = Counter(
            _SELECTIONS,
            "Answers committed, by the model that gave them.",
            ["mode", "model"],
            registry=self._counted,
        )
        self.places = Each(
            Counter(
                "autopilot_sticky_places_total",
                "Alias and list requests by what became of their client's place.",
                ["place"],
                registry=self._counted,
            )
        )
        self.shadow_choices = Counter(
            "autopilot_shadow_choices_total",
            "Choices of SELECTOR by whether SHADOW_SELECTOR would have made the same.",
            ["choice"],
            registry=self._counted,
        )
        self.shadow_fates = Counter(
            "autopilot_shadow_fates_total",
            "Of those that differed: what the next attempt at each side's model came to.",
            ["side", "fate"],
            registry=self._counted,
        )
        self.shadow_first_bytes = Counter(
            "autopilot_shadow_first_bytes_total",
            "Of those: whose next attempt was a stream that began.",
            ["side"],
            registry=self._counted,
        )
        self.shadow_seconds = Counter(
            "autopilot_shadow_first_byte_seconds_total",
            "The times to the first byte of those, added up.",
            ["side"],
            registry=self._counted,
        )
        self.stream_ends = Each(
            Counter(
                "autopilot_stream_ends_total",
                "How answers ended once the client had been sent their first byte.",
                ["end"],
                registry=self._counted,
            )
        )
        self.clients_gone = Counter(
            "autopilot_clients_gone_total",
            "Clients that left before the end of their answer, by what they were waiting for.",
            ["phase"],
            registry=self._counted,
        )
        self.rests = Counter(
            "autopilot_rests_total",
            "Failures after which a model was asked last for a while, by outcome.",
            ["reason"],
            registry=self._counted,
        )
        self.origin_failures = Counter(
            "autopilot_origin_failures_total",
            "Failures to reach the upstream at all, which say nothing about a model.",
            ["reason"],
            registry=self._counted,
        )
        self.stale_retries = Counter(
            "autopilot_stale_connection_retries_total",
            "Silent retries after the upstream had closed a pooled connection.",
            registry=self._counted,
        )
        self.first_byte = Each(
            Histogram(
                "autopilot_time_to_first_byte_seconds",
                "From the whole request received to the first byte of the answer sent.",
                ["mode"],
                buckets=_LATENCY_BUCKETS,
                registry=self._counted,
            )
        )
        self.duration = Each(
            Histogram(
                "autopilot_request_duration_seconds",
                "From the whole request received to the end of the answer.",
                ["mode"],
                buckets=_LATENCY_BUCKETS,
                registry=self._counted,
            )
        )
        self.refreshes = Counter(
            "autopilot_refreshes_total",
            "Fetches of the catalogue and of the feed by result.",
            ["feed", "result"],
            registry=self._counted,
        )
        self.rows_dropped = Counter(
            "autopilot_rows_dropped_total",
            "Rows of a good fetch that were unusable.",
            ["feed", "reason"],
            registry=self._counted,
        )
        self._sticky_lookups = Counter(
            "autopilot_sticky_store_lookups_total",
            "Lookups of clients in the shared sticky store by result.",
            ["result"],
            registry=self._counted,
        )
        self._sticky_writes = Counter(
            "autopilot_sticky_store_writes_total",
            "Changes of clients' places in the shared sticky store by result.",
            ["result"],
            registry=self._counted,
        )
        self.sticky_unavailable = Gauge(
            "autopilot_sticky_store_unavailable",
            "1 while the shared sticky store is not asked because it failed.",
            registry=self._counted,
            multiprocess_mode="livemax",
        )
        Gauge(
            "autopilot_build_info",
            "The running version.",
            ["version"],
            registry=self._counted,
            multiprocess_mode="livemax",
        ).labels(version=__version__).set(1)
        self._start_with_all()

    def watch(
        self,
        source: IPictureSource,
        *,
        monotonic: Seconds,
        wall: Seconds,
        rules: Rules = FREE,
    ) -> None:
        """Register the gauges of the published picture; see `of_picture`."""
        for reading in of_picture(source, monotonic=monotonic, wall=wall, rules=rules):
            self._registry.register(reading)

    def watch_rests(self, resting: Callable[[], float]) -> None:
        """Register the gauge that counts the models that rest, by `resting` at each scrape."""
        self._registry.register(of_rests(resting))

    def watch_readiness(self, reason: Callable[[], NotReady | None]) -> None:
        """Register the gauge that says why the router is not ready, by `reason` at each scrape."""
        self._registry.register(of_readiness(reason))

    def watch_process(self, pids: Callable[[], Iterable[int]] | None = None) -> None:
        """Register memory, processor time and file descriptors of this process. Linux only.

        With `pids`, those of the living processes of the service as of one: see `Processes`.
        """
        if pids is None:
            ProcessCollector(registry=self._registry)
        else:
            self._registry.register(Processes(pids))

    def limits(self, *, requests: int, max_ages: MaxAges) -> None:
        """Register the limits that the gauges are to be compared with, as they are configured."""
        # Each is the whole service's, whichever of its processes says so.
        for name, text, value in (
            (
                "autopilot_requests_limit",
                "Requests carried at once; more are refused as overloaded.",
                requests,
            ),
            (
                "autopilot_catalog_age_limit_seconds",
                "Age of the catalogue beyond which the router is not ready.",
                max_ages.catalog,
            ),
            (
                "autopilot_feed_age_limit_seconds",
                "Age of the utilization feed beyond which the router is not ready.",
                max_ages.utilization,
            ),
        ):
            Gauge(name, text, registry=self._counted, multiprocess_mode="livemax").set(value)

    def _start_with_all(self) -> None:
        """Have each series that is known beforehand from the start, at nought."""
        # A rate does not see the step from nothing to one: what alerts ask for is there from the start.
        for outcome, rule in RULES.items():
            if rule.remaining is Verdict.NEXT:
                self.failovers.labels(reason=outcome.value)
        self.requests.labels(mode=Mode.NONE.value, status=str(Code.OVERLOADED.status))
        for outcome in ORIGIN_OUTCOMES:
            self.origin_failures.labels(reason=outcome.value)
        for outcome in CAUSES:
            self.rests.labels(reason=outcome.value)
        self.attempts.start(Outcome)
        self.stream_ends.start(End)
        self.places.start(Place)
        for counter, label, values in (
            (self.clients_gone, "phase", Phase),
            (self.shadow_first_bytes, "side", Side),
            (self.shadow_seconds, "side", Side),
            (self._sticky_lookups, "result", StickyLookup),
            (self._sticky_writes, "result", StickyWrite),
        ):
            for value in values:
                counter.labels(**{label: value.value})
        for choice in ("same", "other"):
            self.shadow_choices.labels(choice=choice)
        for side, fate in product(Side, Fate):
            self.shadow_fates.labels(side=side.value, fate=fate.value)

    def selected(self, mode: Mode, model: str | None) -> None:
        """Count a committed answer of `model`, a catalogue id, or None for a name that is none."""
        label = OTHER if model is None else model
        if label not in self._models:
            if len(self._models) >= MAX_MODEL_LABELS:
                label = OTHER
            self._models.add(label)
        self._selections.labels(mode=mode.value, model=label).inc()

    def refreshed(self, feed: Feed, result: str, dropped: Mapping[RowFault, int]) -> None:
        """Count a fetch of `feed`; `result` is `ok` or a fault, `dropped` counts rows by reason."""
        self.refreshes.labels(feed=feed.value, result=result).inc()
        for reason, number in dropped.items():
            self.rows_dropped.labels(feed=feed.value, reason=reason.value).inc(number)

    def sticky_lookup(self, result: StickyLookup) -> None:
        """Count a lookup in the shared sticky store."""
        self._sticky_lookups.labels(result=result.value).inc()

    def sticky_write(self, result: StickyWrite) -> None:
        """Count a change to the shared sticky store."""
        self._sticky_writes.labels(result=result.value).inc()

    def exposition(self) -> bytes:
        """The registry in Prometheus' text format."""
        return generate_latest(self._registry)
