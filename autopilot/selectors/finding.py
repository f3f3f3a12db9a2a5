"""Finds selectors among the installed Twisted plug-ins."""

from collections.abc import Iterable

from twisted.plugin import getPlugins

from autopilot.interfaces import ISelector


class UnknownSelectorError(Exception):
    """No installed selector has the name; the text lists those that were found."""

    def __init__(self, name: str, found: Iterable[str]) -> None:
        names = ", ".join(sorted(found)) or "none"
        super().__init__(f"SELECTOR={name!r} is not accepted: the selectors found are: {names}")


def find_selector(name: str) -> ISelector:
    """The selector called `name`.

    Raises:
        UnknownSelectorError: there is none of that name.
    """
    found = {selector.name: selector for selector in getPlugins(ISelector)}
    if name not in found:
        raise UnknownSelectorError(name, found)
    return found[name]
