"""The gateways that are measured beside ours, each as a value that can be installed and run."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from accounting import pinned
from processes import Process, status_of, surroundings, wait_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """Why a peer cannot be measured here."""

    reason: str


class NotStartedError(Exception):
    """A peer is installed but does not answer."""


class Peer(Protocol):
    """A gateway under measurement."""

    @property
    def name(self) -> str:
        """As tables and `--only` spell it."""

    @property
    def fast(self) -> bool:
        """Whether one core carries 10,000 chunks a second."""

    @property
    def speaks_tls(self) -> bool:
        """Whether it can be told to trust our authority."""

    def headers(self, *, upstream: int, tls: bool) -> dict[str, str]:
        """What requests need beside the usual."""

    def install(self, home: Path) -> str | Absent:
        """Make it usable under `home`; its version."""

    def running(
        self,
        *,
        port: int,
        upstream: int,
        ca: Path | None,
        home: Path,
        log: Path,
        cpu: int | None = None,
    ) -> AbstractContextManager[list[int]]:
        """Runs it before the upstream; yields the processes that count."""


_NGINX = """
daemon off; pid {home}/nginx.pid; error_log {home}/nginx-error.log;
worker_processes 1;
events {{ worker_connections 8192; }}
http {{
  access_log {home}/nginx-access.log; client_max_body_size 8m;
  client_body_temp_path {home}/nginx-body; proxy_temp_path {home}/nginx-proxy;
  fastcgi_temp_path {home}/nginx-f; uwsgi_temp_path {home}/nginx-u; scgi_temp_path {home}/nginx-s;
  keepalive_requests 1000000;
  upstream u {{ server {where}; keepalive 1024; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass {scheme}://u; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; {tls}
    }}
  }}
}}
"""


class Nginx:
    """The floor: a reverse proxy in C that looks at nothing."""

    name = "nginx"
    fast = True
    speaks_tls = True

    def headers(self, *, upstream: int, tls: bool) -> dict[str, str]:  # noqa: ARG002 - the interface's
        """None."""
        return {}

    def install(self, home: Path) -> str | Absent:  # noqa: ARG002 - the interface's
        """From the system."""
        program = shutil.which("nginx")
        if program is None:
            return Absent(reason="nginx is not installed")
        told = subprocess.run([program, "-v"], capture_output=True, text=True, check=True)
        return told.stderr.rpartition("/")[2].strip()

    @contextmanager
    def running(
        self,
        *,
        port: int,
        upstream: int,
        ca: Path | None,
        home: Path,
        log: Path,
        cpu: int | None = None,
    ) -> Iterator[list[int]]:
        """One worker; the master, which sleeps, counts too."""
        home.mkdir(parents=True, exist_ok=True)
        where = f"127.0.0.1:{upstream}"
        tls = (
            f"proxy_ssl_trusted_certificate {ca}; proxy_ssl_verify on; proxy_ssl_name localhost;"
            "proxy_ssl_session_reuse on;"
            if ca
            else ""
        )
        conf = home / "nginx.conf"
        conf.write_text(
            _NGINX.format(
                home=home, port=port, where=where, scheme="https" if ca else "http", tls=tls
            )
        )
        command = [*pinned(cpu), "nginx", "-c", str(conf)]
        with Process("nginx", command, environment=surroundings(), log=log) as process:
            if not wait_until(lambda: status_of(port, "/health") is not None, 10):
                raise NotStartedError(f"nginx does not start:\n{process.tail()}")
            pid = process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            yield [pid, *map(int, children)]


PEERS: tuple[Peer, ...] = (Nginx(),)


def upstream_files() -> dict[str, str]:
    """What the peers ask the upstream for."""
    return {}
