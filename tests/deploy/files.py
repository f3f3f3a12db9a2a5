"""The deployment files as values, and the tools that check them, as they stand in the environment."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from autopilot.setting_table import SPECS

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
CADDYFILE = ROOT / "deploy" / "caddy" / "Caddyfile"

DEFAULTS = {spec.name: spec.default for spec in SPECS}
SECRETS = {spec.name for spec in SPECS if spec.secret}

_TOOL_SECONDS = 60.0


def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yaml").read_text())


def manifest(name: str) -> Any:
    return yaml.safe_load((KUBERNETES / f"{name}.yaml").read_text())


def complaint(tool: str, *words: str | Path) -> str:
    """What a tool of the environment says of the checkout; empty if it has nothing against it."""
    done = subprocess.run(
        [Path(sys.executable).with_name(tool), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_TOOL_SECONDS,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr or f"exit {done.returncode}"


def stop_seconds() -> float:
    """How long the router may take to end at the defaults, its lag and its grace."""
    return (int(DEFAULTS["DRAIN_READINESS_LAG_MS"]) + int(DEFAULTS["DRAIN_GRACE_MS"])) / 1000
