"""Counting must not cost an answer: whatever goes wrong in it is logged, and that is all."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from twisted.logger import Logger

_log = Logger(namespace="autopilot.access")

P = ParamSpec("P")


def never_raises(method: Callable[P, None]) -> Callable[P, None]:
    """`method`, which counts or keeps something on the path of a request, as one that cannot fail it."""

    @wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception:  # noqa: BLE001 - whatever it is, the client has nothing to do with it
            _log.failure("counting failed")

    return guarded
