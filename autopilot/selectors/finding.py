"""Finds selectors among the installed Twisted plug-ins."""

from collections.abc import Mapping

from twisted.plugin import getPlugins

from autopilot.interfaces import ISelector


class SelectorError(Exception):
    """The installed selectors are not what the settings need; the text says why."""


class UnknownSelectorError(SelectorError):
    """No installed selector has the name that a setting gives; the text lists those found."""

    def __init__(self, setting: str, name: str, found: Mapping[str, ISelector]) -> None:
        names = ", ".join(sorted(found)) or "none"
        super().__init__(f"{setting}={name!r} is not accepted: the selectors found are: {names}")


def find_selectors(default: str, shadow: str = "") -> Mapping[str, ISelector]:
    """All installed selectors by name.

    Raises:
        UnknownSelectorError: none is called `default`, or none `shadow` where that is not empty.
        SelectorError: two have the same name, so that nobody knows which is meant.
    """
    found: dict[str, ISelector] = {}
    for selector in getPlugins(ISelector):
        # Settings and wishes are compared in lower case.
        name = selector.name.lower()
        if name in found:
            raise SelectorError(
                f"two installed selectors are called {name!r}: {_whose(found[name])} and "
                f"{_whose(selector)}; remove one of them"
            )
        found[name] = selector
    if default not in found:
        raise UnknownSelectorError("SELECTOR", default, found)
    if shadow and shadow not in found:
        raise UnknownSelectorError("SHADOW_SELECTOR", shadow, found)
    return found


def _whose(selector: ISelector) -> str:
    kind = type(selector)
    return f"{kind.__module__}.{kind.__qualname__}"
