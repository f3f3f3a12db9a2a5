"""The routes beside the router itself: what is served, with which status, type and method."""

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from autopilot.policy.catalog import Catalog, Utilization
from autopilot.policy.picture import Picture
from autopilot.testing import FakeResponse, picture_of
from tests.web.harness import (
    ALIAS,
    CHAT,
    COMPLETIONS,
    MAX_AGES,
    Bench,
    assert_refused,
    chat,
    head,
    post,
)

GOOD = picture_of("org/one", "org/two")
PAGES = ["/v1/models", "/v1/models/org/one", "/healthz", "/readyz", "/metrics"]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_both_completion_routes_send_the_request_to_the_same_path_upstream(path: str) -> None:
    with Bench(FakeResponse().send(b"answer").end()) as bench:
        answer = bench.call(post(chat(ALIAS), path=path))
        assert (answer.status, answer.body, answer.whole) == (200, b"answer", True)
        assert [posted.path for posted in bench.posted] == [path]


def test_a_query_string_does_not_go_upstream() -> None:
    with Bench(FakeResponse().send(b"answer").end()) as bench:
        assert bench.call(post(chat(ALIAS), path=f"{CHAT}?key=value")).status == 200
        assert bench.posted[0].path == CHAT


def test_the_model_list_has_the_aliases_first_and_then_the_catalogue_as_it_came() -> None:
    with Bench(aliases=(ALIAS, "other")) as bench:
        answer = bench.client().get("/v1/models")
        assert answer.status == 200
        assert answer.header("content-type") == ["application/json"]
        assert answer.json["object"] == "list"
        assert [entry["id"] for entry in answer.json["data"]] == [
            ALIAS,
            "other",
            "org/one",
            "org/two",
        ]
        assert answer.json["data"][0]["object"] == "model"
        assert b'{"id":"org/one"}' in answer.body


def test_the_model_list_follows_the_catalogue() -> None:
    with Bench() as bench:
        bench.client().get("/v1/models")
        bench.source.picture = picture_of("org/three")
        entries = bench.client().get("/v1/models").json["data"]
        assert [entry["id"] for entry in entries] == [ALIAS, "org/three"]


@pytest.mark.parametrize("name", ["org/one", "org%2Fone", "org%2fone", "%6Frg/one"])
def test_one_model_is_found_by_its_id_however_the_slash_is_spelled(name: str) -> None:
    with Bench() as bench:
        answer = bench.client().get(f"/v1/models/{name}")
        assert (answer.status, answer.body) == (200, b'{"id":"org/one"}')
        assert answer.header("content-type") == ["application/json"]


@pytest.mark.parametrize("name", [ALIAS, ALIAS.replace("/", "%2F")])
def test_an_alias_is_a_model_of_the_list(name: str) -> None:
    with Bench() as bench:
        answer = bench.client().get(f"/v1/models/{name}")
        assert (answer.status, answer.json["id"]) == (200, ALIAS)


@pytest.mark.parametrize("name", ["org", "org/three", "org/one/", "org//one", "ORG/ONE", "%20"])
def test_an_id_that_is_not_in_the_catalogue_is_not_found(name: str) -> None:
    with Bench() as bench:
        assert_refused(bench.client().get(f"/v1/models/{name}"), 404, "not_found")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/org/one", f"/v1/models/{ALIAS}"])
@pytest.mark.parametrize("answered_empty", [False, True])
def test_before_the_first_catalogue_the_models_are_not_ready(
    path: str, *, answered_empty: bool
) -> None:
    with Bench(picture=Picture(catalog_answered_empty=answered_empty)) as bench:
        assert_refused(bench.client().get(path), 503, "not_ready")


def test_healthz_says_ok_even_when_nothing_is_known() -> None:
    with Bench(picture=Picture()) as bench:
        answer = bench.client().get("/healthz")
        assert (answer.status, answer.body) == (200, b"ok")
        assert answer.header("content-type") == ["text/plain; charset=utf-8"]


def test_readyz_says_ready() -> None:
    with Bench() as bench:
        answer = bench.client().get("/readyz")
        assert (answer.status, answer.body) == (200, b"ready")
        assert answer.header("content-type") == ["text/plain; charset=utf-8"]


def test_readyz_gives_the_first_reason_that_applies() -> None:
    """From nothing known to ready: each step mends the first fault and leaves all later ones."""
    late = MAX_AGES.catalog + 1.0
    catalog_only = Picture(catalog=GOOD.catalog, catalog_fetched_at=0.0)
    steps = [
        (Picture(), "missing_allowlist"),
        (Picture(catalog_answered_empty=True), "allowlist_empty"),
        (catalog_only, "stale_allowlist"),
        (replace(catalog_only, catalog_fetched_at=late), "no_snapshot"),
        (
            replace(
                catalog_only,
                catalog_fetched_at=late,
                utilization=Utilization(chutes=()),
                utilization_fetched_at=0.0,
            ),
            "no_candidates",
        ),
        (replace(GOOD, catalog_fetched_at=late, utilization_fetched_at=0.0), "stale_snapshot"),
    ]
    with Bench() as bench:
        bench.clock.advance(late)
        for picture, code in steps:
            bench.source.picture = picture
            assert_refused(bench.client().get("/readyz"), 503, code)


@pytest.mark.parametrize(
    ("catalog", "utilization", "code"),
    [
        (1000.0 - MAX_AGES.catalog, 1000.0, "stale_allowlist"),
        (1000.0, 1000.0 - MAX_AGES.utilization, "stale_snapshot"),
    ],
)
def test_readyz_turns_just_after_the_age_limit(
    catalog: float, utilization: float, code: str
) -> None:
    with Bench() as bench:
        bench.clock.advance(1000.0)
        bench.source.picture = replace(
            GOOD, catalog_fetched_at=catalog, utilization_fetched_at=utilization
        )
        assert bench.client().get("/readyz").status == 200
        bench.clock.advance(0.001)
        assert_refused(bench.client().get("/readyz"), 503, code)


def test_aliases_are_routed_however_stale_the_picture_is() -> None:
    with Bench(FakeResponse().send(b"answer").end()) as bench:
        bench.clock.advance(MAX_AGES.catalog * 10)
        assert bench.client().get("/readyz").status == 503
        assert bench.call(post(chat(ALIAS))).status == 200


def test_metrics_are_served_as_prometheus_text() -> None:
    with Bench(FakeResponse().send(b"answer").end()) as bench:
        bench.call(post(chat(ALIAS)))
        answer = bench.client().get("/metrics")
        assert answer.status == 200
        assert answer.header("content-type") == ["text/plain; version=0.0.4; charset=utf-8"]
        families = {
            family.name: family for family in text_string_to_metric_families(answer.body.decode())
        }
        (sample,) = (
            sample
            for sample in families["autopilot_requests"].samples
            if sample.name == "autopilot_requests_total" and sample.value
        )
        assert (sample.labels, sample.value) == ({"mode": "alias", "status": "200"}, 1.0)


@pytest.mark.parametrize("path", PAGES)
def test_head_is_the_same_answer_without_its_body(path: str) -> None:
    with Bench() as bench:
        full = bench.client().get(path)
        answer = bench.call(head("HEAD", path), "HEAD")
        assert answer.status == full.status == 200
        assert answer.body == b""
        assert answer.header("content-type") == full.header("content-type")
        assert answer.header("content-length") == full.header("content-length")
        assert answer.header("transfer-encoding") == []


def test_head_tells_the_status_of_a_refusal_without_its_body() -> None:
    with Bench(picture=Picture()) as bench:
        for path in ("/readyz", "/v1/models"):
            answer = bench.call(head("HEAD", path), "HEAD")
            assert (answer.status, answer.body) == (503, b"")


def test_the_software_behind_it_is_not_named() -> None:
    with Bench() as bench:
        for path in PAGES:
            assert bench.client().get(path).header("server") == ["chutes-autopilot"]


def test_a_catalogue_without_an_order_gives_no_candidates() -> None:
    picture = Picture(catalog=Catalog(GOOD.catalog.models), catalog_fetched_at=0.0)
    with Bench(picture=picture) as bench:
        assert_refused(bench.call(post(chat(ALIAS))), 503, "no_candidates")
        assert bench.posted == []
