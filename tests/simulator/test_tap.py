"""The command line: what it comes to, and what it refuses."""

import json
import os
from pathlib import Path

import pytest
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.python.usage import UsageError

from autopilot.simulator.answers import Pace
from autopilot.simulator.config import SimulatorConfig
from autopilot.simulator.service import Simulator
from autopilot.simulator.tap import Options, makeService

from .harness import Bench


def config(*words: str) -> SimulatorConfig:
    options = Options()
    options.parseOptions(list(words))
    return options.config


def test_without_words_it_serves_its_own_models_on_the_usual_port() -> None:
    assert config() == SimulatorConfig(host="127.0.0.1", port=9090)


def test_every_word_reaches_the_config() -> None:
    words = (
        "--listen=[::1]:0 --chunks=3 --chunk-delay-ms=5 --first-chunk-delay-ms=0 "
        "--feed-interval-ms=250 --slots=4 --restamp"
    )
    assert config(*words.split()) == SimulatorConfig(
        host="::1",
        port=0,
        restamp=True,
        slots=4,
        feed_interval=0.25,
        pace=Pace(chunks=3, chunk_delay=0.005, first_chunk_delay=0.0),
    )


def test_files_are_read_in_the_platforms_shapes(tmp_path: Path) -> None:
    models, utilization = tmp_path / "models.json", tmp_path / "utilization.json"
    models.write_text('{"object":"list","data":[{"id":"one"}]}')
    utilization.write_text('[{"name":"one"}]')
    read = config("--models", str(models), "--utilization", str(utilization))
    assert read.models == ({"id": "one"},)
    assert read.utilization == ({"name": "one"},)


@pytest.mark.parametrize(
    "words",
    [
        "--listen=9090",
        "--listen=:9090",
        "--listen=localhost:",
        "--listen=localhost:http",
        "--listen=localhost:65536",
        "--chunks=0",
        "--chunks=many",
        "--chunk-delay-ms=-1",
        "--feed-interval-ms=0",
        "--slots=0",
        "--models=/nowhere/at/all",
        "--unheard-of",
    ],
)
def test_a_word_that_makes_no_sense_is_a_usage_error(words: str) -> None:
    with pytest.raises(UsageError):
        config(*words.split())


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"data":[{}]}', '{"data":[{"id":1}]}'])
def test_a_file_of_another_shape_is_a_usage_error(tmp_path: Path, content: str) -> None:
    models = tmp_path / "models.json"
    models.write_text(content)
    with pytest.raises(UsageError, match=r"models\.json"):
        config("--models", str(models))


def test_an_object_is_no_feed(tmp_path: Path) -> None:
    feed = tmp_path / "feed.json"
    feed.write_text("{}")
    with pytest.raises(UsageError, match="list of objects"):
        config("--utilization", str(feed))


def test_the_service_is_built_without_being_started() -> None:
    options = Options()
    options.parseOptions([])
    service = makeService(options)
    assert isinstance(service, Simulator)
    assert not service.running
    with pytest.raises(RuntimeError):
        _ = service.port


def test_twistd_knows_the_plugin() -> None:
    (plugin,) = (p for p in getPlugins(IServiceMaker) if p.tapname == "autopilot-simulator")
    assert plugin.options is Options


def captured(name: str) -> Path:
    folder = os.environ.get("AUTOPILOT_CAPTURES")
    if not folder:
        pytest.skip("AUTOPILOT_CAPTURES does not name a folder with captures of the platform")
    return Path(folder) / name


def test_the_captures_are_served_row_by_row() -> None:
    models = captured("models_2026-02-18.json")
    utilization = captured("utilization_2026-02-18.json")
    bench = Bench(config("--models", str(models), "--utilization", str(utilization)))
    assert bench.call("GET", "/v1/models").json == json.loads(models.read_bytes())
    assert bench.feed() == json.loads(utilization.read_bytes())
    assert bench.complete("Qwen/Qwen3-32B").body.endswith(b"data: [DONE]\n\n")
