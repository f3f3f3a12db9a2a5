"""nginx and HAProxy: the reverse proxies that look at nothing, tuned as for a stream of events."""

import re
from pathlib import Path

from peer import Absent, Gateway, Launch
from peer_install import from_debian, program, run
from processes import HOST

# Neither closes a connection because it was used so and so often: the client would count a failure.
_MOST_REQUESTS = 1_000_000_000
_MOST_CONNECTIONS = 8192

_VERSION = re.compile(r"\d+(?:\.\d+)+\S*")
_VERSION_SECONDS = 10.0


def nginx_config(*, port: int, upstream: int, ca: Path | None, directory: Path) -> str:
    """One worker that keeps its connections and holds no event back; all files in `directory`."""
    verified = (
        f"""
      proxy_ssl_verify on;
      proxy_ssl_trusted_certificate "{ca}";
      proxy_ssl_name localhost;
      proxy_ssl_server_name on;
      proxy_ssl_session_reuse on;"""
        if ca
        else ""
    )
    places = "\n".join(
        f'  {kind}_temp_path "{directory}/{kind}";'
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
daemon off;
worker_processes 1;
pid "{directory}/nginx.pid";
error_log "{directory}/error.log";
events {{
  worker_connections {_MOST_CONNECTIONS};
}}
http {{
  access_log "{directory}/access.log";
{places}
  client_max_body_size 32m;
  client_body_buffer_size 1m;
  keepalive_requests {_MOST_REQUESTS};
  tcp_nodelay on;
  upstream bench {{
    server {HOST}:{upstream};
    keepalive 1024;
    keepalive_requests {_MOST_REQUESTS};
  }}
  server {{
    listen {HOST}:{port} backlog=4096;
    location / {{
      proxy_pass {"https" if ca else "http"}://bench;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 300s;{verified}
    }}
  }}
}}
"""


def haproxy_config(*, port: int, upstream: int, ca: Path | None) -> str:
    """One thread that keeps its connections and holds no event back; its log is its output.

    Without http-no-delay the kernel waits 200 ms for more to send: events have been seen 107 ms late.
    """
    verified = (
        f' ssl verify required ca-file "{ca}" sni str(localhost) verifyhost localhost' if ca else ""
    )
    return f"""\
global
  nbthread 1
  maxconn {_MOST_CONNECTIONS}
  log stdout format raw daemon
defaults
  mode http
  log global
  option httplog
  option http-no-delay
  http-reuse always
  timeout connect 10s
  timeout client 300s
  timeout server 300s
frontend clients
  bind {HOST}:{port} backlog 4096
  default_backend bench
backend bench
  server upstream {HOST}:{upstream}{verified}
"""


class Nginx(Gateway):
    """A reverse proxy in C. Its master, which sleeps, counts with its worker."""

    name = "nginx"

    def install(self, home: Path) -> str | Absent:  # noqa: ARG002 - it is the system's
        """From Debian, unless it is there."""
        return _version(self.name, "-v")

    def launch(
        self,
        *,
        port: int,
        upstream: int,
        ca: Path | None,
        home: Path,  # noqa: ARG002 - it is the system's
        directory: Path,
    ) -> Launch:
        """The program with a configuration and files of its own."""
        config = directory / "nginx.conf"
        config.write_text(
            nginx_config(port=port, upstream=upstream, ca=ca, directory=directory), encoding="utf-8"
        )
        # Until it has read the configuration it would write its errors where the system's does.
        errors = directory / "error.log"
        nginx = program(self.name) or self.name
        return Launch(command=(nginx, "-p", directory, "-e", errors, "-c", config))


class HaProxy(Gateway):
    """A reverse proxy in C, one process with one thread."""

    name = "haproxy"

    def install(self, home: Path) -> str | Absent:  # noqa: ARG002 - it is the system's
        """From Debian, unless it is there."""
        return _version(self.name, "-v")

    def launch(
        self,
        *,
        port: int,
        upstream: int,
        ca: Path | None,
        home: Path,  # noqa: ARG002 - it is the system's
        directory: Path,
    ) -> Launch:
        """The program with a configuration of its own, in the foreground."""
        config = directory / "haproxy.cfg"
        config.write_text(haproxy_config(port=port, upstream=upstream, ca=ca), encoding="utf-8")
        return Launch(command=(program(self.name) or self.name, "-db", "-f", config))


def _version(name: str, flag: str) -> str | Absent:
    """What the program says it is, once Debian's package is there."""
    found = from_debian(name)
    if isinstance(found, Absent):
        return found
    told = run((found, flag), seconds=_VERSION_SECONDS)
    if isinstance(told, Absent):
        return told
    said = _VERSION.search(told)
    return said[0] if said else Absent(reason=f"{name} does not say its version")
