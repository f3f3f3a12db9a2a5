"""Finds selectors among the installed Twisted plug-ins."""

from collections.abc import Mapping

from twisted.plugin import getPlugins

from autopilot.interfaces import ISelector


class UnknownSelectorError(Exception):
    """No installed selector has the name; the text lists those that were found."""

    def __init__(self, name: str, found: Mapping[str, ISelector]) -> None:
        names = ", ".join(sorted(found)) or "none"
        super().__init__(f"SELECTOR={name!r} is not accepted: the selectors found are: {names}")


def find_selectors(default: str) -> Mapping[str, ISelector]:
    """All installed selectors by name.

    Raises:
        UnknownSelectorError: none is called `default`.
    """
    found = {selector.name: selector for selector in getPlugins(ISelector)}
    if default not in found:
        raise UnknownSelectorError(default, found)
    return found
