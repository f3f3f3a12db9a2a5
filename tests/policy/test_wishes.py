"""Wishes of suffixes, the member `provider` and header fields: read, merged, or refused by name."""

import json
from dataclasses import fields
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.asked import Asked, read_asked
from autopilot.policy.catalog import Catalog, Model
from autopilot.policy.chatbody import parse_body
from autopilot.policy.errors import Code, Refusal
from autopilot.policy.modelspec import Alias, Direct, PreferenceList
from autopilot.policy.provider_member import MAX_NAMES, NameList, provider_wishes
from autopilot.policy.wish_headers import Accepted, header_wishes
from autopilot.policy.wishes import NOTHING, Wishes, merge, shown

from .strategies import json_values, steady

CATALOG = Catalog(
    (
        Model(id="Org/a", chute_id="chute-a", document=b"{}"),
        Model(id="org/b", chute_id=None, document=b"{}"),
        Model(id="plain", chute_id=None, document=b"{}"),
    )
)
ACCEPTED = Accepted({"capacity", "latency", "cost", "throughput"}, 3)
MEMBERS = (
    *("order", "only", "ignore", "sort", "max_price", "require_parameters"),
    *("allow_fallbacks", "preferred_max_latency", "quantizations"),
)


def provider(**members: Any) -> Wishes:
    return provider_wishes(members, CATALOG)


def refused(value: object, catalog: Catalog = CATALOG) -> Refusal:
    with pytest.raises(Refusal) as caught:
        provider_wishes(value, catalog)
    return caught.value


@pytest.mark.parametrize(
    ("member", "value", "wishes"),
    [
        ("order", ["org/b", "chute-a", "ORG", "org/b"], Wishes(order=("org/b", "chute-a", "ORG"))),
        ("only", ["plain"], Wishes(only=("plain",))),
        ("ignore", ["no/such"], Wishes(ignore=("no/such",))),
        ("sort", "price", Wishes(sort="cost")),
        ("sort", "throughput", Wishes(sort="throughput")),
        ("sort", {"by": "latency"}, Wishes(sort="latency")),
        ("max_price", {"prompt": 1}, Wishes(prompt_price=1.0)),
        ("max_price", {"prompt": None, "completion": "2.5"}, Wishes(completion_price=2.5)),
        (
            "max_price",
            {"prompt": 0, "completion": 3},
            Wishes(prompt_price=0.0, completion_price=3.0),
        ),
        ("max_price", {}, NOTHING),
        ("require_parameters", True, Wishes(strict_parameters=True)),
        ("require_parameters", False, NOTHING),
        ("allow_fallbacks", False, Wishes(single=True)),
        ("allow_fallbacks", True, NOTHING),
        ("preferred_max_latency", 2, Wishes(latency=2.0)),
        ("preferred_max_latency", {"p50": 0.5, "p99": None}, Wishes(latency=0.5)),
        ("preferred_max_latency", {"p50": None}, NOTHING),
        ("quantizations", ["FP8", "unknown"], Wishes(quantizations=frozenset({"fp8", "unknown"}))),
    ],
)
def test_each_member_is_read(member: str, value: object, wishes: Wishes) -> None:
    assert provider(**{member: value}) == wishes


@pytest.mark.parametrize("member", [*MEMBERS, "zdr"])
def test_a_null_is_as_good_as_nothing(member: str) -> None:
    assert provider(**{member: None}) == NOTHING
    assert provider_wishes(None, CATALOG) == NOTHING


@pytest.mark.parametrize("member", ["data_collection", "zdr", "Order", "", "x" * 5000, "\n\ud800"])
def test_a_member_that_means_nothing_is_named_with_those_that_do(member: str) -> None:
    refusal = refused({"order": ["plain"], member: "deny"})
    assert (refusal.code, refusal.body.param) == (Code.INVALID_WISH, "provider")
    assert ascii(member[:64]) in refusal.body.message
    assert len(refusal.body.message) < 400
    for known in MEMBERS:
        assert known in refusal.body.message


_NO_LISTS: list[object] = [
    "org/b",
    {},
    7,
    True,
    [],
    [7],
    [None],
    [""],
    ["x" * 257],
    ["x"] * (MAX_NAMES + 1),
]
_NO_AMOUNTS: list[object] = ["", "x", "nan", "inf", -1, "-1", True, [], {}, 1e400]
_NO_SORTS: list[object] = ["cost", "PRICE", 7, [], {}, {"by": 7}, {"by": "price", "x": 1}]
_NO_PRICES: list[object] = [7, "1", [], {"request": 1}, {"prompt": 1, "image": 1}]
WRONG: list[tuple[str, object]] = [
    *(
        (member, value)
        for member in ("order", "only", "ignore", "quantizations")
        for value in _NO_LISTS
    ),
    *(("sort", value) for value in _NO_SORTS),
    *(("max_price", value) for value in _NO_PRICES),
    *(("max_price", {"prompt": value}) for value in _NO_AMOUNTS),
    *(("max_price", {"completion": value}) for value in _NO_AMOUNTS),
    *(
        (member, value)
        for member in ("require_parameters", "allow_fallbacks")
        for value in (1, "true")
    ),
    *(("preferred_max_latency", value) for value in [*_NO_AMOUNTS[:-2], "2", 0, {"p51": 1}]),
    *(("preferred_max_latency", {"p50": value}) for value in _NO_AMOUNTS),
]


@pytest.mark.parametrize(("member", "value"), WRONG)
def test_a_value_of_the_wrong_kind_is_refused_by_its_members_name(
    member: str, value: object
) -> None:
    refusal = refused({member: value})
    assert (refusal.code, refusal.body.param) == (Code.INVALID_WISH, f"provider.{member}")
    assert f"'provider.{member}' is not accepted: expected " in refusal.body.message


@pytest.mark.parametrize("value", ["x", 7, [], True, ["order"]])
def test_a_provider_that_is_no_object_is_refused(value: object) -> None:
    refusal = refused(value)
    assert (refusal.code, refusal.body.param) == (Code.INVALID_WISH, "provider")


@pytest.mark.parametrize("percentile", ["p75", "p90", "p99"])
def test_of_the_percentiles_only_the_median_is_known(percentile: str) -> None:
    refusal = refused({"preferred_max_latency": {"p50": 1, percentile: 2}})
    assert refusal.code is Code.INVALID_WISH
    assert percentile in refusal.body.message
    assert "p50" in refusal.body.message


@pytest.mark.parametrize("member", ["order", "only"])
def test_a_name_that_fits_nothing_is_refused_unless_nothing_is_known(member: str) -> None:
    refusal = refused({member: ["org", "no/such", "b"]})
    assert (refusal.code, refusal.body.param) == (Code.UNKNOWN_MODEL, f"provider.{member}")
    assert "'no/such', 'b'" in refusal.body.message
    assert provider_wishes({member: ["no/such"]}, Catalog()) != NOTHING


@pytest.mark.parametrize("member", ["order", "only"])
@pytest.mark.parametrize(
    ("names", "ignored", "told"),
    [
        (["plain", "org"], ["org"], "'org'"),
        (["plain", "chute-a"], ["Org/a"], "'chute-a'"),
        (["plain", "org/b"], ["ORG"], "'org/b'"),
        (["plain", "org"], ["org/b", "Org/a"], "'org'"),
        (["plain", "org"], ["org/b"], None),
        (["plain", "org"], ["no/such"], None),
    ],
)
def test_what_is_ignored_cannot_be_asked_for(
    member: str, names: list[str], ignored: list[str], told: str | None
) -> None:
    if told is None:
        assert provider(**{member: names, "ignore": ignored}).ignore == tuple(ignored)
        return
    refusal = refused({member: names, "ignore": ignored})
    assert (refusal.code, refusal.body.param) == (Code.INVALID_WISH, "provider.ignore")
    assert f"all that {told} stands for" in refusal.body.message


def test_without_a_catalogue_a_name_that_is_ignored_is_still_a_contradiction() -> None:
    refusal = refused({"order": ["x"], "ignore": ["x"]}, Catalog())
    assert refusal.code is Code.INVALID_WISH


@pytest.mark.parametrize(
    ("name", "borne"),
    [
        ("Org/a", True),
        ("org/a", False),
        ("chute-a", True),
        ("ORG", True),
        ("Org/", False),
        ("a", False),
    ],
)
def test_a_model_bears_its_id_its_chute_and_its_maker(name: str, *, borne: bool) -> None:
    names = NameList(["plain", name])
    assert names.place("Org/a", CATALOG.by_id["Org/a"]) == (1 if borne else None)
    assert names.place("plain", CATALOG.by_id["plain"]) == 0
    assert NameList(["org", "Org/a"]).place("Org/a", None) == 0


# As a body's values are read, in which a number may have any number of digits.
_VALUES = json_values.map(partial(json.loads, parse_int=float))


@steady
@given(value=st.dictionaries(st.sampled_from(MEMBERS), _VALUES, max_size=4) | _VALUES)
def test_any_provider_is_read_or_refused(value: object) -> None:
    result: Wishes | Code
    try:
        result = provider_wishes(value, CATALOG)
    except Refusal as refusal:
        result = refusal.code
    assert isinstance(result, Wishes) or result in {Code.INVALID_WISH, Code.UNKNOWN_MODEL}
    # It is a key of what is kept for a picture.
    assert hash(result) == hash(result)


def headers(*said: tuple[str, str]) -> Wishes:
    return merge(header_wishes([(n.encode(), v.encode("latin-1")) for n, v in said], ACCEPTED))


SELECTOR, REQUIRE, ATTEMPTS = (
    f"X-Chutes-Autopilot-{name}" for name in ("Selector", "Require", "Max-Attempts")
)


@pytest.mark.parametrize(
    ("said", "wishes"),
    [
        ([("Authorization", "x"), ("X-Chutes-Other", "x")], NOTHING),
        ([(SELECTOR, "latency")], Wishes(sort="latency")),
        ([(SELECTOR.lower(), " Capacity ")], Wishes(sort="capacity")),
        ([(REQUIRE, "tee")], Wishes(tee=True)),
        ([(REQUIRE, "TEE , tee")], Wishes(tee=True)),
        ([(ATTEMPTS, "1")], Wishes(attempts=1)),
        ([(ATTEMPTS, "3"), (REQUIRE, "tee"), (ATTEMPTS, "3")], Wishes(attempts=3, tee=True)),
    ],
)
def test_header_fields_are_read(said: list[tuple[str, str]], wishes: Wishes) -> None:
    assert headers(*said) == wishes


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (SELECTOR, "fastest", "capacity, cost, latency, throughput"),
        (SELECTOR, "", "capacity, cost"),
        (SELECTOR, "\x1b[31m\xe9" + "x" * 5000, "capacity, cost"),
        (REQUIRE, "tea", "tee"),
        (REQUIRE, "tee, zdr", "tee"),
        (REQUIRE, "", "tee"),
        (ATTEMPTS, "0", "1 to 3"),
        (ATTEMPTS, "4", "1 to 3"),
        (ATTEMPTS, "-1", "1 to 3"),
        (ATTEMPTS, "1.0", "1 to 3"),
        (ATTEMPTS, "\xb2", "1 to 3"),
        (ATTEMPTS, "1" * 5000, "1 to 3"),
    ],
)
def test_a_value_that_is_not_accepted_is_refused_with_what_is(
    name: str, value: str, expected: str
) -> None:
    with pytest.raises(Refusal) as caught:
        headers((name, value))
    message = caught.value.body.message
    assert caught.value.code is Code.INVALID_WISH
    assert name.lower() in message
    assert expected in message
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 300


@pytest.mark.parametrize("name", ["Model", "Selected", "", "Max_Attempts", "x" * 5000])
def test_a_field_of_ours_that_there_is_not_is_refused_by_name(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        headers((f"X-Chutes-Autopilot-{name}", "1"))
    assert caught.value.code is Code.INVALID_WISH
    assert f"x-chutes-autopilot-{name.lower()}"[:60] in caught.value.body.message
    assert len(caught.value.body.message) < 300


def test_what_is_said_twice_alike_is_said_once() -> None:
    same = [("one", Wishes(sort="cost", tee=True)), ("two", Wishes(sort="cost"))]
    assert merge(same) == Wishes(sort="cost", tee=True)
    assert merge([]) is NOTHING
    assert merge([("one", NOTHING)]) is NOTHING


@pytest.mark.parametrize("field", [field.name for field in fields(Wishes)])
def test_whatever_is_said_twice_and_differs_is_a_contradiction(field: str) -> None:
    said: list[tuple[str, Wishes]] = [
        (place, Wishes(**{field: value}))  # type: ignore[arg-type]  # any two values will do
        for place, value in (("here", "x"), ("there", "y"))
    ]
    with pytest.raises(Refusal) as caught:
        merge(said)
    assert "here and there" in caught.value.body.message


def ask(text: str, *said: tuple[str, str]) -> Asked:
    return read_asked(
        parse_body(text.encode()),
        [(name.encode(), value.encode()) for name, value in said],
        aliases=("auto",),
        catalog=CATALOG,
        max_items=8,
        accepted=ACCEPTED,
    )


def test_suffix_body_and_header_are_put_together() -> None:
    asked = ask('{"model":"auto:tee","provider":{"sort":"price"}}', (ATTEMPTS, "2"))
    assert asked == Asked(Alias(), Wishes(tee=True, sort="cost", attempts=2))
    assert ask('{"model":"auto"}') == Asked(Alias())
    assert ask('{"model":"plain","models":["org/b:cost"]}') == Asked(
        PreferenceList(("plain", "org/b")), Wishes(sort="cost")
    )


@pytest.mark.parametrize(
    ("text", "said", "places"),
    [
        (
            '{"model":"auto:cost","provider":{"sort":"latency"}}',
            [],
            ["the suffix ':cost'", "'provider.sort'"],
        ),
        (
            '{"model":"auto:cost"}',
            [(SELECTOR, "latency")],
            ["the suffix ':cost'", f"the header '{SELECTOR.lower()}'"],
        ),
        (
            '{"model":"auto","provider":{"sort":"latency"}}',
            [(SELECTOR, "cost")],
            ["'provider.sort'", f"the header '{SELECTOR.lower()}'"],
        ),
        ('{"model":"plain:latency"}', [(SELECTOR, "cost")], ["the suffix ':latency'"]),
    ],
)
def test_a_contradiction_is_refused_with_both_places(
    text: str, said: list[tuple[str, str]], places: list[str]
) -> None:
    with pytest.raises(Refusal) as caught:
        ask(text, *said)
    assert caught.value.code is Code.INVALID_WISH
    for place in places:
        assert place in caught.value.body.message


def test_a_direct_request_has_its_provider_left_alone() -> None:
    asked = ask('{"model":"plain","provider":{"zdr":true}}', (REQUIRE, "tee"))
    assert asked == Asked(Direct("plain", "plain"), Wishes(tee=True))
    with pytest.raises(Refusal):
        ask('{"model":"plain,","provider":{"zdr":true}}')


def test_an_order_for_which_there_is_no_selector_is_refused_where_it_would_matter() -> None:
    def ask_of_one(model: str) -> Asked:
        return read_asked(
            parse_body(json.dumps({"model": model}).encode()),
            [],
            aliases=("auto",),
            catalog=CATALOG,
            max_items=8,
            accepted=Accepted({"capacity"}, 3),
        )

    for model in ("auto:cost", "plain:cost,"):
        with pytest.raises(Refusal) as caught:
            ask_of_one(model)
        assert caught.value.code is Code.INVALID_WISH
        assert "capacity" in caught.value.body.message
    assert ask_of_one("plain:cost").spec == Direct("plain", "plain")


@given(st.text())
def test_what_a_client_wrote_is_shown_in_printable_ascii(text: str) -> None:
    assert shown(text).isascii()
    assert shown(text).isprintable()
    assert len(shown(text)) <= 10 * 64 + 5
