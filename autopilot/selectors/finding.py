"""Finds selectors among the installed Twisted plug-ins."""

from collections.abc import Mapping

from twisted.plugin import getPlugins

from autopilot.interfaces import ISelector


class UnknownSelectorError(Exception):
    """No installed selector has the name that a setting gives; the text lists those found."""

    def __init__(self, setting: str, name: str, found: Mapping[str, ISelector]) -> None:
        names = ", ".join(sorted(found)) or "none"
        super().__init__(f"{setting}={name!r} is not accepted: the selectors found are: {names}")


def find_selectors(default: str, shadow: str = "") -> Mapping[str, ISelector]:
    """All installed selectors by name.

    Raises:
        UnknownSelectorError: none is called `default`, or none `shadow` where that is not empty.
    """
    found = {selector.name: selector for selector in getPlugins(ISelector)}
    if default not in found:
        raise UnknownSelectorError("SELECTOR", default, found)
    if shadow and shadow not in found:
        raise UnknownSelectorError("SHADOW_SELECTOR", shadow, found)
    return found
