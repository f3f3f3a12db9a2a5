"""The routes that explain: to whom they are open, and that to everybody else they are not there."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from autopilot.interfaces import ISelector
from autopilot.policy.catalog import parse_utilization
from autopilot.policy.picture import Picture
from autopilot.policy.ranking import rank
from autopilot.policy.rules import Rules
from autopilot.selectors.capacity import Capacity
from autopilot.testing import AlphabeticSelector, FakeResponse, picture_of
from tests.web.harness import ALIAS, Answer, Bench, assert_refused, chat, head, post

TOKEN = "marked-token-of-the-operator"
CANDIDATES = "/autopilot/candidates"
EXPLAIN = "/autopilot/explain"
DECISION = "/autopilot/decisions/some-id"
ROUTES = [("GET", CANDIDATES), ("POST", EXPLAIN), ("GET", DECISION)]
BEARER = ("Authorization", f"Bearer {TOKEN}")
SELECTORS = {each.name: ISelector(each) for each in (Capacity(), AlphabeticSelector())}

Fields = Sequence[tuple[str, str]]


def asked(bench: Bench, method: str, path: str, fields: Fields = (), body: bytes = b"") -> Answer:
    request = post(body, fields, path=path, method=method) if body else head(method, path, fields)
    return bench.call(request, method)


def told(answer: Answer) -> Any:
    assert (answer.status, answer.header("content-type")) == (200, ["application/json"])
    return answer.json


def explained(bench: Bench, body: bytes, fields: Fields = ()) -> Any:
    return told(asked(bench, "POST", EXPLAIN, fields, body))


def traces(bench: Bench) -> object:
    """All that a request would have changed."""
    explainer: Any = bench.routing.explainer
    sticky: Any = bench.routing.sticky
    learned = explainer._learned
    return (
        len(bench.posted),
        bench.metrics.exposition(),
        bench.log.getvalue(),
        sticky._table.items(),
        learned.rests.items(),
        dict(learned.in_flight.counts),
        learned.observations.timings(now=bench.clock.seconds()),
    )


def without_its_id(answer: Answer) -> object:
    changing = {"x-request-id", "date"}
    fields = [pair for pair in answer.fields if pair[0].lower() not in changing]
    return answer.status, fields, answer.body


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", [CANDIDATES, EXPLAIN, DECISION, "/autopilot/", "/autopilot"])
def test_unless_they_are_opened_they_are_any_unknown_path(method: str, path: str) -> None:
    with Bench() as bench:
        unknown = asked(bench, method, "/v1/nothing", [BEARER])
        assert unknown.status == 404
        assert without_its_id(asked(bench, method, path, [BEARER])) == without_its_id(unknown)


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("Authorization", "Bearer marked-token-of-the-operato")],
        [("Authorization", f"Bearer {TOKEN}r")],
        [("Authorization", f"Basic {TOKEN}")],
        [("Authorization", TOKEN)],
        [("Authorization", "Bearer \u00e9")],
        [("Authorization", "Bearer another"), BEARER],
    ],
)
def test_whoever_does_not_know_the_token_is_refused(method: str, path: str, fields: Fields) -> None:
    with Bench(admin=TOKEN) as bench:
        answer = asked(bench, method, path, fields, chat(ALIAS) if method == "POST" else b"")
        assert_refused(answer, 401, "unauthorized")
        assert answer.header("www-authenticate") == ["Bearer"]
        assert TOKEN not in bench.log.getvalue()
        # Nor is he told which routes there are.
        unknown = asked(bench, method, "/autopilot/nothing", fields)
        assert without_its_id(unknown) == without_its_id(answer)


def test_the_token_opens_them_and_is_not_logged() -> None:
    with Bench(admin=TOKEN) as bench:
        assert told(asked(bench, "GET", CANDIDATES, [BEARER]))["worker"] == 3
        assert told(asked(bench, "POST", EXPLAIN, [BEARER], chat(ALIAS)))["mode"] == "alias"
        assert bench.log.getvalue() == ""
        assert asked(bench, "GET", "/autopilot/nothing", [BEARER]).status == 404
        assert asked(bench, "GET", EXPLAIN, [BEARER]).header("allow") == ["POST"]
        assert asked(bench, "HEAD", CANDIDATES, [BEARER]).status == 200


def test_the_scheme_is_read_in_any_case_and_the_path_in_any_spelling() -> None:
    with Bench(admin=TOKEN) as bench:
        fields = [("Authorization", f"bearer {TOKEN}")]
        assert asked(bench, "GET", "/%61utopilot/candidates", fields).status == 200
        assert asked(bench, "GET", "/%61utopilot/candidates").status == 401


def test_the_other_routes_ask_for_no_token() -> None:
    with Bench(FakeResponse().send(b"answer").end(), admin=TOKEN) as bench:
        assert bench.call(post(chat(ALIAS))).body == b"answer"
        for path in ("/healthz", "/readyz", "/metrics", "/v1/models"):
            assert asked(bench, "GET", path).status == 200


@pytest.mark.parametrize("token", ["", TOKEN])
def test_a_port_of_its_own_serves_nothing_else(token: str) -> None:
    fields = [BEARER] if token else []
    with Bench(admin=token, apart=True) as bench:
        assert asked(bench, "GET", CANDIDATES, fields).status == 200
        for method, path in [
            ("POST", "/v1/chat/completions"),
            ("GET", "/v1/models"),
            ("GET", "/metrics"),
            ("GET", "/healthz"),
            ("GET", "/"),
        ]:
            answer = asked(bench, method, path, fields, chat(ALIAS) if method == "POST" else b"")
            assert_refused(answer, 404, "not_found")
        assert bench.posted == []


def test_a_port_of_its_own_asks_for_the_token_if_there_is_one() -> None:
    with Bench(admin=TOKEN, apart=True) as bench:
        assert_refused(asked(bench, "GET", CANDIDATES), 401, "unauthorized")


class TestCandidates:
    """`GET /autopilot/candidates`."""

    def test_the_order_is_that_of_the_default_or_of_the_selector_that_is_named(self) -> None:
        picture = picture_of("org/two", "org/one")
        with Bench(admin="", picture=picture, selectors=SELECTORS) as bench:
            for query, selector, order in [
                ("", "capacity", ["org/two", "org/one"]),
                ("?selector=alphabetic", "alphabetic", ["org/one", "org/two"]),
                ("?selector=Alphabetic", "alphabetic", ["org/one", "org/two"]),
            ]:
                account = told(asked(bench, "GET", CANDIDATES + query))
                assert account["selector"] == selector
                assert account["selectors"] == ["alphabetic", "capacity"]
                rows = account["candidates"]
                assert [(row["rank"], row["model"]) for row in rows] == list(enumerate(order, 1))
            assert [row["terms"] for row in rows] == [{"place": 0.0}, {"place": 1.0}]

    def test_a_selector_that_is_not_there_is_a_bad_request_that_names_those_that_are(self) -> None:
        with Bench(admin="", selectors=SELECTORS) as bench:
            answer = asked(bench, "GET", f"{CANDIDATES}?selector=fastest")
            assert_refused(answer, 400, "bad_request", param="selector")
            assert "alphabetic, capacity" in answer.json["error"]["message"]

    @pytest.mark.parametrize("query", ["?select=x", "?selector=a&selector=b", "?selector=a&x=1"])
    def test_another_query_is_a_bad_request(self, query: str) -> None:
        with Bench(admin="", selectors=SELECTORS) as bench:
            assert_refused(asked(bench, "GET", CANDIDATES + query), 400, "bad_request")

    def test_it_says_how_old_the_picture_is_and_whether_the_router_is_ready(self) -> None:
        with Bench(admin="") as bench:
            bench.clock.advance(5.0)
            account = told(asked(bench, "GET", CANDIDATES))
            assert account["feed"] == {"fetched_s_ago": 5.0, "age_s": None, "rows": 0}
            assert account["catalog"] == {"fetched_s_ago": 5.0, "models": 2}
            assert (account["ready"], account["not_ready"]) == (True, None)
            bench.clock.advance(20.0)
            account = told(asked(bench, "GET", CANDIDATES))
            assert (account["ready"], account["not_ready"]) == (False, "stale_snapshot")

    @pytest.mark.parametrize("ratio", [0.0, 1e308])
    def test_figures_that_no_chute_can_have_are_still_told(self, ratio: float) -> None:
        feed = [
            {
                "name": "org/one",
                "active_instance_count": 1.7e308,
                "utilization_5m": 1e308,
                "rate_limit_ratio_5m": ratio,
            }
        ]
        utilization = parse_utilization(json.dumps(feed).encode()).utilization
        catalog = picture_of("org/one").catalog
        picture = Picture(
            catalog=catalog, utilization=utilization, candidates=rank(utilization, catalog)
        )
        with Bench(admin="", picture=picture) as bench:
            (candidate,) = told(asked(bench, "GET", CANDIDATES))["candidates"]
            assert candidate["contract"]["free_capacity"] == 0.0
            assert candidate["contract"]["penalty"] == (None if ratio else 0.0)
            assert candidate["contract"]["score"] == (None if ratio else 0.0)

    def test_it_shows_what_this_process_has_learned(self) -> None:
        with Bench(FakeResponse(503).end(), None, admin="") as bench:
            bench.client().ask(ALIAS)
            bench.clock.advance(0.5)
            rows = told(asked(bench, "GET", CANDIDATES))["candidates"]
            one, two = sorted(rows, key=lambda row: str(row["model"]))
            assert one["rest"] == {
                "resting": True,
                "cause": "brief",
                "seconds_left": 1.5,
                "probed": False,
            }
            assert one["observed"]["failure_share"] == {"mean": 1.0, "weight": 0.994}
            assert two["observed"]["failure_share"] is None
            assert (one["in_flight"], two["in_flight"], two["rest"]) == (0, 1, None)


class TestExplain:
    """`POST /autopilot/explain`."""

    def test_it_says_what_would_be_done_and_asks_nobody(self) -> None:
        with Bench(admin="") as bench:
            account = explained(bench, chat(ALIAS))
            assert account["mode"] == "alias"
            assert account["selector"] == "capacity"
            assert [row["model"] for row in account["order"]] == ["org/one", "org/two"]
            assert account["candidates"] == ["org/one", "org/two"]
            assert account["sticky"] == {"model": None, "place": "none", "weighed": None}
            assert account["refusal"] is None
            assert bench.posted == []

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (b"{", 400, "invalid_json"),
            (b'{"model": null}', 400, "missing_model"),
            (chat("nobody"), 400, "unknown_model"),
        ],
    )
    def test_a_refusal_is_told_as_a_value(self, body: bytes, status: int, code: str) -> None:
        with Bench(admin="") as bench:
            refusal = explained(bench, body)["refusal"]
            asked_for_real = bench.call(post(body))
            assert (refusal["status"], refusal["code"]) == (status, code)
            assert refusal["message"] == asked_for_real.json["error"]["message"]
            assert refusal["param"] == asked_for_real.json["error"]["param"]

    def test_a_direct_request_is_one_candidate_without_a_place(self) -> None:
        with Bench(admin="") as bench:
            account = explained(bench, chat("org/two"))
            assert (account["mode"], account["candidates"]) == ("direct", ["org/two"])
            assert account["sticky"] is None

    def test_it_leaves_no_trace(self) -> None:
        served = [FakeResponse(503).end(), *(FakeResponse().send(b"x").end() for _turn in range(2))]
        with Bench(*served, admin="") as bench:
            for key in ("one", "two"):
                bench.call(post(chat(ALIAS), [("Authorization", f"Bearer {key}")]))
            # The rest of the model that failed is over: a request would now probe it.
            bench.clock.advance(3.0)
            before = traces(bench)
            for _turn in range(3):
                account = explained(bench, chat(ALIAS), [("Authorization", "Bearer one")])
                explained(bench, b"{")
                asked(bench, "GET", CANDIDATES)
            assert account["sticky"]["model"] == "org/two"
            assert [row["rest"]["resting"] for row in account["order"] if row["rest"]] == [False]
            assert traces(bench) == before
            bench.client().ask("org/one, org/two")
            assert traces(bench) != before

    def test_a_place_is_looked_up_for_the_client_who_brings_his_key(self) -> None:
        served = FakeResponse().send(b"answer").end()
        mine, other = [("Authorization", "Bearer mine")], [("Authorization", "Bearer other")]
        with Bench(served, admin="") as bench:
            bench.call(post(chat("org/two, org/one"), mine))
            account = explained(bench, chat(ALIAS), mine)
            assert (account["sticky"]["model"], account["sticky"]["place"]) == ("org/two", "stayed")
            assert account["sticky"]["weighed"] == {
                "rival": "org/one",
                "disadvantage": 0.0,
                "cache": 0.0,
                "hysteresis": 0.25,
            }
            assert account["candidates"] == ["org/two", "org/one"]
            assert explained(bench, chat(ALIAS), other)["sticky"]["model"] is None

    def test_with_a_token_the_client_is_named_beside_it(self) -> None:
        served = FakeResponse().send(b"answer").end()
        with Bench(served, admin=TOKEN) as bench:
            bench.call(post(chat("org/two, org/one"), [("Authorization", "Bearer mine")]))
            for_mine = [BEARER, ("X-Chutes-Autopilot-Explain-For", "Bearer mine")]
            assert explained(bench, chat(ALIAS), for_mine)["sticky"]["model"] == "org/two"
            assert explained(bench, chat(ALIAS), [BEARER])["sticky"]["model"] is None


def decided(bench: Bench, request_id: str) -> Any:
    return told(asked(bench, "GET", f"/autopilot/decisions/{request_id}"))


class TestDecisions:
    """`GET /autopilot/decisions/{request id}`."""

    def test_a_request_that_is_over_is_told_to_the_end(self) -> None:
        served = FakeResponse().send(b"answer").end()
        with Bench(FakeResponse(503).end(), served, admin="", selectors=SELECTORS) as bench:
            bench.clock.advance(7.0)
            bench.call(post(chat(ALIAS), [("X-Request-ID", "mine/1")]))
            decision = decided(bench, "mine/1")
            terms = decision["candidates"][0].pop("terms")
            assert set(terms) == {"free_capacity", "scale_bonus", "penalty", "score"}
            decision["candidates"][1].pop("terms")
            assert decision == {
                "worker": 3,
                "request_id": "mine/1",
                "time": 7.0,
                "mode": "alias",
                "selector": "capacity",
                "candidates": [{"model": "org/one"}, {"model": "org/two"}],
                "sticky": {"model": None, "place": "none", "weighed": None},
                "attempts": [
                    {"model": "org/one", "outcome": "unavailable", "seconds": 0.0, "rest_s": 2.0},
                    {"model": "org/two", "outcome": "success", "seconds": 0.0, "rest_s": None},
                ],
                "selected": "org/two",
                "status": 200,
                "code": None,
                "end": "complete",
                "seconds": 0.0,
            }

    def test_one_that_was_refused_says_why(self) -> None:
        with Bench(admin="") as bench:
            bench.call(post(b"{", [("X-Request-ID", "bad")]))
            decision = decided(bench, "bad")
            assert (decision["mode"], decision["status"]) == ("none", 400)
            assert (decision["code"], decision["attempts"]) == ("invalid_json", [])

    def test_the_last_model_that_failed_is_the_clients_place_no_longer(self) -> None:
        mine = [("Authorization", "Bearer mine"), ("X-Request-ID", "second")]
        served = FakeResponse().send(b"answer").end()
        with Bench(served, FakeResponse(503).end(), admin="") as bench:
            bench.call(post(chat("org/two, org/one"), mine[:1]))
            bench.client().ask(ALIAS, mine)
            assert asked(bench, "GET", "/autopilot/decisions/second").status == 404
            for client in bench._clients:
                client.hang_up()
            decision = decided(bench, "second")
            assert decision["sticky"]["model"] == "org/two"
            outcomes = [attempt["outcome"] for attempt in decision["attempts"]]
            assert (outcomes, decision["status"]) == (["unavailable", "client_gone"], None)

    def test_nothing_of_the_client_s_is_in_it(self) -> None:
        secrets = ["marked-prompt", "marked-key", "marked-model", "192.0.2.77"]
        fields = [("Authorization", "Bearer marked-key"), ("X-Request-ID", "one")]
        served = FakeResponse().send(b"marked-answer").end()
        with Bench(served, admin="", picture=Picture()) as bench:
            body = chat("marked-model, marked-model-too", prompt="marked-prompt")
            client = bench.client("192.0.2.77").send(post(body, fields))
            assert client.answer().status == 200
            # Once more, with a place that has the client's own spelling.
            fields[1] = ("X-Request-ID", "two")
            bench.client("192.0.2.77").send(post(body, fields))
            bench._clients[-1].hang_up()
            for request_id in ("one", "two"):
                text = json.dumps(decided(bench, request_id))
                assert "other" in text
                assert [word for word in [*secrets, "marked"] if word in text] == []

    def test_a_rival_that_only_the_client_knows_is_other(self) -> None:
        served = FakeResponse().send(b"answer").end()
        with Bench(served, admin="", picture=Picture(), selectors=SELECTORS) as bench:
            bench.call(post(chat("marked-two, marked-one")))
            fields = [("X-Request-ID", "one"), ("X-Chutes-Autopilot-Selector", "alphabetic")]
            bench.client().ask("marked-two, marked-one", fields).hang_up()
            decision = decided(bench, "one")
            assert decision["sticky"]["weighed"]["rival"] == "other"
            assert "marked" not in json.dumps(decision)

    def test_nothing_is_kept_where_nobody_may_ask(self) -> None:
        with Bench(FakeResponse().send(b"answer").end()) as bench:
            bench.call(post(chat(ALIAS)))
            assert len(bench.decisions) == 0

    def test_another_id_is_not_found(self) -> None:
        with Bench(admin="") as bench:
            assert_refused(asked(bench, "GET", DECISION), 404, "not_found")


class TestFilters:
    """What constraints removed is told, whoever set them."""

    def test_the_operators_rules_hold_for_the_candidates(self) -> None:
        with Bench(admin="", rules=Rules(deny=("org/one",))) as bench:
            account = told(asked(bench, "GET", CANDIDATES))
            assert account["filters"] == [
                {"constraint": "DENY_MODELS", "before": 2, "removed": ["org/one"]}
            ]
            assert [row["model"] for row in account["candidates"]] == ["org/two"]

    def test_if_nobody_is_left_the_list_is_empty(self) -> None:
        with Bench(admin="", rules=Rules(allow=("nothing*",))) as bench:
            assert told(asked(bench, "GET", CANDIDATES))["candidates"] == []
            refusal = explained(bench, chat(ALIAS))["refusal"]
            assert (refusal["status"], refusal["code"]) == (503, "no_candidates")

    def test_wishes_of_body_and_header_are_told_with_what_they_removed(self) -> None:
        body = chat(ALIAS, provider={"ignore": ["org/one"]})
        wish = [("X-Chutes-Autopilot-Selector", "alphabetic")]
        with Bench(admin="", selectors=SELECTORS) as bench:
            account = explained(bench, body, wish)
            assert account["wishes"] == {"sort": "alphabetic", "ignore": ["org/one"]}
            assert account["selector"] == "alphabetic"
            assert account["filters"] == [
                {"constraint": "provider.ignore", "before": 2, "removed": ["org/one"]}
            ]
            assert account["candidates"] == ["org/two"]

    def test_a_wish_that_cannot_be_met_is_a_refusal_told_as_a_value(self) -> None:
        with Bench(admin="") as bench:
            refusal = explained(bench, chat(f"{ALIAS}:tee"))["refusal"]
            assert (refusal["status"], refusal["code"]) == (400, "impossible_wish")
            assert "tee" in refusal["message"]

    def test_needs_are_numbers_and_booleans_and_unknown_abilities_come_later(self) -> None:
        parts = [{"type": "image_url", "image_url": {"url": "data:,marked"}}]
        body = chat(ALIAS, messages=[{"role": "user", "content": parts}], temperature=0.5)
        with Bench(admin="") as bench:
            account = explained(bench, body)
            needs = account["needs"]
            assert needs["images"] is True
            assert {type(value) for value in needs.values()} == {int, bool}
            assert account["later"] == ["org/one", "org/two"]
            assert "marked" not in json.dumps(account)
