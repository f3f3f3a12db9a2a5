"""The packaging check: what is built is installed elsewhere, and works where the checkout is not.

Builds sdist and wheel from a copy of the checkout without what is ignored, looks into both, installs
the wheel with the locked dependencies into a fresh environment, and runs it from an empty directory.
The files built, the log of the build and the report are left in `logs/packaging/`.
"""

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

from packaging_build import StepFailedError, date, found, step
from processes import (
    HOST,
    ROOT,
    STOPPED,
    Process,
    free_ports,
    status_of,
    surroundings,
    wait_until,
)

OUT = ROOT / "logs" / "packaging"
PLUGINS = ("autopilot", "autopilot-simulator")

_NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv", ".tox", ".env", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info",
    "build", "dist", "dropin.cache", "logs",
)  # fmt: skip
_IN_SDIST = (
    ".env.example",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "requirements/dev.txt",
    "requirements/runtime.txt",
    "pyproject.toml",
    "setup.py",
    "scripts/packaging_check.py",
    "tests/conftest.py",
    "tox.ini",
)
_CAPTURES = (
    f"--models={ROOT / 'testdata' / 'models.json'}",
    f"--utilization={ROOT / 'testdata' / 'utilization.json'}",
)
_COMMAND_SECONDS = 30.0
_START_SECONDS = 15.0
_RUN_SECONDS = 1.0
_OK, _NOT_READY = 200, 503


class Checks:
    """What has been found so far, said as it is found."""

    def __init__(self) -> None:
        self.found: list[dict[str, object]] = []

    def that(self, what: str, *, ok: bool, seen: object = None) -> None:
        """Note one finding; `seen` is shown where it is not as it should be."""
        self.found.append({"what": what, "ok": ok, "seen": None if ok else str(seen)})
        print(f"{'ok  ' if ok else 'FAIL'} {what}", flush=True)
        if not ok and seen is not None:
            print(f"     seen: {seen}", flush=True)

    @property
    def ok(self) -> bool:
        """Whether there is nothing to complain about."""
        return bool(self.found) and all(each["ok"] for each in self.found)


def build(source: Path, out: Path, log: Path) -> tuple[Path, Path]:
    """The sdist, and the wheel that was built from it."""
    step([sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source], log)
    sdist, wheel = found(out)
    date(sdist)
    return sdist, wheel


def check_reproducible(checks: Checks, built: tuple[Path, Path], source: Path, log: Path) -> None:
    """A second build, from other files of the same content, is the same."""
    other = source.with_name("again")
    shutil.copytree(source, other, copy_function=shutil.copy)
    again = build(other, other.with_name("second"), log)
    differ = [
        path.name
        for path, second in zip(built, again, strict=True)
        if path.read_bytes() != second.read_bytes()
    ]
    checks.that("a second build gives the same bytes", ok=not differ, seen=differ)


def check_wheel(checks: Checks, wheel: Path, source: Path) -> None:
    """Every module of ours, and nothing that would hide a part of Twisted."""
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {
        path.relative_to(source).as_posix()
        for pattern in ("autopilot/**/*.py", "twisted/plugins/autopilot_*.py")
        for path in source.glob(pattern)
    }
    plugins = {name for name in modules if name.startswith("twisted/")}
    checks.that(
        f"the wheel holds all {len(modules)} modules, {len(plugins)} of them plug-in files",
        ok=bool(plugins) and modules <= names,
        seen=f"missing: {sorted(modules - names)}",
    )
    checks.that("the wheel holds autopilot/py.typed", ok="autopilot/py.typed" in names)
    hiding = {"twisted/__init__.py", "twisted/plugins/__init__.py"} & names
    checks.that("the wheel holds no __init__.py in twisted/", ok=not hiding, seen=sorted(hiding))
    foreign = {
        name for name in names - modules - {"autopilot/py.typed"} if ".dist-info/" not in name
    }
    checks.that("the wheel holds nothing else", ok=not foreign, seen=sorted(foreign))


def check_sdist(checks: Checks, sdist: Path, source: Path) -> None:
    """What somebody needs who builds, tests and reads from it."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        *_IN_SDIST,
        *(path.relative_to(source).as_posix() for path in source.glob("tests/**/*.py")),
        *(path.relative_to(source).as_posix() for path in source.glob("research/*.md")),
    }
    checks.that(
        f"the sdist holds tests, README, lock and scripts ({len(wanted)} files looked for)",
        ok=wanted <= names,
        seen=f"missing: {sorted(wanted - names)}",
    )
    unwanted = {name for name in names if name == ".env" or name.endswith("dropin.cache")}
    checks.that("the sdist holds no secret and no cache", ok=not unwanted, seen=sorted(unwanted))


def install(wheel: Path, environment: Path, log: Path) -> None:
    """A fresh environment with the locked dependencies and the wheel."""
    uv = (sys.executable, "-m", "uv")
    python = environment / "bin" / "python"
    lock = ROOT / "requirements" / "runtime.txt"
    step([*uv, "venv", "--python", sys.executable, environment], log)
    into = (*uv, "pip", "install", "--python", python)
    step([*into, "--require-hashes", "-r", lock], log)
    step([*into, "--no-deps", wheel], log)
    step([*uv, "pip", "check", "--python", python], log)


def check_commands(checks: Checks, environment: Path, empty: Path, version: str) -> None:
    """What `twistd` says where neither the checkout nor any setting is."""
    twistd = environment / "bin" / "twistd"
    python = environment / "bin" / "python"
    where = _said([python, "-c", "import autopilot; print(autopilot.__file__)"], empty)
    checks.that(
        "autopilot is imported from the fresh environment",
        ok=Path(where.stdout.strip()).is_relative_to(environment),
        seen=where.stdout + where.stderr,
    )
    listed = _said([twistd, "--help"], empty)
    words = {line.split()[0] for line in listed.stdout.splitlines() if line.strip()}
    checks.that(
        f"twistd --help lists {' and '.join(PLUGINS)}",
        ok=listed.returncode == 0 and set(PLUGINS) <= words,
        seen=listed.stdout + listed.stderr,
    )
    told = _said([twistd, "autopilot", "--help"], empty)
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    settings = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", example, re.MULTILINE)
    untold = [name for name in settings if f"{name}=" not in told.stdout]
    checks.that(
        f"twistd autopilot --help lists LISTEN_ADDR and the other {len(settings) - 1} settings",
        ok=told.returncode == 0 and "LISTEN_ADDR" in settings and not untold,
        seen=untold or told.stderr,
    )
    named = _said([twistd, "autopilot", "--version"], empty)
    checks.that(
        f"twistd autopilot --version says {version}, as the wheel does",
        ok=named.returncode == 0 and named.stdout.split()[-1:] == [version],
        seen=named.stdout + named.stderr,
    )
    ordered = _said([environment / "bin" / "autopilot", "rank", "--json", *_CAPTURES], empty)
    checks.that(
        "autopilot rank orders a capture",
        ok=ordered.returncode == 0 and len(json.loads(ordered.stdout)["candidates"]) > 1,
        seen=ordered.stdout + ordered.stderr,
    )
    bad = _said(
        [twistd, "-n", "--pidfile=", "autopilot"], empty, LISTEN_ADDR="nowhere", MAX_ATTEMPTS="0"
    )
    checks.that(
        "two bad settings stop the start, and both are named",
        ok=bad.returncode != 0
        and "LISTEN_ADDR='nowhere'" in bad.stdout + bad.stderr
        and "MAX_ATTEMPTS='0'" in bad.stdout + bad.stderr
        and "Traceback" not in bad.stdout + bad.stderr,
        seen=f"exit code {bad.returncode}: {bad.stdout}{bad.stderr}",
    )


def check_service(checks: Checks, environment: Path, empty: Path) -> None:
    """It starts without its platform, says that it is not ready, and stops when asked."""
    (closed,) = free_ports(1)
    nobody = f"http://{HOST}:{closed}"
    process = Process(
        "router",
        (environment / "bin" / "twistd", "-n", "--pidfile=", "autopilot"),
        environment=surroundings(
            LISTEN_ADDR=f"{HOST}:0",
            BACKEND_BASE_URL=nobody,
            MODELS_URL=f"{nobody}/v1/models",
            UTILIZATION_URL=f"{nobody}/chutes/utilization",
        ),
        log=OUT / "router.log",
        directory=empty,
    )
    with process:
        wait_until(lambda: _port(process) > 0 or process.exit_code is not None, _START_SECONDS)
        port = _port(process)
        checks.that("the service starts on a port of its own", ok=port > 0, seen=process.tail())
        if port:
            answers = [status_of(port, path) for path in ("/healthz", "/readyz")]
            checks.that(
                "it lives, and is not ready while the platform is away",
                ok=answers == [_OK, _NOT_READY],
                seen=answers,
            )
            time.sleep(_RUN_SECONDS)
            checks.that("it goes on living", ok=process.exit_code is None, seen=process.tail())
        code = process.stop()
    checks.that("it stops on SIGTERM", ok=code in STOPPED, seen=f"exit code {code}")
    complaints = process.complaints()
    checks.that("its log holds no error", ok=not complaints, seen=complaints)
    left = sorted(path.name for path in empty.iterdir())
    checks.that("it leaves no file where it was started", ok=not left, seen=left)


def _port(process: Process) -> int:
    match = re.search(r'"event": "listening", "port": (\d+)', process.output())
    return int(match[1]) if match else 0


def _said(
    command: Sequence[str | Path], directory: Path, **settings: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=directory,
        env=surroundings(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
        check=False,
    )


def run_all(checks: Checks, scratch: Path, built: Path | None, *, only_build: bool) -> None:
    """Build, unless that has been done; look inside, install, run."""
    log = OUT / "build.log"
    source, environment, empty = (scratch / name for name in ("source", "environment", "empty"))
    empty.mkdir()
    shutil.copytree(ROOT, source, ignore=_NOT_SOURCE)
    sdist, wheel = found(built) if built else build(source, OUT, log)
    version = wheel.name.split("-")[1]
    checks.that(f"sdist and wheel of {version} are built", ok=True)
    check_wheel(checks, wheel, source)
    check_sdist(checks, sdist, source)
    if not built:
        check_reproducible(checks, (sdist, wheel), source, log)
    if only_build:
        return
    install(wheel, environment, log)
    checks.that("the wheel is installed with the locked dependencies alone", ok=True)
    check_commands(checks, environment, empty, version)
    check_service(checks, environment, empty)


def main() -> int:
    """Check it all; the exit code says whether all was ok."""
    parser = argparse.ArgumentParser(description=__doc__)
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--only-build", action="store_true", help="do not install, do not run")
    part.add_argument("--built", metavar="DIRECTORY", type=Path, help="check what was built there")
    options = parser.parse_args()
    built: Path | None = options.built and options.built.resolve()
    # As for Ctrl-C: whatever runs is stopped, and the scratch directory removed, on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    checks = Checks()
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="autopilot-packaging-") as scratch:
            # Resolved, since the installed interpreter will say where it really is.
            run_all(checks, Path(scratch).resolve(), built, only_build=options.only_build)
    except (StepFailedError, subprocess.TimeoutExpired, OSError) as error:
        checks.that("every step can be carried out", ok=False, seen=error)
    except KeyboardInterrupt:
        print("\nStopped before the end.")
        return 130
    seconds = time.monotonic() - started
    report = {"ok": checks.ok, "seconds": round(seconds, 2), "checks": checks.found}
    (OUT / "latest.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    bad = sum(not each["ok"] for each in checks.found)
    print(f"\n{len(checks.found)} checks, {bad} failed, {seconds:.1f} s; {OUT.relative_to(ROOT)}/")
    return 0 if checks.ok else 1


if __name__ == "__main__":
    sys.exit(main())
