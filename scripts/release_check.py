"""The release check: a tag, the version in the code and the changelog say the same."""

import argparse
import re
import sys

from processes import ROOT

from autopilot import __version__

CHANGELOG = ROOT / "CHANGELOG.md"


def disagreements(tag: str, version: str, changelog: str) -> list[str]:
    """What keeps `tag` from being a release of `version`; nothing if it may be one."""
    found = []
    if tag != f"v{version}":
        found.append(f"the tag is {tag}, and the version of the code wants v{version}")
    heading = re.compile(rf"^## \[?{re.escape(version)}\]?(?: .*)?$", re.MULTILINE)
    section = heading.search(changelog)
    if section is None:
        found.append(f"CHANGELOG.md has no section {version}")
    elif not changelog[section.end() :].partition("\n## ")[0].strip():
        found.append(f"the section {version} of CHANGELOG.md is empty")
    return found


def main() -> int:
    """Check the tag that is given; the exit code is 1 if something disagrees."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tag")
    found = disagreements(
        parser.parse_args().tag, __version__, CHANGELOG.read_text(encoding="utf-8")
    )
    for each in found:
        print(f"No release: {each}.", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
