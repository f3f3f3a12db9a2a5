"""What `model` asks for, and what it stands for once the candidates are known."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.catalog import Catalog, Model
from autopilot.policy.errors import Code, Refusal
from autopilot.policy.modelspec import (
    Alias,
    Direct,
    ModelSpec,
    PreferenceList,
    catalog_id,
    expand,
    parse_model,
)
from autopilot.policy.wishes import SORTS, SUFFIXES, Wishes, merge

from .strategies import steady

ALIASES = ("chutesai/AutoPilot", "auto")
CHUTE = "0d7184a2-32a3-53e0-9607-058c37edaab5"
CATALOG = Catalog(
    (
        Model(id="org/a", chute_id=CHUTE, document=b"{}"),
        Model(id="org/b:fast", chute_id=None, document=b"{}"),
        Model(id="org/c,org/a", chute_id=None, document=b"{}"),
        Model(id="auto,org/a", chute_id=None, document=b"{}"),
        Model(id="org/d:latency", chute_id="chute-d", document=b"{}"),
        *(Model(id=f"n{number}", chute_id=None, document=b"{}") for number in range(12)),
    )
)
_WHITE_SPACE = st.text(alphabet=" \t\n\r\v\f", max_size=3)


def read(model: str, *, catalog: Catalog = CATALOG, max_items: int = 8) -> ModelSpec:
    return parse_model(model, aliases=ALIASES, catalog=catalog, max_items=max_items)[0]


def direct(name: str) -> Direct:
    return Direct(name, name)


def refused(model: str, *, catalog: Catalog = CATALOG, max_items: int = 8) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(model, catalog=catalog, max_items=max_items)
    assert caught.value.body.param == "model"
    return caught.value


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("catalog", [CATALOG, Catalog()])
def test_an_alias_asks_for_any_model(alias: str, catalog: Catalog) -> None:
    assert read(alias, catalog=catalog) == Alias()


@pytest.mark.parametrize(
    "near", ["chutesai/autopilot", " auto", "auto ", "latency:auto", "auto:fast"]
)
def test_a_name_near_an_alias_is_no_alias(near: str) -> None:
    assert refused(near).code in {Code.UNKNOWN_MODEL, Code.INVALID_WISH}


def test_a_name_that_is_a_catalogue_id_is_never_split() -> None:
    assert read("org/c,org/a") == direct("org/c,org/a")
    assert read("auto,org/a") == direct("auto,org/a")
    assert read("org/c,org/a:Latency") == Direct("org/c,org/a:Latency", "org/c,org/a")


def test_a_name_that_is_both_id_and_alias_is_the_alias() -> None:
    catalog = Catalog((Model(id="auto", chute_id=None, document=b"{}"),))
    assert read("auto", catalog=catalog) == Alias()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("org/a", "org/a"),
        ("org/b:fast", "org/b:fast"),
        (CHUTE, "org/a"),
        ("org/a:latency", "org/a"),
        ("org/a:THROUGHPUT", "org/a"),
        ("org/b:fast:Latency", "org/b:fast"),
        (f"{CHUTE}:throughput", "org/a"),
        ("org/d:latency", "org/d:latency"),
        ("org/d:latency:latency", "org/d:latency"),
        ("chute-d:latency", "org/d:latency"),
    ],
)
def test_the_forms_that_the_platform_understands_go_there_as_they_are(
    name: str, expected: str
) -> None:
    assert catalog_id(name, CATALOG) == expected
    spec = read(name)
    assert isinstance(spec, Direct)
    assert spec.name == name
    assert catalog_id(spec.model, CATALOG) == expected


@pytest.mark.parametrize("name", [" org/a", "ORG/A", "org/d", ":latency", "latency", "org/x:tee"])
def test_what_is_near_a_name_is_no_name(name: str) -> None:
    assert catalog_id(name, CATALOG) is None
    assert refused(name).code is Code.UNKNOWN_MODEL


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("org/a:nitro", "org/a:throughput"),
        ("org/a:NITRO:throughput", "org/a:throughput"),
        ("org/a:latency:Latency", "org/a:latency"),
        ("org/a:cost", "org/a"),
        ("org/a:floor:cost", "org/a"),
        ("org/a:tee", "org/a"),
        ("org/a:tee:latency", "org/a:latency"),
        ("org/a:Latency:TEE:tee", "org/a:latency"),
        (f"{CHUTE}:tee:nitro", f"{CHUTE}:throughput"),
        ("org/b:fast:tee", "org/b:fast"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_of_other_forms_the_platform_is_asked_for_what_it_knows(
    model: str, name: str, *, known: bool
) -> None:
    spec = read(model, catalog=CATALOG if known else Catalog())
    assert isinstance(spec, Direct)
    assert spec.name == name


def test_a_suffix_that_belongs_to_a_name_is_no_wish() -> None:
    assert read("org/d:latency:cost") == Direct("org/d:latency", "org/d:latency")


@pytest.mark.parametrize(
    ("model", "sort", "tee"),
    [
        ("auto", None, False),
        ("auto:latency", "latency", False),
        ("auto:tee", None, True),
        ("auto:TEE:Nitro", "throughput", True),
        ("chutesai/AutoPilot:floor:tee:cost", "cost", True),
        ("org/a:throughput", "throughput", False),
        ("org/a,org/b:fast:tee", None, True),
        ("org/a:cost, auto:tee , n1:floor", "cost", True),
    ],
)
def test_a_suffix_speaks_for_the_whole_request(model: str, sort: str | None, *, tee: bool) -> None:
    spec, said = parse_model(model, aliases=ALIASES, catalog=CATALOG, max_items=8)
    assert merge(said) == Wishes(sort=sort, tee=tee)
    if "," in model:
        assert isinstance(spec, PreferenceList)
        assert not any(name.endswith((":tee", ":cost", ":floor")) for name in spec.names)
    elif model.startswith(ALIASES):
        assert spec == Alias()


@steady
@given(
    name=st.sampled_from([*ALIASES, "org/a", "org/b:fast", CHUTE]),
    words=st.lists(st.sampled_from(SUFFIXES), min_size=1, max_size=6),
    upper=st.booleans(),
    data=st.data(),
)
def test_suffixes_mean_the_same_in_any_order_and_case(
    name: str, words: list[str], *, upper: bool, data: st.DataObject
) -> None:
    def wishes(suffixes: list[str]) -> Wishes | str:
        spelled = "".join(f":{word.upper() if upper else word}" for word in suffixes)
        try:
            _spec, said = parse_model(name + spelled, aliases=ALIASES, catalog=CATALOG, max_items=8)
            return merge(said)
        except Refusal as refusal:
            return refusal.body.code

    sorts = {SORTS[word] for word in words if word in SORTS}
    expected: Wishes | str = "invalid_wish"
    if len(sorts) <= 1:
        expected = Wishes(sort=next(iter(sorts), None), tee="tee" in words)
    assert wishes(words) == expected
    assert wishes(data.draw(st.permutations(words))) == expected


@pytest.mark.parametrize("suffix", ["fast", "", "latency ", "free", "capacity", "tee\u00e9"])
@pytest.mark.parametrize("form", ["org/a:{}", "auto:{}", "org/a:tee:{}:cost", "n1,org/a:{}"])
def test_an_unknown_suffix_of_a_known_name_is_named_with_those_there_are(
    suffix: str, form: str
) -> None:
    if "," in form and suffix != suffix.strip():
        return
    refusal = refused(form.format(suffix))
    assert refusal.code is Code.INVALID_WISH
    assert ascii(suffix) in refusal.body.message
    for accepted in SUFFIXES:
        assert f":{accepted}" in refusal.body.message


@pytest.mark.parametrize("model", ["org/a:latency:cost", "org/a:nitro:floor"])
def test_two_orders_that_differ_contradict_each_other(model: str) -> None:
    with pytest.raises(Refusal) as caught:
        read(model)
    assert caught.value.code is Code.INVALID_WISH
    for word in model.split(":")[1:]:
        assert f"':{word}'" in caught.value.body.message


def test_an_exact_name_wins_over_its_suffixes_in_a_list_too() -> None:
    spec, said = parse_model(
        "org/d:latency, org/d:latency:tee", aliases=ALIASES, catalog=CATALOG, max_items=8
    )
    assert spec == PreferenceList(("org/d:latency",))
    assert merge(said) == Wishes(tee=True)


def test_models_follow_model_or_are_the_list() -> None:
    def names(model: str | None, *models: str) -> tuple[str, ...]:
        spec, _said = parse_model(
            model, models=models, aliases=ALIASES, catalog=CATALOG, max_items=4
        )
        assert isinstance(spec, PreferenceList)
        return spec.names

    assert names("org/a", "n1") == ("org/a", "n1")
    assert names("auto", "n1", "auto") == ("auto", "n1")
    assert names("n2, n3", "n1") == ("n2", "n3", "n1")
    assert names(None, "n1") == ("n1",)
    assert names(None, "org/c,org/a", "auto:tee") == ("org/c,org/a", "auto")
    with pytest.raises(Refusal) as caught:
        names("org/a", "n1", "n2", "n3", "n4")
    assert (caught.value.code, caught.value.body.param) == (Code.INVALID_MODEL_LIST, "models")
    with pytest.raises(Refusal) as caught:
        # A name in `models` is one name: it is not split.
        names(None, "org/a,n1")
    assert (caught.value.code, caught.value.body.param) == (Code.UNKNOWN_MODEL, "models")


@pytest.mark.parametrize(
    ("model", "more", "param"),
    [("org/a", "nope", "models"), ("nope", "org/a", "model"), ("nope", "nope too", "model")],
)
def test_an_unknown_name_is_looked_for_where_it_stands(model: str, more: str, param: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_model(model, models=[more], aliases=ALIASES, catalog=CATALOG, max_items=4)
    assert caught.value.body.param == param
    for name in {model, more} - {"org/a"}:
        assert f"'{name}'" in caught.value.body.message


def test_any_number_of_colons_is_refused_at_once() -> None:
    assert refused("org/a" + ":" * 1000).code is Code.UNKNOWN_MODEL
    assert isinstance(read(":" * 1000 + ":tee" * 20, catalog=Catalog()), Direct)


@pytest.mark.parametrize(
    "name", ["org/unknown", "../", "org/a?x=1", "模型", "\ud800", "<script>", "'"]
)
def test_a_direct_name_that_no_catalogue_entry_has_is_refused_by_name(name: str) -> None:
    refusal = refused(name)
    assert refusal.code is Code.UNKNOWN_MODEL
    assert f"'{name}'" in refusal.body.message
    assert json.loads(refusal.body.render())["error"]["message"] == refusal.body.message


def test_a_catalogue_that_holds_nothing_knows_nothing() -> None:
    assert read("org/unknown", catalog=Catalog()) == direct("org/unknown")
    assert read("x , y", catalog=Catalog()) == PreferenceList(("x", "y"))


def test_a_refused_list_names_every_unknown_item_and_no_other() -> None:
    message = refused("org/x,org/a,auto,org/y:latency, org/x").body.message
    assert "'org/x', 'org/y:latency'" in message
    assert "org/a" not in message
    assert "auto" not in message


@pytest.mark.parametrize("model", [",", ",,", " , \t,\n", ", ,\v,\f"])
def test_a_list_without_a_name_is_refused(model: str) -> None:
    assert refused(model).code is Code.INVALID_MODEL_LIST


@pytest.mark.parametrize("catalog", [CATALOG, Catalog()])
def test_a_list_has_at_most_so_many_names(catalog: Catalog) -> None:
    names = tuple(f"n{number}" for number in range(9))
    assert read(",".join(names[:8]), catalog=catalog) == PreferenceList(names[:8])
    assert read(",".join(names), catalog=catalog, max_items=9) == PreferenceList(names)
    assert refused(",".join(names), catalog=catalog).code is Code.INVALID_MODEL_LIST


def test_a_list_is_counted_after_repetitions_and_gaps() -> None:
    names = [f"n{number}" for number in range(8)]
    assert read(f",{','.join(names * 3)},,") == PreferenceList(tuple(names))


def test_a_list_that_is_too_long_is_told_by_number_and_not_by_name() -> None:
    message = refused(",".join(f"canary-{number}" for number in range(9))).body.message
    assert "canary" not in message
    assert "9" in message


def test_one_name_and_a_comma_are_a_list() -> None:
    assert read("org/a,") == PreferenceList(("org/a",))
    assert read(",auto") == PreferenceList(("auto",))


@pytest.mark.parametrize("space", ["\u00a0", "\u2003", "\u3000", "\x1c"])
def test_only_ascii_white_space_is_trimmed(space: str) -> None:
    listed = read(f"{space}x, y{space}", catalog=Catalog())
    assert listed == PreferenceList((f"{space}x", f"y{space}"))


@st.composite
def listed(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A list as a client may write it, and the names in it, first occurrences only."""
    names = draw(st.lists(st.sampled_from(["", "x y", "é", *ALIASES, *"abcdef"]), max_size=12))
    text = ",".join(draw(_WHITE_SPACE) + name + draw(_WHITE_SPACE) for name in [*names, "", ""])
    kept: list[str] = []
    for name in names:
        if name and name not in kept:
            kept.append(name)
    return text, kept


@steady
@given(case=listed(), max_items=st.integers(min_value=1, max_value=10))
def test_a_list_is_split_trimmed_and_kept_in_order_once_each(
    case: tuple[str, list[str]], max_items: int
) -> None:
    text, names = case
    if not 0 < len(names) <= max_items:
        code = refused(text, catalog=Catalog(), max_items=max_items).code
        assert code is Code.INVALID_MODEL_LIST
    else:
        spec = read(text, catalog=Catalog(), max_items=max_items)
        assert spec == PreferenceList(tuple(names))


@steady
@given(
    names=st.lists(st.sampled_from([*ALIASES, *"abcdef"]), unique=True, min_size=1, max_size=8),
    order=st.lists(st.sampled_from("abcdefgh"), unique=True),
)
def test_an_alias_in_a_list_stands_for_the_ranked_candidates_at_that_place(
    names: list[str], order: list[str]
) -> None:
    naive: list[str] = []
    for name in names:
        for item in order if name in ALIASES else [name]:
            if item not in naive:
                naive.append(item)
    expanded = expand(names, aliases=ALIASES, order=tuple(order))
    assert expanded == tuple(naive)


def test_a_list_of_nothing_but_an_alias_may_expand_to_nothing() -> None:
    assert expand(("auto",), aliases=ALIASES, order=()) == ()
