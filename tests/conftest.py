"""Fails a test that loses an error in a Deferred or leaves a delayed call, a reader or a writer.

pytest-twisted notices neither by itself.
"""

import gc
from collections.abc import Iterator
from typing import cast

import pytest
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorCore, IReactorFDSet, IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure


def pytest_collection_finish() -> None:
    """Leave what was imported out of the collections below, which then take next to nothing."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def what_stays() -> Iterator[None]:
    """The same of what outlives a module's tests: else the last ones would look at it all, each anew."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def lost_errors() -> Iterator[list[Failure]]:
    """The failures logged as critical in this test; one that expects them clears the list."""
    seen: list[Failure] = []

    def observe(event: LogEvent) -> None:
        # The old log.err, which Klein uses, has the failure under its old name only.
        failure = event.get("log_failure") or event.get("failure")
        if isinstance(failure, Failure) and event.get("log_level") is LogLevel.critical:
            seen.append(failure)

    observer = cast("ILogObserver", observe)
    globalLogPublisher.addObserver(observer)
    yield seen
    gc.collect()
    globalLogPublisher.removeObserver(observer)
    assert not seen, [failure.getTraceback() for failure in seen]


@pytest.fixture(autouse=True)
def clean_reactor() -> Iterator[None]:
    """Nothing that a test started on the real reactor outlives it."""
    time, descriptors = IReactorTime(reactor), IReactorFDSet(reactor)
    assert IReactorCore.providedBy(reactor)

    def alive() -> set[object]:
        # A call that has been cancelled or has run may still be listed for one turn.
        calls = {call for call in time.getDelayedCalls() if call.active()}
        open_: set[object] = {*descriptors.getReaders(), *descriptors.getWriters()}
        # The reactor's own wakers, which appear with the first test that it runs.
        wakers = {each for each in open_ if type(each).__module__ == "twisted.internet._signals"}
        return {*calls, *open_} - wakers

    before = alive()
    yield
    left = alive() - before
    assert not left, left
