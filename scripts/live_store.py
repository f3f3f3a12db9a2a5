"""The store of fixtures: bodies in files, all else in a manifest, and nothing in which the key occurs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from live_sanitise import shares_a_part

MANIFEST = "manifest.json"

_ENDINGS = {"application/json": "json", "text/html": "html", "text/event-stream": "sse"}


class LeakError(Exception):
    """The key, or a part of it, occurs in what was to be written. Nothing was. Does not quote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """One answer and what was asked. Without `captured_at`, a date, it is representative."""

    name: str
    request: Mapping[str, Any]
    status: int
    headers: Mapping[str, str]
    body: bytes
    captured_at: str | None = None

    @property
    def file(self) -> str:
        """The name of the body's file, with its date if it has one."""
        media = self.headers.get("content-type", "").partition(";")[0]
        stamp = f"_{self.captured_at}" if self.captured_at else ""
        return f"{self.name}{stamp}.{_ENDINGS.get(media, 'txt')}"

    def entry(self) -> dict[str, Any]:
        """What the manifest says of it."""
        entry = asdict(self)
        del entry["body"], entry["captured_at"]
        origin = {"captured_at": self.captured_at} if self.captured_at else {"representative": True}
        return {
            **entry,
            "file": self.file,
            "sha256": sha256(self.body).hexdigest(),
            **origin,
        }


def load(folder: Path) -> dict[str, Fixture]:
    """The fixtures in `folder` by name; none if it has no manifest."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        return {}
    return {
        entry["name"]: Fixture(
            name=entry["name"],
            request=entry["request"],
            status=entry["status"],
            headers=entry["headers"],
            body=(folder / entry["file"]).read_bytes(),
            captured_at=entry.get("captured_at"),
        )
        for entry in json.loads(manifest.read_text(encoding="utf-8"))["fixtures"]
    }


class Store:
    """Writes fixtures to `folder`, each in the place of an older one of its name."""

    def __init__(self, folder: Path, secret: str) -> None:
        self._folder = folder
        self._secret = secret
        self.fixtures = load(folder)

    def put(self, fixture: Fixture) -> None:
        """Write the body, then the manifest, so that a run that is cut leaves a whole set.

        Raises:
            LeakError: the key occurs in it.
        """
        fixtures = dict(sorted({**self.fixtures, fixture.name: fixture}.items()))
        entries = [each.entry() for each in fixtures.values()]
        manifest = json.dumps({"fixtures": entries}, indent=2) + "\n"
        own = json.dumps(fixture.entry())
        for text in (fixture.body.decode("latin-1"), own):
            if any(shares_a_part(form, self._secret) for form in (text, unquote(text))):
                raise LeakError("the key, or a part of it, would have been written")
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / fixture.file).write_bytes(fixture.body)
        (self._folder / MANIFEST).write_text(manifest, encoding="utf-8")
        old = self.fixtures.get(fixture.name)
        if old is not None and old.file != fixture.file:
            (self._folder / old.file).unlink()
        self.fixtures = fixtures
