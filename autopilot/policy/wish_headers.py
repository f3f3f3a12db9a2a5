"""Wishes in header fields, for those who cannot change a body. None of these fields goes upstream."""

from collections.abc import Collection
from typing import NamedTuple

from autopilot.policy.errors import Code, Refusal
from autopilot.policy.headers import OWN_PREFIX, Fields
from autopilot.policy.wishes import TEE, Wishes, listed, shown

SELECTOR = OWN_PREFIX + b"selector"
REQUIRE = OWN_PREFIX + b"require"
MAX_ATTEMPTS = OWN_PREFIX + b"max-attempts"

_SHORTEST = len(OWN_PREFIX)
_NAMES = (SELECTOR, REQUIRE, MAX_ATTEMPTS)


class Accepted(NamedTuple):
    """What may be asked for: the names of the selectors, and how many attempts at most."""

    selectors: Collection[str]
    attempts: int


def header_wishes(fields: Fields, accepted: Accepted) -> list[tuple[str, Wishes]]:
    """The wishes in a request's header fields, each with the words for `autopilot.policy.wishes.merge`.

    Raises:
        Refusal: `invalid_wish` for a value that is not accepted, or a field of ours that there is not.
    """
    said: list[tuple[str, Wishes]] = []
    for name, value in fields:
        # Most names are shorter than ours, and this is done for every request.
        if len(name) < _SHORTEST or not (low := name.lower()).startswith(OWN_PREFIX):
            continue
        if low not in _NAMES:
            raise Refusal(
                Code.INVALID_WISH,
                f"The request header {_shown(low)} is not known. Those known are: "
                f"{listed(known.decode() for known in _NAMES)}.",
            )
        text = value.decode("latin-1").strip(" \t")
        said.append((f"the header '{low.decode()}'", _wishes(low, text, accepted)))
    return said


def _wishes(name: bytes, text: str, accepted: Accepted) -> Wishes:
    if name == SELECTOR:
        if text.lower() not in accepted.selectors:
            raise _refused(name, text, f"one of {listed(sorted(accepted.selectors))}")
        return Wishes(sort=text.lower())
    if name == REQUIRE:
        words = {word.strip(" \t").lower() for word in text.split(",")}
        if words != {TEE}:
            raise _refused(name, text, f"comma-separated words, of which there is one: {TEE}")
        return Wishes(tee=True)
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(accepted.attempts))):
        raise _refused(name, text, f"a whole number from 1 to {accepted.attempts}")
    if not 1 <= int(text) <= accepted.attempts:
        raise _refused(name, text, f"a whole number from 1 to {accepted.attempts}")
    return Wishes(attempts=int(text))


def _refused(name: bytes, text: str, accepted: str) -> Refusal:
    return Refusal(
        Code.INVALID_WISH,
        f"The request header '{name.decode()}' says {shown(text)}, which is not accepted: expected "
        f"{accepted}.",
    )


def _shown(name: bytes) -> str:
    return shown(name.decode("latin-1"))
