"""The live run as its user starts it, as a process, against the simulator."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import copy

import pytest
from live_findings import BEGIN, END
from live_plan import OPENING, Face, Key, Step, Subjects, excerpt, later_steps, subjects_in
from live_sanitise import shares_a_part

from tests.e2e.harness import BEST, Simulator, simulator

from .manifest import entries, flaws

ROOT = Path(__file__).parents[2]
KEY = "cpk_fa4e0fa4e1fa4e2fa4e3.fa4e4fa4e5fa4e6.FakeFake0Fake1"
SECONDS = 120.0


def run(folder: Path, *options: str, key: str | None = KEY) -> "subprocess.CompletedProcess[str]":
    matrix = folder / "matrix.md"
    copy(ROOT / "research" / "COVERAGE_MATRIX.md", matrix)
    places = (f"--out={folder / 'out'}", f"--matrix={matrix}")
    command = (sys.executable, str(ROOT / "scripts" / "verify_live.py"), *places, *options)
    environment = {"PATH": os.environ["PATH"]} | ({} if key is None else {"CHUTES_API_KEY": key})
    return subprocess.run(  # noqa: S603 - our own script
        command,
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def against(upstream: Simulator, folder: Path) -> "subprocess.CompletedProcess[str]":
    return run(folder, f"--base-url={upstream.url}", f"--api-url={upstream.url}", "--pause=1")


def assert_no_key(folder: Path, done: "subprocess.CompletedProcess[str]") -> None:
    texts = [path.read_text() for path in folder.rglob("*") if path.is_file()]
    for text in [*texts, done.stdout, done.stderr]:
        assert not shares_a_part(text, KEY)


def journal(upstream: Simulator) -> list[str | None]:
    requests = upstream.call("GET", "/_simulator/requests").json["requests"]
    return [entry["outcome"] for entry in requests]


def test_a_run_keeps_an_answer_to_each_question_and_the_key_nowhere(tmp_path: Path) -> None:
    with simulator(tmp_path) as upstream:
        done = against(upstream, tmp_path)
        asked = journal(upstream)
        port = str(upstream.port)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    assert flaws(out) == []
    statuses = {entry["name"]: entry["status"] for entry in entries(out)}
    assert statuses == {
        "catalogue": 200,
        "utilization": 200,
        "evidence-nonce-missing": 422,
        "evidence-nonce-length": 400,
        "evidence-shape-valid": 200,
        "evidence-not-tee": 400,
        "chat-document": 200,
        "chat-stream": 200,
        "chat-wrong-key-401": 401,
        "chat-no-key-429": 429,
    }
    assert len(asked) == 4
    assert_no_key(tmp_path, done)
    everything = "".join(path.read_text() for path in out.iterdir())
    for secret in ("Say hello", "127.0.0.1", port, "Bearer", "chatcmpl"):
        assert secret not in everything
    headers = next(e["headers"] for e in entries(out) if e["name"] == "chat-stream")
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["x-chutes-invocationid"] == "[removed]"
    table = (tmp_path / "matrix.md").read_text().partition(BEGIN)[2].partition(END)[0]
    seen = re.findall(r"^\| (\S+) \|.*\| \d{4}-\d\d-\d\d \|$", table, re.MULTILINE)
    assert seen == sorted(statuses)


def test_the_first_429_ends_a_run_and_what_was_seen_is_kept(tmp_path: Path) -> None:
    with simulator(tmp_path) as upstream:
        upstream.set_fault(BEST, "capacity-429")
        done = against(upstream, tmp_path)
        asked = journal(upstream)
    assert done.returncode == 3, done.stderr
    assert "A 429 ended the run early" in done.stdout
    assert asked == ["refused"]
    assert flaws(tmp_path / "out") == []
    names = [entry["name"] for entry in entries(tmp_path / "out")]
    assert "chat-capacity-429" in names
    assert not {"chat-stream", "chat-document", "chat-wrong-key-401"} & set(names)
    assert_no_key(tmp_path, done)


def test_a_platform_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:1"
    done = run(tmp_path, f"--base-url={nobody}", f"--api-url={nobody}", "--pause=1")
    assert done.returncode == 4, done.stderr
    assert done.stdout.splitlines() == [
        "catalogue: no answer (connect)",
        "utilization: no answer (connect)",
        "Not everything was answered: the fixtures of the rest are as they were.",
    ]


@pytest.mark.parametrize("face", ["--base-url", "--api-url"])
def test_what_this_machine_answers_never_becomes_a_live_fixture(face: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, ROOT / "scripts" / "verify_live.py", f"{face}=http://127.0.0.1:1"],
        env={"PATH": os.environ["PATH"], "CHUTES_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "--out and --matrix" in done.stderr


def test_a_document_without_a_place_for_the_table_ends_a_run_before_it_asks(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("")
    done = run(tmp_path, f"--matrix={tmp_path / 'other.md'}", "--base-url=http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--matrix: " in done.stderr


def test_a_dry_run_needs_no_key_and_asks_nobody(tmp_path: Path) -> None:
    done = run(tmp_path, "--dry-run", key=None)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^(?:GET|POST) ", done.stdout, re.MULTILINE)) == 10
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", [None, "", "short", "a key with spaces in it", "k\u00e9y" * 20])
def test_without_a_usable_key_nothing_is_asked(tmp_path: Path, key: str | None) -> None:
    done = run(tmp_path, key=key)
    assert done.returncode == 2
    assert "CHUTES_API_KEY must hold a key" in done.stderr
    assert not key or key not in done.stderr


@pytest.mark.parametrize(
    "option",
    [
        "--base-url=http://llm.example.test",
        "--api-url=ftp://127.0.0.1",
        "--base-url=https://user@example.test",
        "--base-url=https://example.test?x=1",
        "--pause=0",
        "--pause=nan",
        "--key=x",
    ],
)
def test_an_option_that_would_do_harm_is_refused(tmp_path: Path, option: str) -> None:
    assert run(tmp_path, option).returncode == 2


def test_a_plan_is_short_and_what_the_platform_punishes_comes_last() -> None:
    steps = (*OPENING, *later_steps(Subjects(model="m", tee="t", other="o")))
    assert len(steps) <= 12
    assert len({step.name for step in steps}) == len(steps)
    chats = [step.key for step in steps if step.model is not None]
    assert chats == [Key.OURS, Key.OURS, Key.WRONG, Key.NONE]
    assert steps[-1].key is Key.NONE


def test_only_the_two_chats_of_the_run_are_sent_with_the_key() -> None:
    steps = (*OPENING, *later_steps(Subjects(model="m", tee="t", other="o")))
    assert [step.name for step in steps if step.key is Key.OURS] == [
        "chat, one document",
        "chat, streamed",
    ]


def test_the_subjects_are_the_best_ranked_of_their_kind() -> None:
    bodies = [(ROOT / "testdata" / f"{n}.json").read_bytes() for n in ("models", "utilization")]
    chute_ids = {row["name"]: row["chute_id"] for row in json.loads(bodies[1])}
    assert subjects_in(bodies[0], bodies[1], None) == Subjects(
        model="sim/Alpha-70B-TEE",
        tee=chute_ids["sim/Alpha-70B-TEE"],
        other=chute_ids["sim/Gamma-32B"],
    )
    assert subjects_in(bodies[0], bodies[1], "org/mine").model == "org/mine"


def test_where_every_model_has_tee_another_chute_of_the_feed_serves_as_one_without() -> None:
    models = [{"id": "org/One-TEE", "confidential_compute": True}]
    feed = [
        {"name": "[private chute]", "chute_id": "private", "active_instance_count": 1},
        {"name": "images", "chute_id": "images", "active_instance_count": 1},
        {"name": "org/One-TEE", "chute_id": "one", "active_instance_count": 1},
    ]
    subjects = subjects_in(json.dumps({"data": models}).encode(), json.dumps(feed).encode(), None)
    assert subjects == Subjects(model="org/One-TEE", tee="one", other="images")


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b'{"data":[1]}', b"[1]"])
def test_feeds_that_are_none_leave_nobody_to_ask(body: bytes) -> None:
    assert subjects_in(body, body, None) == Subjects()
    assert later_steps(Subjects()) == ()


def test_an_excerpt_holds_the_first_models_their_rows_and_a_few_private_ones() -> None:
    models = [{"id": f"org/{n}"} for n in range(30)]
    catalogue = json.dumps({"object": "list", "data": models}).encode()
    rows = [
        {"name": name} for name in ["[private chute]"] * 30 + ["owner/thing", "org/3", "org/20"]
    ]
    feed = json.dumps(rows).encode()
    assert json.loads(excerpt("catalogue", catalogue, catalogue)) == {
        "object": "list",
        "data": models[:12],
    }
    assert json.loads(excerpt("utilization", feed, catalogue)) == [
        {"name": "org/3"},
        *[{"name": "[private chute]"}] * 6,
    ]


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"data":1}', b"[1]"])
@pytest.mark.parametrize("name", ["catalogue", "utilization", "chat, streamed"])
def test_of_what_is_no_feed_there_is_no_excerpt(name: str, body: bytes) -> None:
    assert excerpt(name, body, body) == body


def test_a_chat_asks_as_little_as_it_can() -> None:
    step = Step(name="chat", face=Face.LLM, path="/x", model="m", stream=True)
    assert json.loads(step.body() or b"") == {
        "model": "m",
        "stream": True,
        "max_tokens": 8,
        "messages": [{"role": "user", "content": "Say hello."}],
    }
