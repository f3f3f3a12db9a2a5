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
    return parse_model(model, aliases=ALIASES, catalog=catalog, max_items=max_items)


def refused(model: str, *, catalog: Catalog = CATALOG, max_items: int = 8) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(model, catalog=catalog, max_items=max_items)
    assert caught.value.body.param == "model"
    return caught.value


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("catalog", [CATALOG, Catalog()])
def test_an_alias_asks_for_any_model(alias: str, catalog: Catalog) -> None:
    assert read(alias, catalog=catalog) == Alias()


@pytest.mark.parametrize("near", ["chutesai/autopilot", " auto", "auto ", "auto:latency"])
def test_a_name_near_an_alias_is_no_alias(near: str) -> None:
    assert refused(near).code is Code.UNKNOWN_MODEL


def test_a_name_that_is_a_catalogue_id_is_never_split() -> None:
    assert read("org/c,org/a") == Direct("org/c,org/a")
    assert read("auto,org/a") == Direct("auto,org/a")


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
        ("org/a:latency:throughput", None),
        ("org/a:fast", None),
        ("org/a:", None),
        ("org/a:latency ", None),
        (" org/a", None),
        ("ORG/A", None),
        ("org/d", None),
        (":latency", None),
        ("latency", None),
        ("", None),
    ],
)
def test_a_name_is_known_in_the_forms_that_the_platform_understands(
    name: str, expected: str | None
) -> None:
    assert catalog_id(name, CATALOG) == expected
    if expected is None:
        if name:
            assert refused(name).code is Code.UNKNOWN_MODEL
    else:
        assert read(name) == Direct(name)


@pytest.mark.parametrize(
    "name", ["org/unknown", "../", "org/a?x=1", "模型", "\ud800", "<script>", "'"]
)
def test_a_direct_name_that_no_catalogue_entry_has_is_refused_by_name(name: str) -> None:
    refusal = refused(name)
    assert refusal.code is Code.UNKNOWN_MODEL
    assert f"'{name}'" in refusal.body.message
    assert json.loads(refusal.body.render())["error"]["message"] == refusal.body.message


def test_a_catalogue_that_holds_nothing_knows_nothing() -> None:
    assert read("org/unknown", catalog=Catalog()) == Direct("org/unknown")
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
    max_items=st.integers(min_value=1, max_value=10),
)
def test_an_alias_in_a_list_stands_for_the_ranked_candidates_at_that_place(
    names: list[str], order: list[str], max_items: int
) -> None:
    naive: list[str] = []
    for name in names:
        for item in order if name in ALIASES else [name]:
            if item not in naive and len(naive) < max_items:
                naive.append(item)
    expanded = expand(names, aliases=ALIASES, order=tuple(order), max_items=max_items)
    assert expanded == tuple(naive)


def test_an_expanded_list_is_cut() -> None:
    ranked = tuple(f"n{number}" for number in range(12))
    expanded = expand(("n5", "auto", "n11"), aliases=ALIASES, order=ranked, max_items=4)
    assert expanded == ("n5", "n0", "n1", "n2")


def test_a_list_of_nothing_but_an_alias_may_expand_to_nothing() -> None:
    assert expand(("auto",), aliases=ALIASES, order=(), max_items=8) == ()
