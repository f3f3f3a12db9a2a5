"""Each fixture played to the router: what the platform says in its own words, and what the client gets.

The router is `tests.web.harness.Bench`, whose upstream answers with the status, the header fields and
the body of a fixture, and after it, where the router asks another model, with `GOOD`.
"""

from pathlib import Path

import pytest
from live_store import Fixture, load
from twisted.internet.defer import Deferred

from autopilot.controlplane.evidence import evidence_question
from autopilot.controlplane.fetch import Answer as Fetched
from autopilot.controlplane.publisher import Publisher
from autopilot.controlplane.state import RoutingState
from autopilot.labels import Feed
from autopilot.policy.catalog import PRIVATE_NAME
from autopilot.policy.evidence import judge_evidence
from autopilot.policy.rest import BRIEF_SECONDS, COLD_SECONDS, MAX_REST
from autopilot.testing import FakeResponse, at_once
from tests.controlplane.test_evidence import Bench as EvidenceBench
from tests.web.harness import ALIAS, Answer, Bench, chat, post

FIXTURES = load(Path(__file__).parents[2] / "testdata" / "chutes_live")
GOOD = b"good"
KEY = "cpk_fake"
PASSED = [
    "chat-wrong-key-401",
    "chat-403",
    "chat-no-key-429",
    "chat-edge-429",
    "chat-account-429",
    "chat-text-402",
    "chat-object-402",
    "chat-invalid-400",
    "chat-404",
]
STOPPING = ["chat-no-key-429", "chat-edge-429", "chat-account-429"]
MOVING = {
    "chat-capacity-429": BRIEF_SECONDS,
    "chat-cold-503": COLD_SECONDS,
    "chat-disabled-503": MAX_REST,
    "chat-exhausted-500": BRIEF_SECONDS,
    "chat-infrastructure-500": BRIEF_SECONDS,
    "chat-result-500": BRIEF_SECONDS,
    "chat-500": BRIEF_SECONDS,
    "chat-502": BRIEF_SECONDS,
    "chat-504": BRIEF_SECONDS,
    "chat-model-404": MAX_REST,
    "chat-chute-404": MAX_REST,
    "chat-stream-error": BRIEF_SECONDS,
}
ANSWERS = ["chat-document", "chat-stream", "chat-stream-late-error"]
FEEDS = ["catalogue", "utilization"]
EVIDENCE = [name for name in FIXTURES if name.startswith("evidence-")]


def response(fixture: Fixture) -> FakeResponse:
    fields = [(name.encode(), value.encode()) for name, value in fixture.headers.items()]
    length = None if fixture.file.endswith(".sse") else len(fixture.body)
    return FakeResponse(fixture.status, fields, length).send(fixture.body).end()


def good() -> FakeResponse:
    return FakeResponse().send(GOOD).end()


def ask(bench: Bench, *, stream: bool = True) -> Answer:
    client = bench.client()
    client.send(post(chat(ALIAS, stream=stream), [("Authorization", f"Bearer {KEY}")]))
    answer = client.answer()
    client.hang_up()
    return answer


def rests(bench: Bench) -> float:
    return sum(
        sample.value
        for family in bench.registry.collect()
        for sample in family.samples
        if sample.name == "autopilot_rests_total"
    )


def test_no_fixture_is_left_out() -> None:
    played = [*PASSED, *MOVING, *ANSWERS, *FEEDS, *EVIDENCE]
    assert sorted(played) == sorted(FIXTURES)


@pytest.mark.parametrize("name", PASSED)
def test_what_blames_the_caller_is_passed_through_unchanged_and_once(name: str) -> None:
    fixture = FIXTURES[name]
    with Bench(response(fixture), good()) as bench:
        answer = ask(bench)
        assert (answer.status, answer.body, answer.whole) == (fixture.status, fixture.body, True)
        assert answer.header("content-type") == [fixture.headers["content-type"]]
        assert answer.header("x-should-retry") == (["false"] if name in STOPPING else [])
        assert bench.asked == ["org/one"]
        assert rests(bench) == 0


@pytest.mark.parametrize("name", ["chat-text-402", "chat-object-402"])
@pytest.mark.parametrize("style", ["json", "text"])
def test_the_text_of_a_402_reaches_no_log_and_no_metric(name: str, style: str) -> None:
    with Bench(response(FIXTURES[name]), log_style=style) as bench:
        answer = ask(bench)
        assert b"detail" in answer.body
        seen = bench.log.getvalue() + bench.metrics.exposition().decode()
        assert "402" in bench.log.getvalue()
        for word in ("5FakePaymentAddress", "balance", "tao", "quota", KEY):
            assert word not in seen.lower() + seen


@pytest.mark.parametrize("name", MOVING)
def test_what_blames_the_model_moves_on_and_lets_it_rest(name: str) -> None:
    fixture = FIXTURES[name]
    with Bench(response(fixture), good(), good(), good()) as bench:
        answer = ask(bench)
        assert (answer.status, answer.body) == (200, GOOD)
        assert bench.asked == ["org/one", "org/two"]
        assert rests(bench) == 1
        # Another client, since this one now sticks to the second model.
        bench.clock.advance(MOVING[name] - 0.1)
        bench.client("192.0.2.8").ask(ALIAS, [("Authorization", "Bearer another")])
        assert bench.asked[2] == "org/two"
        bench.clock.advance(0.2)
        bench.client("192.0.2.9").ask(ALIAS, [("Authorization", "Bearer third")])
        assert bench.asked[3] == "org/one"


@pytest.mark.parametrize("name", ["chat-capacity-429", "chat-cold-503", "chat-model-404"])
def test_where_every_model_says_so_the_last_ones_words_are_passed_through(name: str) -> None:
    fixture = FIXTURES[name]
    with Bench(response(fixture), response(fixture)) as bench:
        answer = ask(bench)
        assert (answer.status, answer.body) == (fixture.status, fixture.body)
        assert bench.asked == ["org/one", "org/two"]


@pytest.mark.parametrize("name", ["chat-document", "chat-stream"])
def test_an_answer_is_relayed_byte_for_byte(name: str) -> None:
    fixture = FIXTURES[name]
    with Bench(response(fixture), good()) as bench:
        answer = ask(bench, stream=name == "chat-stream")
        assert (answer.status, answer.body, answer.whole) == (200, fixture.body, True)
        assert bench.asked == ["org/one"]


def test_a_late_error_is_relayed_and_the_stream_is_visibly_broken() -> None:
    fixture = FIXTURES["chat-stream-late-error"]
    with Bench(response(fixture), good()) as bench:
        answer = ask(bench)
        assert (answer.status, answer.whole) == (200, False)
        assert answer.body == fixture.body
        assert bench.asked == ["org/one"]


def test_the_feeds_make_a_picture_without_a_loss() -> None:
    state = RoutingState()
    publisher = Publisher(state, parsing=at_once, monotonic=lambda: 0.0)
    for feed, name in ((Feed.CATALOG, "catalogue"), (Feed.UTILIZATION, "utilization")):
        published = Deferred.fromCoroutine(publisher.publish(feed, FIXTURES[name].body))
        assert not published.result
    picture = state.picture
    assert picture.order
    assert set(picture.order) <= set(picture.catalog.by_id)
    assert PRIVATE_NAME not in picture.order
    with Bench(good(), picture=picture) as bench:
        assert ask(bench).status == 200
        assert bench.asked == [picture.order[0]]


@pytest.mark.parametrize("name", EVIDENCE)
def test_each_answer_about_evidence_is_the_outcome_that_it_is_named_for(name: str) -> None:
    fixture = FIXTURES[name]
    bench = EvidenceBench()
    asking = bench.ask(evidence_question("http://api.test", "a-chute", "0" * 64), limit=1_000_000)
    fields = "".join(f"{key}: {value}\r\n" for key, value in fixture.headers.items())
    bench.net.accept().answer(
        fixture.body, status=b"%d Word" % fixture.status, fields=fields.encode()
    )
    answer = asking.result
    assert isinstance(answer, Fetched)
    assert f"evidence-{judge_evidence(answer.status, answer.body).outcome}" == name
