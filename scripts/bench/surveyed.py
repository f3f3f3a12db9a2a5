"""What a report says of the run itself: machine, system, versions, and who else was at work."""

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from ours import Autopilot

_GIB = 1024 * 1024


def survey(router: Autopilot) -> Mapping[str, str]:
    """As of now; nothing in it names the machine or its user."""
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB",
        "system": f"{_distribution()}, Linux {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "twisted": f"Twisted {version('twisted')}",
        "router": f"{router.version()} ({_commit(router.checkout)})",
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return int(Path("/proc/meminfo").read_text(encoding="utf-8").split()[1]) / _GIB


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "unknown distribution"


def _commit(checkout: Path) -> str:
    """The commit, and whether files differ from it."""
    told = subprocess.run(
        ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*"],  # noqa: S607 - the PATH's
        capture_output=True,
        text=True,
        check=False,
    )
    return f"commit {told.stdout.strip()}" if told.returncode == 0 else "no commit"
