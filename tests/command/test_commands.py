"""The commands as a person runs them: what they say, where, and with which exit status."""

import json
import os
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import entry_points
from io import BytesIO, TextIOWrapper
from pathlib import Path
from subprocess import PIPE, run
from threading import Thread
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from autopilot.command.main import main
from tests.certificates import Authority
from tests.e2e.harness import ALIAS, BEST, HOST, SECOND, Router, Simulator, chat, router, simulator

ROOT = Path(__file__).parents[2]
FILES = (
    f"--models={ROOT / 'testdata' / 'models.json'}",
    f"--utilization={ROOT / 'testdata' / 'utilization.json'}",
)
COMMAND = "from autopilot.command.main import main; main()"
"""What the console script does; its own process, where there is something to be connected to."""

TOKEN = "a-token-that-is-marked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert (self.status, self.err) == (0, "")
        return json.loads(self.out)


def autopilot(*words: str, body: bytes = b"", settings: Mapping[str, str] | None = None) -> Said:
    done = run(  # noqa: S603 - our own command, with words from this module
        [sys.executable, "-c", COMMAND, *words],
        input=body,
        capture_output=True,
        timeout=60.0,
        check=False,
        cwd=ROOT,
        env=dict(settings or {}),
    )
    assert b"Traceback" not in done.stderr, done.stderr
    return Said(status=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())


def at_once(run_: Any, arguments: Sequence[Any]) -> None:
    """A `react` for what waits for nobody: it has no reactor to give."""
    ended = Deferred.fromCoroutine(run_(None, *arguments))
    failures: list[Failure] = []
    ended.addErrback(failures.append)
    failures[0].raiseException()


class Inside:
    """The command in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(
        self, *words: str, body: bytes = b"", settings: Mapping[str, str] | None = None
    ) -> Said:
        with self._monkeypatch.context() as patched:
            patched.chdir(ROOT)
            patched.setattr(os, "environ", dict(settings or {}))
            patched.setattr(sys, "stdin", TextIOWrapper(BytesIO(body)))
            with pytest.raises(SystemExit) as ended:
                main(words, react=at_once)
        out, err = self._capsys.readouterr()
        return Said(status=cast("int", ended.value.code), out=out, err=err)


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Inside:
    return Inside(monkeypatch, capsys)


def of(upstream: Simulator, **more: str) -> dict[str, str]:
    return {
        "BACKEND_BASE_URL": upstream.url,
        "MODELS_URL": f"{upstream.url}/v1/models",
        "UTILIZATION_URL": f"{upstream.url}/chutes/utilization",
        **more,
    }


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with simulator(tmp_path_factory.mktemp("simulator")) as started:
        yield started


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, upstream: Simulator) -> Iterator[Router]:
    with router(tmp_path_factory.mktemp("router"), upstream, ADMIN_TOKEN=TOKEN) as started:
        yield started


def models(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [row["model"] for row in rows]


def test_rank_from_files_gives_the_order_as_a_table_or_as_json(inside: Inside) -> None:
    told = inside("rank", "--json", *FILES).json
    assert models(told["candidates"])[:2] == [BEST, SECOND]
    assert (told["selector"], told["worker"], told["ready"]) == ("capacity", None, True)
    table = inside("rank", *FILES).out.splitlines()
    assert table[2].split()[:2] == ["rank", "model"]
    assert table[3].split()[:2] == ["1", BEST]


def test_rank_orders_by_the_selector_that_is_named_or_set(inside: Inside) -> None:
    named = inside("rank", "--json", "--selector=cost", *FILES).json
    default = inside("rank", "--json", *FILES, settings={"SELECTOR": "cost"}).json
    assert named["selector"] == default["selector"] == "cost"
    assert models(named["candidates"]) == models(default["candidates"])
    unknown = inside("rank", "--selector=fastest", *FILES)
    assert (unknown.status, unknown.out) == (1, "")
    assert "There is no such selector" in unknown.err


def test_explain_reads_a_body_from_a_file_or_from_standard_input(
    inside: Inside, tmp_path: Path
) -> None:
    path = tmp_path / "body.json"
    path.write_bytes(chat(ALIAS))
    from_file = inside("explain", "--json", *FILES, str(path)).json
    piped = inside("explain", "--json", *FILES, "-", body=chat(ALIAS)).json
    assert from_file["candidates"] == piped["candidates"]
    assert from_file["candidates"][0] == BEST
    text = inside("explain", *FILES, str(path)).out
    assert f"asked   1. {BEST}" in text


def test_a_refusal_is_explained_like_anything_else(inside: Inside) -> None:
    told = inside("explain", "--json", *FILES, "-", body=b"{").json
    assert told["refusal"]["code"] == "invalid_json"
    assert "refusal  400 invalid_json" in inside("explain", *FILES, "-", body=b"{").out


def test_without_a_source_both_feeds_are_fetched(upstream: Simulator) -> None:
    told = autopilot("rank", "--json", settings=of(upstream)).json
    assert models(told["candidates"])[:2] == [BEST, SECOND]


def test_a_router_is_asked_with_the_token_of_the_environment(service: Router) -> None:
    token = {"ADMIN_TOKEN": TOKEN}
    told = autopilot("rank", "--json", f"--url={service.url}", settings=token).json
    assert (told["worker"], models(told["candidates"])[0]) == (0, BEST)
    ordered = autopilot(
        "rank", "--json", "--selector=cost", f"--url={service.url}/", settings=token
    ).json
    assert ordered["selector"] == "cost"


def test_a_router_explains_for_the_key_of_the_environment(
    service: Router,
) -> None:
    service.post(chat(f"{SECOND},{BEST}"), token="marked-key")
    settings = {"ADMIN_TOKEN": TOKEN, "CHUTES_API_KEY": "marked-key"}
    words = ("explain", "--json", f"--url={service.url}", "-")
    told = autopilot(*words, "--with-key", body=chat(ALIAS), settings=settings).json
    assert told["sticky"]["model"] == SECOND
    told = autopilot(*words, body=chat(ALIAS), settings=settings).json
    assert told["sticky"]["model"] is None
    unset = autopilot(*words, "--with-key", body=chat(ALIAS), settings={"ADMIN_TOKEN": TOKEN})
    assert (unset.status, "CHUTES_API_KEY is not set" in unset.err) == (1, True)


def test_a_router_that_does_not_explain_itself_is_said_to_be_one(
    tmp_path: Path, service: Router, upstream: Simulator
) -> None:
    with router(tmp_path, upstream) as closed:
        for url, settings, words in [
            (service.url, {}, "wants its ADMIN_TOKEN"),
            (
                service.url,
                {"ADMIN_TOKEN": "another-token-of-mine"},
                "does not take this ADMIN_TOKEN",
            ),
            (closed.url, {"ADMIN_TOKEN": TOKEN}, "does not explain itself"),
            (f"http://{HOST}:1", {}, "does not answer: connect"),
        ]:
            said = autopilot("rank", f"--url={url}", settings=settings)
            assert (said.status, said.out) == (1, "")
            assert words in said.err
            assert TOKEN not in said.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "required: COMMAND"),
        (["sort"], "invalid choice: 'sort'"),
        (["rank", FILES[0]], "--models and --utilization go together"),
        (["rank", *FILES, "--url=http://h"], "another source"),
        (["rank", "--url=ftp://h"], "an http:// or https:// URL"),
        (["explain"], "required: body"),
        (["explain", "-", *FILES, "--with-key"], "needs --url"),
        (["explain", "-", *FILES, "--header=nothing"], "NAME:VALUE"),
    ],
)
def test_what_is_not_understood_is_a_matter_of_usage(
    inside: Inside, words: list[str], complaint: str
) -> None:
    said = inside(*words)
    assert (said.status, said.out) == (2, "")
    assert complaint in said.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["rank", "--models=nowhere.json", FILES[1]], "nowhere.json cannot be read"),
        (["rank", "--models=Makefile", FILES[1]], "Makefile is no catalogue: bad_json"),
        (["rank", FILES[0], "--utilization=Makefile"], "Makefile is no feed: bad_json"),
        (["explain", *FILES, "nowhere.json"], "nowhere.json cannot be read"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(
    inside: Inside, words: list[str], complaint: str
) -> None:
    said = inside(*words)
    assert (said.status, said.out) == (1, "")
    assert complaint in said.err


def test_bad_settings_are_all_said(inside: Inside) -> None:
    said = inside("rank", *FILES, settings={"MAX_ATTEMPTS": "0", "SELECTOR": "none"})
    assert said.status == 1
    assert "MAX_ATTEMPTS='0'" in said.err
    assert "SELECTOR='none'" in said.err


def seen(checks: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    return {check["name"]: check["ok"] for check in checks}


def test_check_is_content_where_all_is_well(upstream: Simulator) -> None:
    told = autopilot("check", "--json", settings=of(upstream)).json
    assert told["ok"]
    assert seen(told["checks"]) == dict.fromkeys(
        [
            *["settings", "selector", "BACKEND_BASE_URL", "MODELS_URL", "UTILIZATION_URL"],
            *["catalogue", "feed", "candidates"],
        ],
        True,
    )
    text = autopilot("check", settings=of(upstream)).out
    assert [line.split()[0] for line in text.splitlines()] == ["ok"] * 8


def complaints(said: Said) -> Any:
    assert said.status == 1
    told = json.loads(said.out)
    assert not told["ok"]
    for check in told["checks"]:
        assert check["ok"] or check["advice"]
    return told["checks"]


def test_check_says_what_is_not_well_and_goes_on(upstream: Simulator) -> None:
    checks = complaints(
        autopilot(
            "check",
            "--json",
            settings=of(
                upstream,
                BACKEND_BASE_URL=f"http://{HOST}:1",
                MODELS_URL=f"{upstream.url}/chutes/utilization",
                STICKY_URL=f"redis://:marked-password@{HOST}:1",
                STICKY_SECRET="marked-secret-of-the-store",
            ),
        )
    )
    assert seen(checks) == {
        "settings": True,
        "selector": True,
        "BACKEND_BASE_URL": False,
        "MODELS_URL": True,
        "UTILIZATION_URL": True,
        "catalogue": False,
        "feed": True,
        "STICKY_URL": False,
    }
    text = {check["name"]: check["seen"] for check in checks}
    assert "connect_failed" in text["BACKEND_BASE_URL"]
    assert text["catalogue"] == "wrong_shape"
    assert "marked" not in json.dumps(checks)


def test_the_operators_rules_hold_here_too(inside: Inside, upstream: Simulator) -> None:
    nobody = {"DENY_MODELS": "*"}
    told = inside("rank", "--json", *FILES, settings=nobody).json
    assert (told["candidates"], told["not_ready"]) == ([], "no_candidates")
    checks = complaints(autopilot("check", "--json", settings=of(upstream, **nobody)))
    (failed,) = [check for check in checks if not check["ok"]]
    assert failed["seen"].startswith("0 models can be chosen, ")
    assert "DENY_MODELS" in failed["advice"]


def test_check_lists_every_fault_of_the_settings_and_stops_there(inside: Inside) -> None:
    bad = {"MAX_ATTEMPTS": "0", "LOG_LEVEL": "loud", "SELECTOR": "none"}
    checks = complaints(inside("check", "--json", settings=bad))
    assert [check["name"] for check in checks] == ["settings", "settings", "selector"]
    text = inside("check", settings={"MAX_ATTEMPTS": "0"}).out.splitlines()
    assert text[0].startswith("FAIL  settings  MAX_ATTEMPTS='0' is not accepted")
    assert text[1].strip().startswith("`twistd autopilot --help`")


def test_check_knows_a_certificate_that_is_not_accepted(
    upstream: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "server.pem").write_bytes(Authority().pem(HOST))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    with socket.create_server((HOST, 0)) as listening:

        def shake_hands() -> None:
            with suppress(OSError), listening.accept()[0] as accepted:
                context.wrap_socket(accepted, server_side=True).close()

        serving = Thread(target=shake_hands, daemon=True)
        serving.start()
        url = f"https://{HOST}:{listening.getsockname()[1]}"
        said = autopilot("check", "--json", settings=of(upstream, BACKEND_BASE_URL=url))
        serving.join(10.0)
    failed = {check["name"]: check for check in complaints(said) if not check["ok"]}
    assert "tls_failed" in failed["BACKEND_BASE_URL"]["seen"]
    assert "certificate" in failed["BACKEND_BASE_URL"]["advice"]


def test_a_reader_who_has_seen_enough_is_no_fault() -> None:
    program = [sys.executable, "-c", COMMAND, "rank", *FILES]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as closed:
        done = run(  # noqa: S603 - as above
            program, stdout=closed, stderr=PIPE, timeout=60.0, check=False, env={}
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_the_console_script_is_this_command() -> None:
    (script,) = entry_points(group="console_scripts", name="autopilot")
    assert script.load() is main
