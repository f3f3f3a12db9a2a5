"""Reads a number from JSON that somebody else wrote."""

import math


def figure(value: object) -> float | None:
    """A finite number >= 0, or None: bool is no number, NaN and infinities say nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
