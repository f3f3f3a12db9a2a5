"""The bench's own programs as values: compiled, started, and what they saw."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import create_default_context
from threading import Timer
from typing import IO, Any
from urllib.request import urlopen

from accounting import OTHER_CORE, pinned
from processes import ROOT, Process, surroundings, wait_until

HOME = ROOT / ".bench"
SOURCES = Path(__file__).parent

ENDLESS = 1_000_000
"""So many chunks that no stream ends while it is looked at."""

_START_SECONDS = 10.0
_PATIENCE_SECONDS = 90.0
_PACKAGES = {"gcc": "gcc", "wrk": "wrk", "taskset": "util-linux"}
_WRK_SCRIPT = """\
wrk.method = "POST"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{{"requests": %d, "us": %d, "failed": %d}}\\n', summary.requests,
    summary.duration, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class LoadError(Exception):
    """A program of the bench saw nothing that can be measured; the text is its complaint."""


def build() -> None:
    """Compile the programs, if they changed, with what that takes from the system's packages.

    Raises:
        subprocess.CalledProcessError: a package cannot be installed, or the compiler complains.
    """
    wanted = [package for tool, package in _PACKAGES.items() if shutil.which(tool) is None]
    if not Path("/usr/include/openssl/ssl.h").exists():
        wanted.append("libssl-dev")
    if wanted:
        install_packages(wanted)
    (HOME / "bin").mkdir(parents=True, exist_ok=True)
    for name, libraries in (("upstream", ("-lssl", "-lcrypto")), ("load", ())):
        source, program = SOURCES / f"{name}.c", HOME / "bin" / name
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            flags = ("-O2", "-Wall", "-Wextra", "-o", str(program))
            subprocess.run(["gcc", *flags, str(source), *libraries], check=True)  # noqa: S607 - the PATH's


def install_packages(names: Sequence[str]) -> None:
    """Install Debian packages; needs root."""
    subprocess.run(["apt-get", "install", "--yes", "--quiet=2", *names], check=True)  # noqa: S607


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The upstream that runs: where, whom to trust for it, and its process."""

    port: int
    ca: Path | None
    pid: int

    def pace(self, *, chunks: int, interval: float) -> None:
        """From now on streams have so many chunks, one each `interval` seconds. None may be open."""
        scheme, context = "http", None
        if self.ca is not None:
            scheme, context = "https", create_default_context(cafile=self.ca)
        url = f"{scheme}://localhost:{self.port}/bench/set/{chunks}/{round(interval * 1e6)}"
        with urlopen(url, timeout=_START_SECONDS, context=context) as answer:  # noqa: S310 - ours
            answer.read()


@contextmanager
def upstream(
    *, files: Mapping[str, str], certificate: Path | None, ca: Path | None, log: Path
) -> Iterator[Upstream]:
    """The upstream, with `files` for its GETs; with `certificate` (and its key) it speaks TLS.

    Raises:
        LoadError: it does not start.
    """
    root = HOME / "root"
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name).write_text(text, encoding="utf-8")
    command = [*pinned(OTHER_CORE), str(HOME / "bin" / "upstream"), "--root", str(root)]
    if certificate is not None:
        command += ["--cert", str(certificate)]
    with Process("upstream", command, environment=surroundings(), log=log) as process:
        if not wait_until(lambda: "listening" in process.output(), _START_SECONDS):
            raise LoadError(f"the upstream does not start:\n{process.tail()}")
        port = int(process.output().split()[1])
        yield Upstream(port=port, ca=ca, pid=process.pid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Where requests go and what they carry."""

    port: int
    body: Path
    headers: Mapping[str, str]

    def options(self) -> list[str]:
        """As the client takes them."""
        options = ["--port", str(self.port), "--body", str(self.body)]
        for name, value in self.headers.items():
            options += ["--header", f"{name}: {value}"]
        return options


Moment = Callable[[], None]


def _nothing() -> None:
    """What happens at a moment at which nothing does."""


def streams(
    asked: Asked,
    *,
    connections: int,
    seconds: float,
    interval: float,
    settle: float = 1.0,
    spread_us: int,
    begin: Moment = _nothing,
    end: Moment = _nothing,
    still_open: Moment = _nothing,
) -> dict[str, Any]:
    """Read so many streams for `seconds`, which begin and end with calls of `begin` and `end`.

    `still_open` is called with the streams open, after the window.

    Raises:
        LoadError: not every stream began.
    """
    options = asked.options()
    options += ["--connections", str(connections), "--spread", str(spread_us)]
    options += ["--gap", str(round(2e6 * interval)), "--settle", str(settle)]
    options += ["--seconds", str(seconds)]
    with _load("streams", options, seconds + settle) as child:
        _expect(child, "begin")
        begin()
        _expect(child, "end")
        end()
        seen = json.loads(_line(child))
        still_open()
    return dict(seen)


def questions(asked: Asked, *, seconds: float, settle: float = 0.5) -> dict[str, Any]:
    """Ask one question after another over one connection.

    Raises:
        LoadError: none was answered.
    """
    options = [*asked.options(), "--seconds", str(seconds), "--settle", str(settle)]
    with _load("json", options, seconds + settle) as child:
        _expect(child, "begin")
        _expect(child, "end")
        return dict(json.loads(_line(child)))


def flood(asked: Asked, *, connections: int, seconds: float) -> dict[str, int]:
    """As many requests as are answered: how many, in how many microseconds, and how many failed.

    Raises:
        LoadError: wrk did not say.
    """
    script = HOME / "wrk.lua"
    script.write_text(_WRK_SCRIPT.format(body=asked.body), encoding="utf-8")
    command = [
        *pinned(OTHER_CORE),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
    ]
    command += ["-s", str(script), "--timeout", "30s"]
    fields = {"Content-Type": "application/json", "Authorization": "Bearer bench", **asked.headers}
    for name, value in fields.items():
        command += ["-H", f"{name}: {value}"]
    url = f"http://127.0.0.1:{asked.port}/v1/chat/completions"
    told = subprocess.run(
        [*command, url],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + _PATIENCE_SECONDS,
    )
    last = told.stdout.strip().rpartition("\n")[2]
    try:
        return dict(json.loads(last))
    except ValueError:
        raise LoadError(f"wrk: {told.stderr.strip() or last}") from None


@contextmanager
def _load(mode: str, options: Sequence[str], seconds: float) -> Iterator[subprocess.Popen[str]]:
    """The client; it is ended when it takes far longer than it was told to."""
    command = [*pinned(OTHER_CORE), str(HOME / "bin" / "load"), mode, *options]
    complaint = HOME / "load.txt"
    with (
        complaint.open("w") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as child,
    ):
        watchdog = Timer(seconds + _PATIENCE_SECONDS, child.kill)
        watchdog.start()
        try:
            yield child
        finally:
            watchdog.cancel()
            child.kill()


def _line(child: subprocess.Popen[str]) -> str:
    line = _output(child).readline()
    if not line:
        raise LoadError((HOME / "load.txt").read_text()[:300] or "the client said nothing")
    return line


def _output(child: subprocess.Popen[str]) -> IO[str]:
    if child.stdout is None:
        raise LoadError("the client has no output")
    return child.stdout


def _expect(child: subprocess.Popen[str], word: str) -> None:
    line = _line(child)
    if not line.startswith(word):
        raise LoadError(f"the client said {line.strip()[:300]!r}, not {word}")
