"""What a client is told of how its answer came about: who was asked in turn, and whose the time was."""

from collections.abc import Sequence

from autopilot.policy.headers import field_value

MAX_ATTEMPTS_BYTES = 1_024
"""Longest account of attempts: a dozen usual ones. A proxy on the way may refuse a head that grows."""

_CUT = b"..."


def attempts_value(attempts: Sequence[tuple[str, str]]) -> bytes:
    """Model and outcome of each attempt in order: `org/a;capacity, org/b;success`.

    A comma or a semicolon in a name is percent-encoded, as is whatever a header cannot hold. Of an
    account that is too long the beginning is left out, and `...` stands for it: the end says who
    answered.
    """
    told: list[bytes] = []
    room = MAX_ATTEMPTS_BYTES
    for model, outcome in reversed(attempts):
        item = b"%s;%s" % (_name(model), outcome.encode("ascii"))
        room -= len(item) + 2
        if room < 0:
            told.append(_CUT)
            break
        told.append(item)
    return b", ".join(reversed(told))


def timing_value(*, own: float, upstream: float) -> bytes:
    """The two shares of the time before the first byte, in seconds, as `Server-Timing` has them."""
    milliseconds = max(own, 0.0) * 1e3, max(upstream, 0.0) * 1e3
    return b"autopilot;dur=%.2f, upstream;dur=%.2f" % milliseconds


def _name(model: str) -> bytes:
    return field_value(model).replace(b",", b"%2C").replace(b";", b"%3B")
