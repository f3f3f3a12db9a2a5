"""curl as a process: its exit code is the strictest judge of how an answer ended."""

import shutil
from subprocess import CompletedProcess, run

from tests.e2e.harness import fields, fresh

CURL = shutil.which("curl")
PARTIAL_FILE, RECEIVE_ERROR = 18, 56


def curl(*arguments: str, send: bytes | None = None) -> CompletedProcess[bytes]:
    """Run curl; `send` is what it posts."""
    assert CURL is not None
    words = [CURL, "-sS", "--noproxy", "*", "--max-time", "20", *arguments]
    if send is not None:
        words += ["--data-binary", "@-"]
        for name, value in fields(None, fresh("curl")).items():
            words += ["-H", f"{name}: {value}"]
    return run(words, input=send, capture_output=True, timeout=30, check=False)  # noqa: S603 - curl
