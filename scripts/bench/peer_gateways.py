"""The gateways that read what they carry: two routers in Rust, LiteLLM in Python, Portkey in Node.

Each has the version that is named here, in a folder of its own. They run as their manuals say, less what
would ask somebody else's server or want a database. Where there is a choice, it is the cheapest for them.
"""

import shutil
from pathlib import Path

from peer import MODEL, Absent, Gateway, Launch
from peer_install import from_npm, from_pypi
from processes import HOST, free_ports

# With one worker any policy chooses the same; this one keeps no tree of prompts to do so.
_POLICY = ("--policy", "round_robin")


class VllmRouter(Gateway):
    """vLLM's router. It asks a worker for /health only."""

    name = "vllm-router"
    version = "0.1.17"

    def install(self, home: Path) -> str | Absent:
        """A wheel from PyPI."""
        return from_pypi(home / self.name, f"vllm-router=={self.version}") or self.version

    def launch(
        self,
        *,
        port: int,
        upstream: int,
        ca: Path | None,
        home: Path,
        directory: Path,  # noqa: ARG002 - it needs no file
    ) -> Launch:
        """Its launcher, which stays in one process."""
        return Launch(
            command=(
                home / self.name / "bin" / self.name,
                *("--host", HOST, "--port", str(port)),
                *("--worker-urls", _origin(upstream, ca)),
                *_POLICY,
                *_metrics(),
            ),
            settings={"SSL_CERT_FILE": str(ca)} if ca else {},
        )


class Smg(Gateway):
    """The Shepherd model gateway, in another life SGLang's router. It asks a worker for its models."""

    name = "smg"
    version = "1.13.0"

    def install(self, home: Path) -> str | Absent:
        """A wheel from PyPI."""
        return from_pypi(home / self.name, f"smg=={self.version}") or self.version

    def launch(
        self,
        *,
        port: int,
        upstream: int,
        ca: Path | None,
        home: Path,
        directory: Path,  # noqa: ARG002 - it needs no file
    ) -> Launch:
        """Its launcher, which stays in one process."""
        return Launch(
            command=(
                *(home / self.name / "bin" / self.name, "launch"),
                *("--host", HOST, "--port", str(port)),
                *("--worker-urls", _origin(upstream, ca)),
                *("--shutdown-grace-period-secs", "1"),
                *(("--ca-cert-paths", str(ca)) if ca else ()),
                *_POLICY,
                *_metrics(),
            )
        )


class LiteLlm(Gateway):
    """LiteLLM's proxy. It parses every event and writes it anew."""

    name = "litellm"
    version = "1.108.7"
    fast = False
    # On one core that is not idle it has been seen to import for nearly half a minute.
    start_seconds = 90.0

    def install(self, home: Path) -> str | Absent:
        """A wheel from PyPI, and the many that it needs."""
        return from_pypi(home / self.name, f"litellm[proxy]=={self.version}") or self.version

    def launch(
        self, *, port: int, upstream: int, ca: Path | None, home: Path, directory: Path
    ) -> Launch:
        """One worker with one model."""
        config = directory / "config.yaml"
        config.write_text(litellm_config(upstream=upstream, ca=ca), encoding="utf-8")
        return Launch(
            command=(
                *(home / self.name / "bin" / self.name, "--config", config),
                *("--host", HOST, "--port", str(port)),
                *("--num_workers", "1", "--telemetry", "False"),
            ),
            settings={
                # Else it fetches a list of prices when it starts.
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "LITELLM_LOG": "ERROR",
                **({"SSL_CERT_FILE": str(ca)} if ca else {}),
            },
        )


class Portkey(Gateway):
    """Portkey's gateway, one process of Node. Each request says where it goes."""

    name = "portkey"
    version = "1.15.2"
    fast = False

    def install(self, home: Path) -> str | Absent:
        """From npm. It names no exact version of its HTTP server, and with the latest answers 500."""
        if not shutil.which("node"):
            return Absent(reason="node is not installed")
        packages = {"@portkey-ai/gateway": self.version, "@hono/node-server": "1.13.5"}
        return from_npm(home / self.name, packages) or self.version

    def headers(self, *, upstream: int, tls: bool) -> dict[str, str]:
        """The upstream, as one that speaks OpenAI."""
        return {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{'https' if tls else 'http'}://{HOST}:{upstream}/v1",
        }

    def launch(
        self,
        *,
        port: int,
        upstream: int,  # noqa: ARG002 - requests say it
        ca: Path | None,
        home: Path,
        directory: Path,  # noqa: ARG002 - it needs no file
    ) -> Launch:
        """Without its console."""
        package = home / self.name / "node_modules" / "@portkey-ai" / "gateway"
        return Launch(
            command=("node", package / "build" / "start-server.js", f"--port={port}", "--headless"),
            settings={
                "NODE_ENV": "production",
                # It asks no private address otherwise.
                "TRUSTED_CUSTOM_HOSTS": HOST,
                **({"NODE_EXTRA_CA_CERTS": str(ca)} if ca else {}),
            },
        )


def litellm_config(*, upstream: int, ca: Path | None) -> str:
    """One model, which goes to the upstream. Any key is taken: each client of the bench has its own."""
    return f"""\
model_list:
  - model_name: {MODEL}
    litellm_params:
      model: openai/{MODEL}
      api_base: {_origin(upstream, ca)}/v1
      api_key: bench
litellm_settings:
  telemetry: false
general_settings:
  dangerously_permit_weak_or_unset_master_key: true
"""


def _origin(upstream: int, ca: Path | None) -> str:
    return f"{'https' if ca else 'http'}://{HOST}:{upstream}"


def _metrics() -> tuple[str, ...]:
    """Where both routers in Rust serve theirs: two of them may run, and strangers need not see it."""
    (port,) = free_ports(1)
    return ("--prometheus-host", HOST, "--prometheus-port", str(port))
