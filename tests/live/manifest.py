"""What must hold of any folder of fixtures, written by hand or by a live run."""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

FIELDS = {"name", "request", "status", "headers", "file", "sha256"}
DATE = re.compile(r"\d{4}-\d\d-\d\d")


def entries(folder: Path) -> list[dict[str, Any]]:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest) == {"fixtures"}
    found: list[dict[str, Any]] = manifest["fixtures"]
    return found


def flaws(folder: Path) -> list[str]:
    """Where manifest and files do not agree."""
    found = []
    listed = entries(folder)
    for entry in listed:
        name = entry.get("name", "?")
        path = folder / str(entry.get("file"))
        if not path.is_file():
            found.append(f"{name}: no file")
        elif sha256(path.read_bytes()).hexdigest() != entry.get("sha256"):
            found.append(f"{name}: another sha256")
        if entry.get("representative") is not True and not DATE.fullmatch(
            str(entry.get("captured_at"))
        ):
            found.append(f"{name}: neither representative nor captured")
        origin = {"representative", "captured_at"} & set(entry)
        if len(origin) != 1 or set(entry) - origin != FIELDS:
            found.append(f"{name}: other fields")
    names = [entry.get("name") for entry in listed]
    if len(set(names)) != len(names):
        found.append("a name occurs twice")
    files = {path.name for path in folder.iterdir()} - {"manifest.json", "README.md"}
    found += [f"{left}: not in the manifest" for left in files - {e.get("file") for e in listed}]
    return sorted(found)
