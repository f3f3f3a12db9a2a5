"""What a simulation is shown as: differences with signs, noise in brackets, parts between markers."""

import json
from pathlib import Path
from typing import Any

import pytest
import simulate
from simulate_page import BEGIN, END, between, difference, feed_words, value, written
from simulate_plots import PLOTS, draw

from autopilot.simulator.fleet.figures import FIGURES
from autopilot.simulator.fleet.grid import Results, Spread


def run(strategy: str, seed: int, figures: float, *, routers: int = 8) -> dict[str, Any]:
    return {
        "experiment": {
            "strategy": strategy,
            "feed": 60.0,
            "load": 0.7,
            "seed": seed,
            "routers": routers,
            "arrivals": "poisson",
        },
        "figures": dict.fromkeys(FIGURES, figures),
    }


def raw(*runs: dict[str, Any]) -> dict[str, Any]:
    return {
        "meta": {
            "strategies": ["balanced", "oracle"],
            "feeds": [60.0],
            "loads": [0.7],
            "routers": [8],
            "arrivals": "poisson",
            "sweep_load": 0.7,
            "seeds": 2,
            "seed": 1,
            "seconds": 600.0,
            "start": "testdata",
        },
        "runs": list(runs),
    }


RAW = raw(
    run("balanced", 1, 3.0),
    run("balanced", 2, 4.0),
    run("oracle", 1, 1.0),
    run("oracle", 2, 1.5),
    run("balanced", 1, 7.0, routers=64),
    run("balanced", 2, 7.0, routers=64),
)


def test_the_page_has_figures_differences_and_sweeps() -> None:
    text = written(Results(RAW), [("a.png", "A picture")])
    assert "![A picture](a.png)" in text
    assert "| 0.7 | 60 s | 3.50 (3.00..4.00) | 1.25 (1.00..1.50) |" in text
    assert "| 0.7 | 60 s | +2.25 |" in text
    assert "**64 routers, poisson clients, load 0.7, a feed every 60 s**" in text
    assert "| `balanced` | 7.00 | 7.00 |" in text


def test_a_difference_that_is_noise_is_in_brackets() -> None:
    assert difference(Spread(values=(-1.0, 0.5))) == "(-0.25)"
    assert difference(Spread(values=(-1.0, -0.5))) == "-0.75"


@pytest.mark.parametrize(
    ("number", "text"), [(0.123, "0.12"), (12.34, "12.3"), (1234.5, "1,234"), (0.0, "0.00")]
)
def test_numbers_have_the_digits_that_say_something(number: float, text: str) -> None:
    assert value(Spread(values=(number,))) == text


def test_the_age_of_a_feed_is_in_words() -> None:
    assert [feed_words(seconds) for seconds in (5.0, 60.0, 1800.0)] == ["5 s", "60 s", "30 min"]


def test_only_what_is_between_the_markers_is_written() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert between(page, "new") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    with pytest.raises(ValueError, match=r"no .* with its end"):
        between("nothing", "new")


def test_the_same_figures_are_the_same_picture(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        draw(Results(RAW), tmp_path / folder)
    for plot in PLOTS:
        pictures = [(tmp_path / folder / plot.file).read_bytes() for folder in ("one", "other")]
        assert pictures[0] == pictures[1]


def test_a_quick_run_is_kept_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUTOPILOT_CAPTURES", raising=False)
    kept = tmp_path / "raw.json"
    arguments = "--strategies random --feeds 60 --loads 0.3 --seeds 1 --seconds 60 --json"
    assert simulate.main([*arguments.split(), str(kept)]) == 0
    assert len(json.loads(kept.read_text())["runs"]) == 1
    assert "| `random` |" in capsys.readouterr().out
