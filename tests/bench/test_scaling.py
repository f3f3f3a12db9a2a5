"""The sums of SCALING.md are those of the committed run, and follow from its figures."""

import json
from pathlib import Path

from results import Results
from scaling import BEGIN, END, sums

from tests.bench.account import raw

RESEARCH = Path(__file__).parents[2] / "research"


def row(text: str, name: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return line.split("|")[2].strip()


def test_the_sums_follow_from_the_figures_of_a_run() -> None:
    told = sums(Results(raw()))
    # 42 us a chunk, 400 us a request, 48.8 KiB a stream; see `tests.bench.account`.
    assert row(told, "processor time of a chunk") == "42.0 us"
    assert row(told, "streams") == "333"
    assert row(told, "JSON requests a second") == "1,750"
    # 50 million chunks of 42 us and 50,000 requests of 400 us, on cores that are 70 % full.
    assert row(told, "cores") == "3,029"
    assert row(told, "machines of 16 cores") == "190"
    assert row(told, "feed, gzipped") == "8.43 Mbit/s"


def test_what_was_not_measured_is_a_dash() -> None:
    told = sums(Results(raw()))
    assert row(told, "a chunk with two workers") == "- x"
    assert row(told, "cores of a balancer that reads HTTP") == "-"


def test_the_document_has_those_of_the_committed_run() -> None:
    account = json.loads((RESEARCH / "benchmarks" / "raw.json").read_text(encoding="utf-8"))
    document = (RESEARCH / "SCALING.md").read_text(encoding="utf-8")
    assert f"{BEGIN}\n{sums(Results(account))}\n{END}" in document
