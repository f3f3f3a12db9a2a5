"""The fixtures that every test here uses do fail a test: each is tried on a test file of its own.

In a process of its own: the fixtures watch the reactor, of which there is one per process.
"""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).with_name("conftest.py")
IMPORTS = """
import gc
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python import log
from twisted.python.failure import Failure
"""


def run(pytester: pytest.Pytester, body: str) -> pytest.RunResult:
    """Run one test with that body, under this project's conftest."""
    pytester.makeconftest(CONFTEST.read_text())
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    pytester.makepyfile(f"{IMPORTS}\ndef test_it(lost_errors):\n{lines}\n")
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=60)


@pytest.mark.parametrize(
    "body",
    [
        "fail(ValueError('of a Deferred'))",
        "try:\n    raise ValueError('of a Deferred')\nexcept ValueError:\n    fail()",
        # One that only the collector of cycles finds.
        "lost = fail(ValueError('of a Deferred'))\nlost.itself = lost",
        "Deferred().addCallback(lambda _: 1 / 0).callback(None)",
        "Logger().failure('in a callback', Failure(ValueError('of a Deferred')))",
        # As Klein logs what a route raises.
        "log.err(Failure(ValueError('of a Deferred')), 'Unhandled Error')",
    ],
)
def test_a_test_that_loses_an_error_is_failed(pytester: pytest.Pytester, body: str) -> None:
    result = run(pytester, body)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.re_match_lines([r".*at teardown of test_it.*", r"E .*(of a Deferred|division).*"])


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("reactor.callLater(10, print)", "DelayedCall"),
        ("reactor.callLater(0, print)", "DelayedCall"),
        ("reactor.listenTCP(0, Factory(), interface='127.0.0.1')", "Port"),
    ],
)
def test_a_test_that_leaves_something_on_the_reactor_is_failed(
    pytester: pytest.Pytester, body: str, left: str
) -> None:
    result = run(pytester, body)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.re_match_lines([r".*at teardown of test_it.*", rf"E .*{left}.*"])


def test_a_test_that_cleans_up_is_not(pytester: pytest.Pytester) -> None:
    body = """reactor.callLater(10, print).cancel()
fail(ValueError()).addErrback(lambda failure: None)
fail(ValueError())
gc.collect()
assert len(lost_errors) == 1
lost_errors.clear()"""
    run(pytester, body).assert_outcomes(passed=1)
