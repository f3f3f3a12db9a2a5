"""Several processes that are one service: whichever is asked, the metrics are those of all.

`Service` runs real processes (`counting_process.py`) that count into one directory, each in its slot,
kills them, and asks them for what they expose.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from autopilot import __version__
from autopilot.exposition import DIRECTORY, SLOT, Processes, Shared, process_gone
from autopilot.labels import MAX_MODEL_LABELS, OTHER
from tests.test_metrics import DOCUMENTED, SILENT_RETRIES, full_name

PROGRAM = Path(__file__).with_name("counting_process.py")

IN_PROGRESS = "autopilot_requests_in_progress"
REQUESTS = "autopilot_requests_total"
DURATION = "autopilot_request_duration_seconds"
RESTING = "autopilot_resting_models"
ONE_KIND = {"mode": "alias", "status": "200"}

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its numbers")


class Counting:
    """A process that counts. Without a directory it counts by itself."""

    def __init__(self, directory: Path | None = None, slot: str = "") -> None:
        self.slot = slot
        shared = {} if directory is None else {DIRECTORY: str(directory), SLOT: slot}
        # Without -P the folder of the program comes first, and tests/selectors hides the library's.
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | shared,
        )

    def do(self, name: str, *arguments: Any, **named: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([name, arguments, named]), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def families(self) -> dict[str, Metric]:
        text = self.do("exposed")
        found = list(text_string_to_metric_families(text))
        families = {full_name(family): family for family in found}
        assert len(families) == len(found)
        return families

    def value(self, name: str, **labels: str) -> float | None:
        samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families().values()
            for sample in family.samples
        }
        return samples.get((name, frozenset(labels.items())))

    def kill(self) -> None:
        with self.process:
            self.process.kill()


class Service:
    """Processes that count into one directory. A context manager: none is left at its end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.running: list[Counting] = []

    def start(self, slot: str) -> Counting:
        self.running.append(Counting(self.directory, slot))
        return self.running[-1]

    def lose(self, process: Counting) -> None:
        """Have it die and the parent notice."""
        self.running.remove(process)
        process.kill()
        assert process.process.returncode == -signal.SIGKILL
        process_gone(self.directory, process.slot)

    def files(self) -> set[str]:
        return {path.name for path in self.directory.iterdir()}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    for each in service.running:
        each.kill()


@contextmanager
def alone() -> Iterator[Counting]:
    process = Counting()
    yield process
    process.kill()


def shape(families: dict[str, Metric]) -> dict[str, tuple[str, str, set[frozenset[Any]]]]:
    """Type, help and series of each family."""
    return {
        name: (
            family.type,
            family.documentation,
            {frozenset({"": s.name, **s.labels}.items()) for s in family.samples},
        )
        for name, family in families.items()
    }


def test_several_processes_expose_just_what_one_does(service: Service) -> None:
    one, other = service.start("worker-0"), service.start("worker-1")
    with alone() as single:
        for process in (one, other, single):
            process.do("everything")
            process.do("touch")
        assert shape(one.families()) == shape(single.families())
    assert set(one.families()) == {*DOCUMENTED, SILENT_RETRIES, RESTING}


def test_no_series_tells_the_process_that_counted(service: Service) -> None:
    process = service.start("worker-0")
    process.do("everything")
    process.do("touch")
    labels = {label for f in process.families().values() for s in f.samples for label in s.labels}
    assert labels == {"le"}.union(*(of for _, of in DOCUMENTED.values()))


def test_each_process_exposes_the_sums_of_all(service: Service) -> None:
    one, other, idle = (service.start(f"worker-{n}") for n in range(3))
    one.do("finished", 0.2, 0.2, 599)
    other.do("finished", 0.2)
    one.do("began", 2)
    other.do("began", 3)
    for asked in (one, other, idle):
        assert asked.value(REQUESTS, **ONE_KIND) == 4
        assert asked.value(IN_PROGRESS) == 5
        assert asked.value(f"{DURATION}_bucket", mode="alias", le="0.25") == 3
        assert asked.value(f"{DURATION}_bucket", mode="alias", le="600.0") == 4
        assert asked.value(f"{DURATION}_bucket", mode="alias", le="+Inf") == 4
        assert asked.value(f"{DURATION}_count", mode="alias") == 4
        assert asked.value(f"{DURATION}_sum", mode="alias") == pytest.approx(599.6)


def test_what_a_process_that_died_was_doing_is_gone_and_what_it_counted_is_not(
    service: Service,
) -> None:
    one, other = service.start("worker-0"), service.start("worker-1")
    one.do("finished", 1.0)
    one.do("began", 2)
    one.do("sticky_unavailable", value=True)
    other.do("began", 3)
    assert other.value(IN_PROGRESS) == 5
    service.lose(one)
    assert other.value(IN_PROGRESS) == 3
    assert other.value("autopilot_sticky_store_unavailable") == 0
    assert other.value(REQUESTS, **ONE_KIND) == 1
    assert other.value(f"{DURATION}_count", mode="alias") == 1


def test_the_successor_goes_on_from_the_numbers_of_its_predecessor(service: Service) -> None:
    one, other = service.start("worker-0"), service.start("worker-1")
    one.do("finished", 1.0, 1.0)
    one.do("began", 2)
    service.lose(one)
    successor = service.start("worker-0")
    successor.do("finished", 1.0)
    successor.do("began", 1)
    for asked in (successor, other):
        assert asked.value(REQUESTS, **ONE_KIND) == 3
        assert asked.value(f"{DURATION}_sum", mode="alias") == 3
        assert asked.value(IN_PROGRESS) == 1


def test_however_often_a_process_dies_there_are_no_more_files(service: Service) -> None:
    watcher = service.start("worker-0")
    watcher.do("began", 0)
    first = service.start("worker-1")
    first.do("finished", 1.0)
    first.do("began", 1)
    before = service.files()
    service.lose(first)
    for _ in range(5):
        process = service.start("worker-1")
        process.do("finished", 1.0)
        process.do("began", 1)
        service.lose(process)
    assert service.files() < before
    assert watcher.value(REQUESTS, **ONE_KIND) == 6
    assert watcher.value(IN_PROGRESS) == 0


def test_model_labels_are_bounded_over_the_lives_of_a_slot(service: Service) -> None:
    first = service.start("worker-0")
    first.do("selected", 0, MAX_MODEL_LABELS - 1)
    service.lose(first)
    second = service.start("worker-0")
    second.do("selected", 500, MAX_MODEL_LABELS)
    family = second.families()["autopilot_selections_total"]
    models = {sample.labels["model"]: sample.value for sample in family.samples}
    assert len(models) == MAX_MODEL_LABELS + 1
    assert models["org/0"] == 1
    assert models["org/500"] == 2
    assert models[f"org/{MAX_MODEL_LABELS - 1}"] == 1
    assert models[OTHER] == 500


def test_what_is_read_at_the_scrape_is_that_of_the_process_that_answers(service: Service) -> None:
    one, other = service.start("worker-0"), service.start("worker-1")
    one.do("everything", catalog=1)
    other.do("everything", catalog=3)
    assert one.value("autopilot_catalog_models") == 1
    assert other.value("autopilot_catalog_models") == 3
    for asked in (one, other):
        assert asked.value("autopilot_catalog_age_seconds") == 5
        assert asked.value("autopilot_resting_models") == 2
        assert asked.value("autopilot_not_ready", reason="draining") == 1


def test_limits_are_those_of_the_whole_service_and_do_not_add_up(service: Service) -> None:
    one, other = service.start("worker-0"), service.start("worker-1")
    one.do("everything")
    other.do("everything")
    other.do("sticky_unavailable", value=True)
    assert one.value("autopilot_requests_limit") == 7
    assert one.value("autopilot_catalog_age_limit_seconds") == 600
    assert one.value("autopilot_feed_age_limit_seconds") == 20
    assert one.value("autopilot_build_info", version=__version__) == 1
    assert one.value("autopilot_sticky_store_unavailable") == 1


def test_a_file_that_is_only_just_being_made_spoils_no_scrape(service: Service) -> None:
    process = service.start("worker-0")
    process.do("finished", 1.0)
    (service.directory / "counter_worker-1.db").touch()
    (service.directory / "gauge_livesum_worker-1.db").symlink_to("removed")
    assert process.value(REQUESTS, **ONE_KIND) == 1


@pytest.mark.parametrize("environ", [{}, {SLOT: "worker-0"}, {DIRECTORY: "/d"}, {DIRECTORY: ""}])
def test_without_a_directory_and_a_slot_a_process_counts_by_itself(environ: dict[str, str]) -> None:
    assert Shared.from_environment(environ) is None


def numbers(pids: Callable[[], list[int]]) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(Processes(pids))
    return {
        sample.name.removeprefix("process_"): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


@linux
def test_processes_are_shown_as_one_and_one_that_has_gone_is_left_out(service: Service) -> None:
    one, other = service.start("worker-0"), service.start("worker-1")
    gone = service.start("worker-2")
    pids = [each.process.pid for each in (one, other, gone)]
    for each in (one, other):
        each.do("exposed")
    service.lose(gone)
    whole = numbers(lambda: pids)
    single = [numbers(lambda pid=pid: [pid]) for pid in pids[:2]]  # type: ignore[misc]
    assert set(whole) == set(single[0]) == set(single[1])
    assert numbers(lambda: pids[2:]) == {}
    for name, value in whole.items():
        both = [each[name] for each in single]
        assert value == pytest.approx(min(both) if name == "start_time_seconds" else sum(both))
    assert whole["resident_memory_bytes"] > 0


@linux
def test_processor_time_does_not_fall_when_a_process_dies(service: Service) -> None:
    process = service.start("worker-0")
    process.do("exposed")
    pids = [os.getpid(), process.process.pid]
    before = numbers(lambda: pids)["cpu_seconds_total"]
    alone = numbers(lambda: pids[1:])["cpu_seconds_total"]
    service.lose(process)
    after = numbers(lambda: pids)["cpu_seconds_total"]
    assert alone > 0
    # The same parts in another order may add up to a last bit less.
    assert after >= before - 1e-6
