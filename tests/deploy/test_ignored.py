"""What a run, a build or an operator leaves behind is never offered to be committed."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def ignored(path: str) -> bool:
    """Whether git leaves it out; it need not be there."""
    command = ("git", "check-ignore", "--quiet", "--no-index", path)
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    assert code in {0, 1}
    return code == 0


@pytest.mark.parametrize(
    "path",
    [
        *("logs/smoke/latest.json", "logs/lab/1/main.log", "logs/packaging/a.whl"),
        ".bench/nginx/nginx.conf",
        *("logs/test/py311.xml", "testdata/smoke/latest.json"),
        *(".coverage", ".coverage.host.1", "coverage.xml", "htmlcov/index.html"),
        *("build/lib/x.py", "dist/a.whl", "chutes_autopilot.egg-info/PKG-INFO"),
        *(".venv/bin/python", ".tox/lint/log", ".hypothesis/examples/x"),
        *("twistd.pid", "twistd.log", "twistd.log.1", "twisted/plugins/dropin.cache"),
        *(".env", ".env.local", ".env.production", "deploy/.env"),
        *("tls.pem", "deploy/tls/server.key"),
    ],
)
def test_what_is_made_or_secret_is_ignored(path: str) -> None:
    assert ignored(path)


@pytest.mark.parametrize("path", [".env.example", "testdata/models.json", "autopilot/logs.py"])
def test_what_belongs_to_the_source_is_not(path: str) -> None:
    assert not ignored(path)


def test_no_tracked_file_is_ignored() -> None:
    command = ("git", "ls-files", "--cached", "--ignored", "--exclude-standard")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
