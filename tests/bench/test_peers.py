"""What peers are started with, and that one which cannot be had says why. Nothing is installed."""

import os
import sys
from pathlib import Path

import pytest
import yaml
from peer import Absent, Gateway, Launch, NotStartedError
from peer_gateways import LiteLlm, Portkey, Smg, VllmRouter, litellm_config
from peer_install import from_debian, from_npm, from_pypi, run
from peer_proxies import haproxy_config, nginx_config
from peer_trial import EVENTS, INTERVAL, stream_fault
from peers import PEERS, upstream_files
from processes import free_ports

CA = Path("/tls/ca.pem")


def script(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def directives(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines()}


@pytest.mark.parametrize("ca", [None, CA])
def test_nginx_keeps_its_connections_and_holds_no_event_back(
    tmp_path: Path, ca: Path | None
) -> None:
    found = directives(nginx_config(port=18, upstream=80, ca=ca, directory=tmp_path))
    assert {
        "worker_processes 1;",
        "server 127.0.0.1:80;",
        "keepalive 1024;",
        "listen 127.0.0.1:18 backlog=4096;",
        "proxy_http_version 1.1;",
        'proxy_set_header Connection "";',
        "proxy_buffering off;",
        "client_body_buffer_size 1m;",
        f'access_log "{tmp_path}/access.log";',
        f"proxy_pass {'https' if ca else 'http'}://bench;",
    } <= found


def test_nginx_verifies_an_https_upstream_and_only_that(tmp_path: Path) -> None:
    verifies = {
        "proxy_ssl_verify on;",
        f'proxy_ssl_trusted_certificate "{CA}";',
        "proxy_ssl_name localhost;",
        "proxy_ssl_session_reuse on;",
    }
    assert verifies <= directives(nginx_config(port=1, upstream=2, ca=CA, directory=tmp_path))
    assert "ssl" not in nginx_config(port=1, upstream=2, ca=None, directory=tmp_path)


def test_haproxy_keeps_its_connections_and_holds_no_event_back() -> None:
    found = directives(haproxy_config(port=18, upstream=80, ca=None))
    assert {
        "nbthread 1",
        "http-reuse always",
        "option http-no-delay",
        "bind 127.0.0.1:18 backlog 4096",
        "server upstream 127.0.0.1:80",
    } <= found


def test_haproxy_verifies_an_https_upstream() -> None:
    text = haproxy_config(port=18, upstream=80, ca=CA)
    assert f'127.0.0.1:80 ssl verify required ca-file "{CA}"' in text
    assert "verifyhost localhost" in text


@pytest.mark.parametrize(("ca", "scheme"), [(None, "http"), (CA, "https")])
def test_litellm_has_one_model_and_the_upstream(ca: Path | None, scheme: str) -> None:
    config = yaml.safe_load(litellm_config(upstream=80, ca=ca))
    (model,) = config["model_list"]
    assert model["model_name"] == "bench/model"
    assert model["litellm_params"]["model"] == "openai/bench/model"
    assert model["litellm_params"]["api_base"] == f"{scheme}://127.0.0.1:80/v1"
    assert config["litellm_settings"]["telemetry"] is False


@pytest.mark.parametrize("peer", [VllmRouter(), Smg(), LiteLlm(), Portkey()], ids=lambda p: p.name)
def test_an_https_upstream_comes_with_whom_to_trust(peer: Gateway, tmp_path: Path) -> None:
    def launch(ca: Path | None) -> str:
        made = peer.launch(port=18, upstream=80, ca=ca, home=tmp_path, directory=tmp_path)
        return " ".join([*map(str, made.command), *made.settings.values()])

    assert str(CA) in launch(CA)
    assert str(CA) not in launch(None)


def test_portkey_is_told_its_upstream_by_each_request() -> None:
    assert Portkey().headers(upstream=80, tls=False) == {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": "http://127.0.0.1:80/v1",
    }
    host = Portkey().headers(upstream=80, tls=True)["x-portkey-custom-host"]
    assert host == "https://127.0.0.1:80/v1"


def test_a_command_that_fails_says_which_and_what_it_said_last(tmp_path: Path) -> None:
    failing = script(tmp_path, "npm", "echo starting; echo 'no such package' >&2; exit 3")
    assert run((failing, "install")) == Absent(reason="`npm install` ended with 3: no such package")


def test_a_command_that_does_not_end_is_ended(tmp_path: Path) -> None:
    slow = script(tmp_path, "npm", "exec sleep 60")
    assert run((slow, "install"), seconds=0.2) == Absent(
        reason="`npm install` took more than 0.2 s"
    )


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    assert run((tmp_path / "uv", "venv")) == Absent(
        reason="`uv venv` cannot be run: No such file or directory"
    )


def test_what_was_not_installed_is_tried_again_and_what_was_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    script(tools, "npm", "echo broken; exit 1")
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    home, packages = tmp_path / "peer", {"gateway": "1.0"}
    assert from_npm(home, packages) == Absent(reason="`npm install` ended with 1: broken")
    script(tools, "npm", "exit 0")
    assert from_npm(home, packages) is None
    script(tools, "npm", "echo broken; exit 1")
    assert from_npm(home, packages) is None
    assert from_npm(home, {"gateway": "1.1"}) is not None


def test_an_environment_that_cannot_be_made_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path, "uv", "echo 'no wheel fits'; exit 2")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    absent = from_pypi(tmp_path / "peer", "peer==1")
    assert absent == Absent(reason="`uv venv` ended with 2: no wheel fits")


@pytest.mark.parametrize(
    ("user", "tools", "reason"),
    [
        (0, (), "bench-peer is not installed, and there is no apt-get"),
        (1000, ("apt-get",), "bench-peer is not installed, and apt-get wants root"),
        (0, ("apt-get",), "`apt-get update` ended with 100: no network"),
    ],
)
def test_a_package_that_cannot_be_had_is_a_reason(
    user: int, tools: tuple[str, ...], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in tools:
        script(tmp_path, tool, "echo 'no network'; exit 100")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert from_debian("bench-peer") == Absent(reason=reason)


ANSWERING = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
"""


class Forking(Gateway):
    """A peer that answers, and whose child does not go when it does."""

    name = "forking"

    def install(self, home: Path) -> str | Absent:
        return str(home)

    def launch(
        self, *, port: int, upstream: int, ca: Path | None, home: Path, directory: Path
    ) -> Launch:
        assert (upstream, ca, directory) == (1, None, home / "run" / "forking")
        server = ANSWERING.format(port=port)
        return Launch(command=("sh", "-c", 'sleep 60 & exec "$0" -c "$1"', sys.executable, server))


def names_of(pids: list[int]) -> list[str]:
    """What runs under these numbers."""
    files = (Path(f"/proc/{pid}/cmdline") for pid in pids)
    lines = (file.read_bytes() for file in files if file.exists())
    return [Path(line.split(b"\0")[0].decode()).name for line in lines if line]


def test_children_count_and_are_gone_at_the_end(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    core = min(os.sched_getaffinity(0))
    with Forking().running(
        port=port, upstream=1, ca=None, home=tmp_path, log=tmp_path / "forking.log", cpu=core
    ) as pids:
        assert names_of(pids) == [Path(sys.executable).name, "sleep"]
        assert os.sched_getaffinity(pids[0]) == {core}
    assert names_of(pids) == []


class Broken(Gateway):
    """A peer that ends before it answers."""

    name = "broken"

    def install(self, home: Path) -> str | Absent:
        return str(home)

    def launch(
        self, *, port: int, upstream: int, ca: Path | None, home: Path, directory: Path
    ) -> Launch:
        assert (port, upstream, ca, directory) == (port, 1, None, home / "run" / "broken")
        return Launch(command=("sh", "-c", "echo '\033[31mno key is set\033[0m'; echo; exit 1"))


def test_a_peer_that_does_not_start_says_why(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    running = Broken().running(
        port=port, upstream=1, ca=None, home=tmp_path, log=tmp_path / "broken.log"
    )
    with pytest.raises(NotStartedError, match="broken ended: no key is set"), running:
        pass


def test_a_stream_that_was_held_back_is_told_from_one_that_came_as_sent() -> None:
    sent = [number * INTERVAL for number in range(EVENTS)]
    assert stream_fault([(at, at + 0.001) for at in sent]) is None
    assert stream_fault([(at, sent[-1]) for at in sent]) is not None
    assert stream_fault([(at, at + INTERVAL) for at in sent]) is not None
    assert stream_fault([(at, at) for at in sent[:-1]]) is not None


def test_peers_have_names_of_their_own_and_ask_for_files_without_folders() -> None:
    names = [peer.name for peer in PEERS]
    assert len(set(names)) == len(names)
    assert not any("/" in name for name in upstream_files())
