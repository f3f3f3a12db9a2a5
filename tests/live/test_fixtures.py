"""The fixtures agree with their manifest, the manifest with the table, and both with the captures."""

import json
import os
from pathlib import Path

import pytest
from live_findings import BEGIN, END, NoMarkersError, fixture_name, table, update
from live_plan import Face, Key, Step
from live_store import Fixture, LeakError, Store, load

from .manifest import entries, flaws

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "testdata" / "chutes_live"
MATRIX = ROOT / "research" / "COVERAGE_MATRIX.md"
KEY = "cpk_fake0000.fake1111.fake2222"


def fixture(name: str = "one", body: bytes = b"{}", date: str | None = "2026-01-02") -> Fixture:
    return Fixture(
        name=name,
        request={"method": "GET", "path": "/x", "key": "no"},
        status=200,
        headers={"content-type": "application/json"},
        body=body,
        captured_at=date,
    )


def test_manifest_and_files_agree_both_ways() -> None:
    assert flaws(FOLDER) == []
    assert len(entries(FOLDER)) > 30


def test_each_way_not_to_agree_is_seen(tmp_path: Path) -> None:
    store = Store(tmp_path, KEY)
    for name in ("five", "four", "one", "three", "two"):
        store.put(fixture(name, date=None))
    assert flaws(tmp_path) == []
    (tmp_path / "more.json").write_text("{}")
    (tmp_path / "one.json").write_text("[]")
    (tmp_path / "two.json").unlink()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["fixtures"][0]["key"] = "more"
    manifest["fixtures"][1]["representative"] = False
    manifest["fixtures"].append(manifest["fixtures"][3])
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert flaws(tmp_path) == [
        "a name occurs twice",
        "five: other fields",
        "four: neither representative nor captured",
        "more.json: not in the manifest",
        "one: another sha256",
        "two: no file",
    ]


def test_the_table_of_the_matrix_is_that_of_the_manifest() -> None:
    text = MATRIX.read_text()
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == table(load(FOLDER).values())


def test_the_name_of_each_fixture_is_the_one_that_a_live_run_would_give_it() -> None:
    for each in load(FOLDER).values():
        request = each.request
        key = Key(request["key"])
        chat = request["path"] == "/v1/chat/completions"
        step = Step(
            name=each.name,
            face=Face(request["host"]),
            path=request["path"],
            key=key,
            model="m" if chat else None,
            stream=request.get("stream", False),
            chute="c" if "{id}" in request["path"] else None,
        )
        assert fixture_name(step, each.status, each.body) == each.name


@pytest.mark.parametrize(
    ("capture", "name"),
    [
        ("chat_completions_invalid_token_2026-02-18.json", "chat-wrong-key-401"),
        ("chat_completions_no_auth_429_2026-02-18.html", "chat-no-key-429"),
        ("evidence_missing_nonce_2026-02-18.json", "evidence-nonce-missing"),
        ("evidence_short_nonce_2026-02-18.json", "evidence-nonce-length"),
        ("evidence_tee_version_error_2026-02-18.json", "evidence-version-too-old"),
    ],
)
def test_a_refusal_that_was_captured_is_the_fixture(capture: str, name: str) -> None:
    folder = os.environ.get("AUTOPILOT_CAPTURES")
    if not folder or not (Path(folder) / capture).is_file():
        pytest.skip(f"AUTOPILOT_CAPTURES does not name a folder with {capture}")
    if load(FOLDER)[name].captured_at is not None:
        pytest.skip(f"{name} is of a live run and may have changed since")
    assert load(FOLDER)[name].body.strip() == (Path(folder) / capture).read_bytes().strip()


def test_a_fixture_takes_the_place_of_the_one_of_its_name(tmp_path: Path) -> None:
    store = Store(tmp_path, KEY)
    store.put(fixture(date=None))
    store.put(fixture("two"))
    store.put(fixture(body=b"[]"))
    assert flaws(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {
        "manifest.json",
        "one_2026-01-02.json",
        "two_2026-01-02.json",
    }
    assert load(tmp_path) == store.fixtures == Store(tmp_path, KEY).fixtures


@pytest.mark.parametrize("part", [KEY, KEY[3:11], KEY[-8:], KEY.upper(), "cpk%5Ffak%650000"])
@pytest.mark.parametrize("where", ["body", "name", "header", "request"])
def test_nothing_is_written_in_which_a_part_of_the_key_occurs(
    tmp_path: Path, part: str, where: str
) -> None:
    store = Store(tmp_path, KEY)
    store.put(fixture("before"))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    leaking = Fixture(
        name=f"x{part}" if where == "name" else "x",
        request={"path": part if where == "request" else "/"},
        status=200,
        headers={"server": part if where == "header" else ""},
        body=f"<{part}>".encode() if where == "body" else b"",
    )
    with pytest.raises(LeakError) as caught:
        store.put(leaking)
    assert part not in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_document_without_markers_is_left_as_it_is(tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text(f"{END} {BEGIN}")
    with pytest.raises(NoMarkersError):
        update(document, [fixture()])
    assert document.read_text() == f"{END} {BEGIN}"
