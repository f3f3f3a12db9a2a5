"""How a peer is got: from Debian, PyPI or npm, in bounded time, or a reason why not."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from json import dumps
from pathlib import Path

from peer import Absent

INSTALL_SECONDS = 300.0

# Where Debian puts servers; not every user's PATH names it.
_SERVERS = "/usr/sbin"
_STAMP = ".installed"
_LONGEST_REASON = 200


def run(
    command: Sequence[str | Path],
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float = INSTALL_SECONDS,
) -> str | Absent:
    """What the command writes, if it ends well and in time."""
    words = [str(part) for part in command]
    what = " ".join([Path(words[0]).name, *words[1:2]])
    try:
        done = subprocess.run(
            words,
            cwd=directory,
            env=os.environ | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Absent(reason=f"`{what}` took more than {seconds:g} s")
    except OSError as error:
        return Absent(reason=f"`{what}` cannot be run: {error.strerror}")
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        said = lines[-1][:_LONGEST_REASON] if lines else "it wrote nothing"
        return Absent(reason=f"`{what}` ended with {done.returncode}: {said}")
    return done.stdout


def program(name: str) -> str | None:
    """Where a server of Debian is, if it is."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}{os.pathsep}{_SERVERS}")


def from_debian(name: str) -> str | Absent:
    """Where the program of the package of that name is, which is installed if it was not.

    Only its file is used. Where there is an init system, Debian may start it as a service as well.
    """
    if found := program(name):
        return found
    if not shutil.which("apt-get"):
        return Absent(reason=f"{name} is not installed, and there is no apt-get")
    if os.geteuid():
        return Absent(reason=f"{name} is not installed, and apt-get wants root")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    install = ("apt-get", "install", "--yes", "--no-install-recommends", name)
    done = run(install, environment=quiet)
    if isinstance(done, Absent):
        # A machine that has just been made has no lists, and old lists name files that are gone.
        renewed = run(("apt-get", "update"), environment=quiet)
        if isinstance(renewed, Absent):
            return renewed
        done = run(install, environment=quiet)
    if isinstance(done, Absent):
        return done
    return program(name) or Absent(reason=f"Debian's package {name} has no program {name}")


def from_pypi(folder: Path, requirement: str) -> Absent | None:
    """An environment of its own in `folder` that holds the requirement; None if all is well."""
    if _is_there(folder, requirement):
        return None
    uv = Path(sys.executable).with_name("uv")
    python = folder / "bin" / "python"
    for command in (
        (uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder),
        # Compiled now, so that a first start takes no longer than the others.
        (uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, requirement),
    ):
        done = run(command)
        if isinstance(done, Absent):
            return done
    _note(folder, requirement)
    return None


def from_npm(folder: Path, packages: Mapping[str, str]) -> Absent | None:
    """A `node_modules` in `folder` with these packages in these versions; None if all is well.

    They are pinned for the packages that they themselves need, too. No script of theirs is run.
    """
    manifest = dumps({"private": True, "dependencies": packages, "overrides": packages}, indent=2)
    if _is_there(folder, manifest):
        return None
    if not shutil.which("npm"):
        return Absent(reason="npm is not installed")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "package.json").write_text(manifest, encoding="utf-8")
    command = ("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts")
    done = run(command, directory=folder)
    if isinstance(done, Absent):
        return done
    _note(folder, manifest)
    return None


def _is_there(folder: Path, wanted: str) -> bool:
    """Whether an earlier install of the same came to its end."""
    with suppress(OSError):
        return (folder / _STAMP).read_text(encoding="utf-8") == wanted
    return False


def _note(folder: Path, wanted: str) -> None:
    (folder / _STAMP).write_text(wanted, encoding="utf-8")
