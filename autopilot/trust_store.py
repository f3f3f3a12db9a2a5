"""The system's trust store, looked at once at the start: without it every TLS connection fails.

Slim container images lack the `ca-certificates` package, and what a certificate error then says does
not lead there.
"""

import os
import re
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from OpenSSL.SSL import TLS_METHOD, Context
from twisted.application.service import Service
from twisted.logger import Logger

from autopilot.logs import say

_log = Logger(namespace="autopilot.trust_store")

_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""The names under which OpenSSL finds certificates in a directory."""


class TrustStoreCheck(Service):
    """Says so in the log at the start, if TLS is wanted by one of `urls` and nobody is trusted."""

    def __init__(self, urls: Iterable[str]) -> None:
        self._wanted = any(url.lower().startswith("https:") for url in urls)

    def startService(self) -> None:
        """Look, once."""
        super().startService()
        problem = trust_store_problem() if self._wanted else None
        if problem is not None:
            say(_log, "tls_configuration_error", level="error", error=problem)


def trust_store_problem() -> str | None:
    """Why no certificate could be verified; None if some could."""
    files, directories = _places()
    if any(map(_holds_certificates, files)) or any(map(_lists_certificates, directories)):
        return None
    return (
        "the system's trust store is empty: install ca-certificates, "
        "or name a bundle in SSL_CERT_FILE"
    )


class _Asked(Context):
    """Remembers the places that pyOpenSSL, which chooses them by its own rules, has it load from."""

    def __init__(self) -> None:
        super().__init__(TLS_METHOD)
        self.files: list[str] = []
        self.directories: list[str] = []

    def load_verify_locations(self, cafile: Any, capath: Any = None) -> None:
        self.files += [os.fsdecode(cafile)] if cafile is not None else []
        self.directories += [os.fsdecode(capath)] if capath is not None else []


def _places() -> tuple[list[str], list[str]]:
    """The files and directories that certificates are trusted from."""
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file is not None or directory is not None:
        return _named(file), _named(*(directory or "").split(os.pathsep))
    asked = _Asked()
    asked.set_default_verify_paths()
    if asked.files or asked.directories:
        return asked.files, asked.directories
    # Not one of cryptography's own wheels but built against the system's OpenSSL, as Python is.
    system = ssl.get_default_verify_paths()
    return _named(system.cafile), _named(system.capath)


def _named(*places: str | None) -> list[str]:
    return [place for place in places if place]


def _holds_certificates(file: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except (OSError, ValueError, TypeError):  # SSLError, which an empty file is, is an OSError
        return False
    return True


def _lists_certificates(directory: str) -> bool:
    try:
        return any(_HASHED_NAME.fullmatch(entry.name) for entry in Path(directory).iterdir())
    except OSError:
        return False
