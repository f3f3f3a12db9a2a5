"""A step of the build, and what makes its files the same bytes from the same source.

Every time in them is `SOURCE_DATE_EPOCH`; see https://reproducible-builds.org/specs/source-date-epoch/.
"""

import gzip
import os
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

_STEP_SECONDS = 300.0

_EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))
"""Seconds since 1970; 1980 begins with the default, the first that a wheel can hold."""


class StepFailedError(Exception):
    """Something without which the rest makes no sense."""


def found(directory: Path) -> tuple[Path, Path]:
    """The one sdist and the one wheel there."""
    sdists, wheels = sorted(directory.glob("*.tar.gz")), sorted(directory.glob("*.whl"))
    if len(sdists) != 1 or len(wheels) != 1:
        raise StepFailedError(f"{directory} holds {[path.name for path in (*sdists, *wheels)]}")
    return sdists[0], wheels[0]


def date(sdist: Path) -> None:
    """Write it anew without times, owners and other modes, which setuptools takes from the machine."""
    with tarfile.open(sdist) as archive:
        parts = [
            (member, archive.extractfile(member) if member.isfile() else None)
            for member in sorted(archive.getmembers(), key=lambda member: member.name)
        ]
        fresh = sdist.with_suffix(".new")
        with (
            fresh.open("wb") as file,
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=_EPOCH) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as dated,
        ):
            for member, content in parts:
                member.mtime, member.pax_headers = _EPOCH, {}
                member.uid = member.gid = 0
                member.uname = member.gname = ""
                member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
                dated.addfile(member, content)
    fresh.replace(sdist)


def step(command: Sequence[str | Path], log: Path) -> None:
    """Run it, what it says goes to the log.

    Raises:
        StepFailedError: if it fails, with the end of the log.
    """
    words = [str(part) for part in command]
    with log.open("a", encoding="utf-8") as output:
        print("$", *words, file=output, flush=True)
        done = subprocess.run(
            words,
            cwd=log.parent,  # `python -m build` in the checkout would find a directory build/ first
            env={name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
            | {"SOURCE_DATE_EPOCH": str(_EPOCH)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=_STEP_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
        raise StepFailedError(f"{' '.join(words)}\nended with {done.returncode}:\n{tail}")
