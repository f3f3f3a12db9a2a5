"""What stands beside the peers: the router as its users run it, and no gateway at all."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from accounting import children, pinned
from peer import MODEL, Absent, NotStartedError, Peer
from processes import HOST, ROOT, Process, is_ready, surroundings, wait_until

ALIAS = "chutesai/AutoPilot"

_START_SECONDS = 20.0
_OTHERS_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Autopilot:
    """The router of a checkout: its own environment's if it has one, else its code in ours.

    Every setting is the default but for the addresses, and `workers`. It ranks, remembers its clients,
    counts and writes its log (to a file).
    """

    checkout: Path = ROOT
    name: str = "autopilot"
    workers: int = 1
    fast: bool = True
    speaks_tls: bool = True

    def headers(self, *, upstream: int, tls: bool) -> dict[str, str]:  # noqa: ARG002 - the interface's
        """None: clients of ours need no more than a key."""
        return {}

    def install(self, home: Path) -> str | Absent:  # noqa: ARG002 - the interface's
        """It is there."""
        return self.version()

    def version(self) -> str:
        """The one that its code says it is."""
        told = (self.checkout / "autopilot" / "__init__.py").read_text(encoding="utf-8")
        return told.partition('__version__ = "')[2].partition('"')[0]

    @contextmanager
    def running(
        self,
        *,
        port: int,
        upstream: int,
        ca: Path | None,
        home: Path,  # noqa: ARG002 - it writes nothing but its log
        log: Path,
        cpu: int | None = None,
    ) -> Iterator[list[int]]:
        """The router once it is ready: its process, or the parent and all workers.

        Raises:
            NotStartedError: it does not become ready.
        """
        own = self.checkout / ".venv" / "bin" / "twistd"
        twistd = own if own.exists() else Path(sys.executable).with_name("twistd")
        host = "localhost" if ca else HOST
        platform = f"{'https' if ca else 'http'}://{host}:{upstream}"
        settings = {
            "LISTEN_ADDR": f"{HOST}:{port}",
            "BACKEND_BASE_URL": platform,
            "MODELS_URL": f"{platform}/v1/models",
            "UTILIZATION_URL": f"{platform}/chutes/utilization",
            "WORKERS": str(self.workers),
        }
        if ca:
            settings["SSL_CERT_FILE"] = str(ca)
        if twistd != own:
            settings["PYTHONPATH"] = str(self.checkout)
        process = Process(
            self.name,
            (*pinned(cpu), twistd, "-n", "--pidfile=", "autopilot"),
            environment=surroundings(**settings),
            log=log,
            directory=self.checkout,
        )
        with process:
            if not wait_until(lambda: is_ready(port), _START_SECONDS):
                raise NotStartedError(f"autopilot does not become ready:\n{process.tail()}")
            if self.workers > 1:
                # One worker answered. The others were started with it.
                time.sleep(_OTHERS_SECONDS)
            yield [process.pid, *children(process.pid)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """No gateway: the client asks the upstream. What that costs is the floor under every figure."""

    name: str = "direct"
    fast: bool = True
    speaks_tls: bool = False

    def headers(self, *, upstream: int, tls: bool) -> dict[str, str]:  # noqa: ARG002 - the interface's
        """None."""
        return {}

    def install(self, home: Path) -> str | Absent:  # noqa: ARG002 - the interface's
        """Nothing is needed."""
        return "-"

    @contextmanager
    def running(
        self,
        *,
        port: int,  # noqa: ARG002 - nobody listens there: the upstream is asked
        upstream: int,  # noqa: ARG002 - as above
        ca: Path | None,  # noqa: ARG002 - as above
        home: Path,  # noqa: ARG002 - as above
        log: Path,  # noqa: ARG002 - as above
        cpu: int | None = None,  # noqa: ARG002 - as above
    ) -> Iterator[list[int]]:
        """Nothing runs."""
        yield []


def model_for(peer: Peer) -> str:
    """What a request names: of ours the alias, so that it has to choose."""
    return ALIAS if isinstance(peer, Autopilot) else MODEL


def files() -> dict[str, str]:
    """Catalogue and feed, as files of the upstream: one model, and it has room."""
    model = {
        "id": MODEL,
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "bench",
        "root": MODEL,
        "parent": None,
        "chute_id": "bench",
        "confidential_compute": False,
        "max_model_len": 131_072,
    }
    row = {
        "chute_id": "bench",
        "name": MODEL,
        "active_instance_count": 8,
        "utilization_current": 0.2,
        "utilization_5m": 0.2,
        "utilization_15m": 0.2,
        "utilization_1h": 0.2,
        "rate_limit_ratio_5m": 0.0,
        "rate_limit_ratio_15m": 0.0,
        "rate_limit_ratio_1h": 0.0,
        "scalable": False,
    }
    return {
        "_v1_models": json.dumps({"object": "list", "data": [model]}),
        "_chutes_utilization": json.dumps([row]),
    }


def body(model: str, *, size: int, stream: bool, folder: Path) -> Path:
    """A file with a chat request of `size` bytes, or of as few as it takes."""
    text = {"model": model, "messages": [{"role": "user", "content": ""}], "stream": stream}
    room = size - len(json.dumps(text))
    text["messages"] = [{"role": "user", "content": ("tell me more " * (room // 13 + 1))[:room]}]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model.replace('/', '_')}-{size}-{'stream' if stream else 'json'}.json"
    path.write_text(json.dumps(text), encoding="utf-8")
    return path
