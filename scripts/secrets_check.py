"""The secret scan: no key in what git tracks, nor in anything that it ever tracked.

The detectors are those of detect-secrets and our own for the platform's keys. The working tree is read
first, then every file, commit and tag that a ref reaches; a line is looked at once, so that the cost
grows with the changes and not with the number of versions. Findings that a person has looked at stand
in `scripts/secrets_reviewed.txt`, by their hash and with a reason. What was found is never printed.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path, PurePath

from detect_secrets.filters import heuristic
from detect_secrets.plugins.base import BasePlugin, RegexBasedDetector
from detect_secrets.plugins.ip_public import IPPublicDetector
from detect_secrets.settings import default_settings, get_plugins
from processes import ROOT
from secrets_chutes import ChutesKeyDetector

REVIEWED = "scripts/secrets_reviewed.txt"

_LINE_CHARACTERS = 4096
_OVERLAP_CHARACTERS = 512
"""Longer lines are looked at in pieces: some detectors' patterns take quadratic time."""

_ESCAPED = re.compile(r"%([0-7][0-9A-Fa-f])|\\u00([0-7][0-9A-Fa-f])")
_DIGEST = re.compile(r'"sha256": "[0-9a-f]{64}"')

_ENTRY = re.compile(r"(?P<sha256>[0-9a-f]{64}) (?P<reason>\S.*)")


class CannotScanError(Exception):
    """The scan would say nothing about the repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One text to look at; `name` is the object's id in git, or empty for the working tree."""

    path: str
    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Where something was found, and of what kind; the hash stands for what it is."""

    path: str
    line: int
    name: str
    kind: str
    sha256: str


class Repository:
    """What git knows of one directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def working_tree(self) -> Iterator[Source]:
        """The tracked files as they lie there; a symbolic link's target is a file of its own."""
        for path in self._git("ls-files", "-z").split(b"\0"):
            name = path.decode(errors="surrogateescape")
            file = self._root / name
            if name and file.is_file() and not file.is_symlink():
                yield Source(path=name, name="", text=_text(file.read_bytes()))

    def history(self) -> Iterator[Source]:
        """Each file, commit message and tag message that HEAD or a ref reaches.

        Raises:
            CannotScanError: in a shallow clone, whose history is not all there.
        """
        if self._git("rev-parse", "--is-shallow-repository").strip() == b"true":
            raise CannotScanError("a shallow clone: fetch the whole history first")
        listed = self._git("rev-list", "--objects", "--all", *self._head())
        paths = dict(_named(line) for line in listed.splitlines())
        contents = self._git("cat-file", "--batch", given=b"\n".join(paths))
        at = 0
        for name, path in paths.items():
            end = contents.index(b"\n", at)
            kind, size = contents[at:end].split(b" ")[1:]
            at = end + 1 + int(size) + 1
            if kind != b"tree":
                where = path.decode(errors="surrogateescape") or f"({kind.decode()})"
                yield Source(path=where, name=name.decode(), text=_text(contents[end + 1 : at - 1]))

    def commit_of(self, name: str) -> str:
        """The first commit that brought the object, or the object itself if it is no file."""
        log = self._git("log", "--all", "-m", *self._head(), f"--find-object={name}", "--format=%H")
        return log.decode().split()[-1] if log.strip() else name

    def _head(self) -> tuple[str, ...]:
        # HEAD may be detached, as it is in CI, or have no commit yet.
        return ("HEAD",) if self._git("rev-list", "-1", "--all") else ()

    def _git(self, *words: str, given: bytes = b"") -> bytes:
        command = ("git", "-c", "core.quotePath=false", *words)
        done = subprocess.run(
            command, cwd=self._root, input=given, capture_output=True, check=False
        )
        if done.returncode != 0:
            raise CannotScanError(_text(done.stderr).strip())
        return done.stdout


def _named(line: bytes) -> tuple[bytes, bytes]:
    name, _, path = line.partition(b" ")
    return name, path


def _text(content: bytes) -> str:
    # A key is ASCII: whatever else a file holds must not hide it, not the NULs of UTF-16 either.
    return content.replace(b"\0", b"").decode("utf-8", errors="replace")


class Scanner:
    """Looks at lines, at each one once for every type of file: detectors differ by type."""

    def __init__(self) -> None:
        with default_settings():
            self._detectors: list[BasePlugin] = [*get_plugins(), ChutesKeyDetector()]
        self._seen: set[tuple[str, str]] = set()

    def scan(self, source: Source) -> Iterator[Finding]:
        """What is in there that has not been looked at before."""
        suffix = PurePath(source.path).suffix
        # A name can be a key too; it stands for line 0.
        for number, whole in enumerate([source.path, *source.text.splitlines()]):
            for line in _spellings(whole):
                if (suffix, line) in self._seen:
                    continue
                self._seen.add((suffix, line))
                found = {
                    (kind, value) for kind, value in self._look(source.path, line) if value.strip()
                }
                for kind, value in sorted(found):
                    yield Finding(
                        path=source.path if number else "(a file name)",
                        line=number,
                        name=source.name,
                        kind=kind,
                        sha256=hashlib.sha256(value.encode()).hexdigest(),
                    )

    def _look(self, path: str, line: str) -> Iterator[tuple[str, str]]:
        for detector in self._detectors:
            for secret in detector.analyze_line(filename=path, line=line):
                value = secret.secret_value or ""
                if not _is_noise(detector, value, line):
                    yield secret.type, value


def _spellings(line: str) -> Iterator[str]:
    """The pieces of a line as it stands, and as it reads without the escapes of URLs and JSON."""
    plain = _ESCAPED.sub(lambda escape: chr(int(escape[1] or escape[2], 16)), line)
    for spelling in dict.fromkeys((line, plain)):
        yield from _pieces(spelling)


def _pieces(line: str) -> Iterator[str]:
    yield line[:_LINE_CHARACTERS]
    step = _LINE_CHARACTERS - _OVERLAP_CHARACTERS
    for start in range(step, len(line) - _OVERLAP_CHARACTERS, step):
        yield line[start : start + _LINE_CHARACTERS]


def _is_noise(detector: BasePlugin, value: str, line: str) -> bool:
    """Whether it cannot be a secret.

    A guess, by a word or by entropy, is dropped as the library's own filters do. The detectors of a
    known shape are not filtered: `call(key="...")` would count as an indirect reference, and a real
    key in it would be lost. An address is nobody's if it is not global: those of documentation
    (RFC 5737), loopback and the wildcard.
    """
    if isinstance(detector, IPPublicDetector):
        return not ip_address(value.partition(":")[0]).is_global
    return not isinstance(detector, RegexBasedDetector) and (
        # What a manifest calls a digest is public by its purpose.
        _DIGEST.search(line) is not None
        or heuristic.is_indirect_reference(line)
        or heuristic.is_likely_id_string(value, line, detector)
        or heuristic.is_not_alphanumeric_string(value)
        or heuristic.is_potential_uuid(value)
        or heuristic.is_prefixed_with_dollar_sign(value)
        or heuristic.is_sequential_string(value)
        or heuristic.is_templated_secret(value)
    )


def reviewed(root: Path) -> frozenset[str]:
    """The hashes of what a person has looked at.

    Raises:
        CannotScanError: for a line that is neither a comment nor a hash with a reason.
    """
    file = root / REVIEWED
    known = set()
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        if not line or line.startswith("#"):
            continue
        entry = _ENTRY.fullmatch(line)
        if entry is None:
            raise CannotScanError(f"{REVIEWED} wants a sha256 and a reason in each line")
        known.add(entry["sha256"])
    return frozenset(known)


def main() -> int:
    """Scan; 0 if there is nothing, 1 if there is, 2 if it cannot be told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path, nargs="?", default=ROOT)
    parser.add_argument(
        "--hashes", action="store_true", help=f"print the hashes that {REVIEWED} is made of"
    )
    options = parser.parse_args()
    root: Path = options.repository
    started = time.monotonic()
    repository, scanner = Repository(root), Scanner()
    sources = findings = 0
    try:
        known = reviewed(root)
        for part in (repository.working_tree(), repository.history()):
            for source in part:
                sources += 1
                for finding in scanner.scan(source):
                    if finding.sha256 in known:
                        continue
                    findings += 1
                    commit = f" commit {repository.commit_of(finding.name)}" if finding.name else ""
                    # Not by default: whoever reads a log could try short passwords against it.
                    sha256 = f" {finding.sha256}" if options.hashes else ""
                    print(f"{finding.path}:{finding.line}:{commit} {finding.kind}{sha256}")
    except CannotScanError as error:
        print(f"Cannot scan: {error}", file=sys.stderr)
        return 2
    seconds = time.monotonic() - started
    print(f"{findings} findings in {sources} files, commits and tags, {seconds:.1f} s")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
