"""The `openai` SDK and curl before every fault: neither takes an answer for whole that is not.

curl is the judge of framing: a broken answer has to end it with an error, and a whole one without. The
SDK has to return all events that came, and then to raise. All runs happen together, before the first
test that wants one; the tests only compare.
"""

import gc
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_twisted  # type: ignore[import-untyped]
from lab_wire import without_event
from twisted.internet.defer import ensureDeferred

from autopilot.simulator.misbehaving.answers import DONE
from tests.e2e.curl import CURL, PARTIAL_FILE, RECEIVE_ERROR
from tests.lab.client_faults import DRAINED, FAULTS, GZIP, OVERDUE, REDIRECT, Fault, Verdict
from tests.lab.client_runs import DECODING, Observed, observe, runs
from tests.lab.real_clients import CurlSaw, SdkSaw

pytestmark = pytest.mark.skipif(CURL is None, reason="curl is not installed")

CLASSES: Mapping[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    502: openai.InternalServerError,
    503: openai.InternalServerError,
    504: openai.InternalServerError,
}
"""What the SDK raises for a status; for any other it is their common base."""

CASES = [pytest.param(fault, id=fault.id) for fault in (*FAULTS, OVERDUE, DRAINED)]


@pytest.fixture(scope="module")
def observed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Observed:
    """What was seen of the faults whose tests have been selected, and of those that redirect."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    selected = {
        item.callspec.params["fault"]
        for item in items
        if item.function is test_no_client_takes_an_answer_for_what_it_is_not
    }
    wanted = [run for run in runs() if run.fault in selected or run.fault.row == REDIRECT]
    folder: Path = tmp_path_factory.mktemp("clients")
    seen = pytest_twisted.blockon(ensureDeferred(observe(folder, wanted)))
    assert isinstance(seen, Observed)
    # Each test ends with a collection, which need not walk through all of this every time.
    gc.collect()
    gc.freeze()
    return seen


@pytest.mark.parametrize("fault", CASES)
def test_no_client_takes_an_answer_for_what_it_is_not(observed: Observed, fault: Fault) -> None:
    right = fault.verdict
    outcomes = observed.outcomes[fault]
    assert outcomes
    for client, outcome in outcomes.items():
        saw = outcome.saw
        if isinstance(saw, CurlSaw):
            judge_curl(right, saw, decoding=client == DECODING)
        elif fault.row == REDIRECT:
            judge_redirected(saw)
        elif right.status // 100 == 2:
            judge_answer(right, saw, streams=fault.case.streams)
        else:
            judge_refusal(right, saw)
        assert len(outcome.second) == right.second, client
        if fault.first:
            assert [asked.reused for asked in outcome.first] == [True, False], client


def test_the_sdk_follows_a_redirect_and_takes_no_token_along(observed: Observed) -> None:
    """The router follows none. The SDK does so by itself, and strips what is not for another host."""
    methods = [asked.head.split()[0] for asked in observed.elsewhere]
    assert sorted(methods) == [b"GET"] * 4 + [b"POST"] * 4
    for asked in observed.elsewhere:
        assert b"authorization" not in asked.head.lower()


def judge_curl(right: Verdict, saw: CurlSaw, *, decoding: bool) -> None:
    assert saw.status == right.status
    if right.complete:
        assert saw.exit_code == 0
    else:
        assert saw.exit_code in {PARTIAL_FILE, RECEIVE_ERROR}
    if right.body is None:
        assert_ours(right, json.loads(saw.body))
        return
    if right.complete or right.code is None:
        came, code = saw.body, None
    else:
        came, code = without_event(saw.body)
    assert came == (plain(right) if decoding else right.body)
    assert code == (None if right.complete else right.code)


def judge_answer(right: Verdict, saw: SdkSaw, *, streams: bool) -> None:
    if not streams:
        assert saw.objects == ([json.loads(right.body or b"")] if right.complete else [])
        if right.complete:
            assert saw.raised is None
        else:
            assert_raised(saw, openai.APIConnectionError)
        return
    objects, told, done = events(plain(right))
    assert saw.objects == objects
    if told is not None:
        error = assert_raised(saw, openai.APIError)
        assert error.message == told
    elif right.complete or done:
        # What comes after [DONE] the SDK does not read: it has all of the answer.
        assert saw.raised is None
    elif right.code is not None:
        error = assert_raised(saw, openai.APIError)
        assert error.code == right.code
    else:
        assert_raised(saw, openai.APIConnectionError)


def judge_refusal(right: Verdict, saw: SdkSaw) -> None:
    assert saw.objects == []
    if not right.complete:
        # The SDK lets the failure of its HTTP library through here.
        assert isinstance(saw.raised, Exception)
        assert not isinstance(saw.raised, openai.APIStatusError)
        return
    error = assert_raised(saw, CLASSES.get(right.status, openai.APIStatusError))
    assert isinstance(error, openai.APIStatusError)
    assert error.status_code == right.status
    if right.body is None:
        assert_ours(right, error.response.json())
    else:
        assert error.response.content == right.body


def judge_redirected(saw: SdkSaw) -> None:
    """The SDK was elsewhere, and tells what it was told there."""
    assert saw.objects == []
    assert_raised(saw, openai.PermissionDeniedError)


def assert_raised(saw: SdkSaw, wanted: type[openai.APIError]) -> openai.APIError:
    error = saw.raised
    assert type(error) is wanted, repr(error)
    assert isinstance(error, openai.APIError)
    return error


def assert_ours(right: Verdict, document: Any) -> None:
    error = document["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == right.code if right.code else error["code"].startswith("upstream_")


def plain(right: Verdict) -> bytes:
    body = right.body or b""
    return (
        zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body) if right.encoding == GZIP else body
    )


def events(body: bytes) -> tuple[Sequence[Any], str | None, bool]:
    """The whole events, the message of the error event that ends them, and whether [DONE] does."""
    objects: list[Any] = []
    *whole, _rest = body.split(b"\n\n")
    for each in whole:
        if not each.startswith(b"data: "):
            continue
        if each + b"\n\n" == DONE:
            return objects, None, True
        payload = json.loads(each.removeprefix(b"data: "))
        if "error" in payload:
            return objects, payload["error"]["message"], False
        objects.append(payload)
    return objects, None, False


def test_nothing_was_logged_that_should_not_be(observed: Observed) -> None:
    assert observed.complaints == []
    assert observed.canaries == set()
