"""What a client may ask for over HTTP: refusals in OpenAI's shape, and fields that stay here."""

import json
from dataclasses import replace

import pytest

from autopilot.policy.catalog import Catalog
from autopilot.policy.picture import Picture
from autopilot.policy.rules import Rules
from autopilot.policy.traits import Price, Traits
from autopilot.testing import FakeResponse, picture_of
from tests.web.harness import ALIAS, CHAT, COMPLETIONS, Bench, assert_refused, chat, post

ONE, TWO = "org/one", "org/two"
TRAITS = {
    ONE: Traits(confidential=True, price=Price(prompt=1.0, completion=2.0)),
    TWO: Traits(confidential=False, price=Price(prompt=0.1, completion=0.2)),
}


def traits() -> Picture:
    """Two models of which the first is confidential and the second cheap."""
    picture = picture_of(ONE, TWO)
    models = [replace(model, traits=TRAITS[model.id]) for model in picture.catalog.models]
    return replace(picture, catalog=Catalog(tuple(models)))


def answering(rules: Rules | None = None) -> Bench:
    answers = [FakeResponse().send(b"answer").end() for _answer in range(3)]
    return Bench(*answers, picture=traits(), rules=rules or Rules())


REFUSED: list[tuple[bytes, int, str, str | None]] = [
    (chat(f"{ALIAS}:fast"), 400, "invalid_wish", "model"),
    (chat(f"{ONE}:latency:cost"), 400, "invalid_wish", None),
    (chat(ALIAS, provider={"zdr": True}), 400, "invalid_wish", "provider"),
    (chat(ALIAS, provider="x"), 400, "invalid_wish", "provider"),
    (chat(ALIAS, provider={"sort": "cost"}), 400, "invalid_wish", "provider.sort"),
    (chat(ALIAS, provider={"order": ["no/such"]}), 400, "unknown_model", "provider.order"),
    (chat(ONE, models="x"), 400, "invalid_wish", "models"),
    (chat(ONE, models=["no/such"]), 400, "unknown_model", "models"),
    (chat(None, models=["no/such"]), 400, "unknown_model", "models"),
    (chat(ONE, models=[f"m{number}" for number in range(9)]), 400, "invalid_model_list", "models"),
    (chat(f"{TWO}:tee"), 400, "impossible_wish", None),
    (chat(ALIAS, provider={"max_price": {"prompt": 0.01}}), 400, "impossible_wish", None),
    (b'{"model":"org/one","models":[],"models":[]}', 400, "invalid_body", "models"),
    (b'{"model":"org/one","provider":1,"provider":1}', 400, "invalid_body", "provider"),
]


@pytest.mark.parametrize(("body", "status", "code", "param"), REFUSED)
def test_a_wish_that_cannot_be_obeyed_is_refused_before_anything_goes_upstream(
    body: bytes, status: int, code: str, param: str | None
) -> None:
    for path in (CHAT, COMPLETIONS):
        with answering() as bench:
            assert_refused(bench.call(post(body, path=path)), status, code, param=param)
            assert bench.posted == []
            assert bench.count("autopilot_requests_total", mode="none", status=str(status)) == 1.0


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("X-Chutes-Autopilot-Selector", "fastest", "capacity"),
        ("X-Chutes-Autopilot-Require", "zdr", "tee"),
        ("X-Chutes-Autopilot-Max-Attempts", "4", "1 to 3"),
        ("X-Chutes-Autopilot-Model", "org/one", "x-chutes-autopilot-model"),
        ("x-chutes-autopilot-selected", "org/one", "x-chutes-autopilot-selected"),
    ],
)
@pytest.mark.parametrize("model", [ALIAS, ONE, f"{ONE},{TWO}"])
def test_a_header_field_that_cannot_be_obeyed_is_refused(
    name: str, value: str, word: str, model: str
) -> None:
    with answering() as bench:
        answer = bench.call(post(chat(model), [(name, value)]))
        assert_refused(answer, 400, "invalid_wish")
        assert word in answer.json["error"]["message"]
        assert bench.posted == []


def test_a_value_is_not_told_back_as_it_came() -> None:
    with answering() as bench:
        value = "\x1b[31m<b>\xff" + "x" * 4000
        answer = bench.call(post(chat(ALIAS), [("X-Chutes-Autopilot-Selector", value)]))
        assert_refused(answer, 400, "invalid_wish")
        assert "\x1b" not in answer.json["error"]["message"]
        assert len(answer.body) < 500


@pytest.mark.parametrize(
    ("body", "fields", "asked"),
    [
        (chat(f"{ALIAS}:tee"), [], ONE),
        (chat(f"{TWO},{ONE}"), [("X-Chutes-Autopilot-Require", "TEE")], ONE),
        (chat(f"{TWO},{ONE}"), [("X-Chutes-Autopilot-Selector", "capacity")], ONE),
        (chat(ALIAS, provider={"max_price": {"completion": "1"}}), [], TWO),
        (chat(TWO, models=[ONE], provider={"order": ["chute-org/one"]}), [], ONE),
    ],
)
def test_what_is_wished_for_is_asked_and_goes_no_further(
    body: bytes, fields: list[tuple[str, str]], asked: str
) -> None:
    with answering() as bench:
        answer = bench.call(post(body, fields))
        assert (answer.status, answer.body) == (200, b"answer")
        assert answer.header("x-chutes-autopilot-selected") == [asked]
        [posted] = bench.posted
        assert json.loads(posted.body).keys() == {"model", "stream", "messages"}
        assert not any(name.lower().startswith(b"x-chutes-autopilot") for name, _ in posted.fields)


def test_a_client_may_ask_for_fewer_attempts() -> None:
    with Bench(*[FakeResponse(503).end() for _answer in range(3)], picture=traits()) as bench:
        fields = [("X-Chutes-Autopilot-Max-Attempts", "1")]
        assert bench.call(post(chat(ALIAS), fields)).status == 503
        assert bench.asked == [ONE]


def test_a_conversation_that_its_body_names_has_a_place_of_its_own() -> None:
    with answering() as bench:
        assert bench.call(post(chat(f"{TWO},", prompt_cache_key="k"))).status == 200
        assert bench.call(post(chat(ALIAS, prompt_cache_key="k"))).status == 200
        assert bench.call(post(chat(ALIAS, prompt_cache_key="l"))).status == 200
        assert bench.asked == [TWO, TWO, ONE]


def test_what_the_operator_does_not_allow_is_refused_and_not_listed() -> None:
    for rules in (Rules(deny=("*/two",)), Rules(tee=True), Rules(allow=("org/o*",))):
        with answering(rules) as bench:
            for model in (TWO, f"chute-{TWO}", f"{ONE},{TWO}", f"{TWO}:latency"):
                answer = bench.call(post(chat(model)))
                assert_refused(answer, 403, "model_not_allowed", param="model")
            assert bench.posted == []
            listed = bench.client().get("/v1/models").json["data"]
            assert [entry["id"] for entry in listed] == [ALIAS, ONE]
            assert bench.client().get(f"/v1/models/{ONE}").status == 200
            assert_refused(bench.client().get(f"/v1/models/{TWO}"), 404, "not_found")
            assert bench.call(post(chat(ALIAS))).status == 200
            assert bench.asked == [ONE]
            assert bench.client().get("/readyz").status == 200


def test_a_router_that_may_ask_nobody_is_not_ready() -> None:
    with answering(Rules(allow=("other/*",))) as bench:
        assert_refused(bench.client().get("/readyz"), 503, "no_candidates")
        answer = bench.call(post(chat(ALIAS)))
        assert_refused(answer, 503, "no_candidates")
        assert "ALLOW_MODELS" in answer.json["error"]["message"]
