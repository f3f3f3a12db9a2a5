"""Filters: who is left, who comes later, what each constraint removed, and how that is told."""

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot.policy.catalog import Catalog, Model
from autopilot.policy.constraints import (
    Constraint,
    Sifted,
    abilities,
    emptied,
    room,
    ruled,
    sift,
    wished,
)
from autopilot.policy.errors import Code
from autopilot.policy.modelspec import entry
from autopilot.policy.needs import Needs
from autopilot.policy.rules import Rules
from autopilot.policy.traits import Price, Traits
from autopilot.policy.wishes import NOTHING, Wishes

from .strategies import steady


def model(name: str, **traits: Any) -> Model:
    return Model(id=name, chute_id=f"chute-{name}", document=b"{}", traits=Traits(**traits))


def spacious(needs: Needs) -> list[Constraint]:
    large = room(needs)
    return [] if large is None else [large.constraint]


def apply(constraints: list[Constraint], *models: Model) -> Sifted:
    catalog = Catalog(models)
    names = [each.id for each in models]
    return sift([*names, "unheard/of"], constraints, partial(entry, catalog=catalog))


WISHES: list[tuple[Wishes, dict[str, Any], dict[str, Any]]] = [
    (Wishes(tee=True), {"confidential": True}, {"confidential": False}),
    (Wishes(prompt_price=1.0), {"price": Price(prompt=1.0)}, {"price": Price(prompt=1.1)}),
    (
        Wishes(completion_price=1.0),
        {"price": Price(completion=1.0)},
        {"price": Price(completion=1.1)},
    ),
    (
        Wishes(quantizations=frozenset({"fp8"})),
        {"quantization": "fp8"},
        {"quantization": "bf16"},
    ),
]


@pytest.mark.parametrize(("wishes", "good", "bad"), WISHES)
def test_a_wish_is_strict_what_is_not_said_is_not_so(
    wishes: Wishes, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    sifted = apply(
        wished(wishes, Needs()), model("bad", **bad), model("good", **good), model("mum")
    )
    assert (sifted.names, sifted.later) == (("good",), frozenset())
    [step] = sifted.steps
    assert (step.before, step.left, step.removed) == (4, 1, ("bad", "mum", "unheard/of"))


NEEDS: list[tuple[Needs, dict[str, Any], dict[str, Any]]] = [
    (
        Needs(images=True),
        {"modalities": frozenset({"text", "image"})},
        {"modalities": frozenset({"text"})},
    ),
    (Needs(tools=True), {"features": frozenset({"tools"})}, {"features": frozenset({"json_mode"})}),
    (
        Needs(structured=True),
        {"features": frozenset({"structured_outputs"})},
        {"features": frozenset({"json_mode", "tools"})},
    ),
    (
        Needs(structured=True),
        {"features": frozenset({"structured_output"})},
        {"features": frozenset()},
    ),
    (
        Needs(json_mode=True),
        {"features": frozenset({"json_mode"})},
        {"features": frozenset({"tools"})},
    ),
    (
        Needs(json_mode=True),
        {"features": frozenset({"structured_outputs"})},
        {"features": frozenset({"reasoning"})},
    ),
    (Needs(prompt_tokens=9000, completion_tokens=1000), {"context": 10_000}, {"context": 3_000}),
]


@pytest.mark.parametrize(("needs", "good", "bad"), NEEDS)
def test_a_need_is_lenient_what_is_not_said_comes_later(
    needs: Needs, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    constraints = [*abilities(needs), *spacious(needs)]
    sifted = apply(constraints, model("bad", **bad), model("mum"), model("good", **good))
    assert sifted.names == ("mum", "good", "unheard/of")
    assert sifted.later == {"mum", "unheard/of"}
    assert sifted.last(("unheard/of", "good", "mum")) == ("good", "unheard/of", "mum")


def test_a_need_that_is_none_constrains_nobody() -> None:
    assert abilities(Needs()) == []
    assert room(Needs(prompt_tokens=6000, completion_tokens=2192)) is None
    assert wished(NOTHING, Needs(tools=True)) == []
    assert ruled(Rules()) == []


@pytest.mark.parametrize(
    ("context", "place"), [(40_000, "sure"), (39_999, "later"), (17_500, "later"), (17_499, "out")]
)
def test_an_estimate_that_is_too_generous_refuses_nobody(context: int, place: str) -> None:
    needs = Needs(prompt_tokens=30_000, completion_tokens=10_000)
    sifted = apply(spacious(needs), model("a", context=context))
    assert ("a" in sifted.names, "a" in sifted.later) == (place != "out", place == "later")


def test_an_unsaid_quantization_is_one_called_unknown() -> None:
    wishes = Wishes(quantizations=frozenset({"unknown"}))
    sifted = apply(wished(wishes, Needs()), model("a", quantization="fp8"), model("b"))
    assert sifted.names == ("b", "unheard/of")


@pytest.mark.parametrize(
    ("wishes", "left"),
    [
        (Wishes(only=("org", "chute-x/c")), ("org/a", "Org/b", "x/c")),
        (Wishes(only=("org/a",)), ("org/a",)),
        (Wishes(ignore=("ORG",)), ("x/c", "unheard/of")),
        (Wishes(ignore=("no/such",)), ("org/a", "Org/b", "x/c", "unheard/of")),
        (Wishes(order=("x",)), ("org/a", "Org/b", "x/c", "unheard/of")),
        (Wishes(order=("x", "unheard/of"), single=True), ("x/c", "unheard/of")),
        (Wishes(only=("org",), ignore=("org/a",)), ("Org/b",)),
    ],
)
def test_models_are_let_in_and_left_out_by_name_chute_and_maker(
    wishes: Wishes, left: tuple[str, ...]
) -> None:
    found = apply(wished(wishes, Needs()), model("org/a"), model("Org/b"), model("x/c"))
    assert found.names == left


def test_parameters_may_be_required_and_what_the_request_does_with_them() -> None:
    needs = Needs(parameters=frozenset({"top_k", "seed"}), tools=True)
    good = {"parameters": frozenset({"top_k", "seed", "stop"}), "features": frozenset({"tools"})}
    sifted = apply(
        wished(Wishes(strict_parameters=True), needs),
        model("good", **good),
        model("no-seed", **(good | {"parameters": frozenset({"top_k"})})),
        model("no-tools", **(good | {"features": frozenset()})),
        model("mum", features=good["features"]),
        model("mum-too", parameters=good["parameters"]),
    )
    assert sifted.names == ("good",)
    assert sifted.steps[0].constraint == "require_parameters seed, top_k, tools"


def test_what_was_removed_is_told_step_by_step() -> None:
    models = [model(f"t{n}", confidential=True, price=Price(prompt=1.0)) for n in range(3)]
    constraints = wished(Wishes(tee=True, prompt_price=0.05), Needs())
    sifted = apply(constraints, *models, model("x"))
    refusal = emptied(sifted, sifted)
    assert refusal.code is Code.IMPOSSIBLE_WISH
    assert refusal.body.message == (
        "No model can meet this request: of 5 models of the catalogue, 3 were left by tee, none by "
        "max_price prompt <= 0.05."
    )


def everybody(*models: Model, constraints: list[Constraint]) -> Sifted:
    catalog = Catalog(models)
    return sift(catalog.by_id, constraints, partial(entry, catalog=catalog))


def test_what_nobody_can_meet_now_may_be_met_later() -> None:
    constraints = wished(Wishes(tee=True), Needs())
    now = sift(("a",), constraints, lambda _name: None)
    later = emptied(now, everybody(model("b", confidential=True), constraints=constraints))
    assert later.code is Code.NO_CANDIDATES
    assert "of 1 candidate, none were left by tee" in later.body.message
    unknown = emptied(now, everybody(constraints=constraints))
    assert unknown.code is Code.NO_CANDIDATES
    nobody = emptied(Sifted(names=()), everybody(model("b"), constraints=[]))
    assert nobody.code is Code.NO_CANDIDATES
    assert "active instance" in nobody.body.message


def test_what_the_operator_forbids_altogether_is_not_the_clients_fault() -> None:
    constraints = [*ruled(Rules(tee=True)), *wished(Wishes(prompt_price=1.0), Needs())]
    alone = everybody(model("a"), constraints=constraints)
    assert emptied(alone, alone).code is Code.NO_CANDIDATES
    assert "REQUIRE_TEE" in emptied(alone, alone).body.message
    both = everybody(model("a", confidential=True), constraints=constraints)
    assert emptied(both, both).code is Code.IMPOSSIBLE_WISH


_TRAITS = st.builds(
    Traits,
    confidential=st.sampled_from([None, True, False]),
    context=st.sampled_from([None, 8_000, 20_000, 200_000]),
    features=st.none()
    | st.frozensets(st.sampled_from(["tools", "json_mode", "structured_outputs"])),
    modalities=st.none() | st.frozensets(st.sampled_from(["text", "image"])),
    parameters=st.none() | st.frozensets(st.sampled_from(["seed", "stop"])),
    quantization=st.sampled_from([None, "fp8", "bf16"]),
    price=st.builds(
        Price,
        prompt=st.sampled_from([None, 0.1, 1.0]),
        completion=st.sampled_from([None, 0.1, 1.0]),
    ),
)
_NEEDS = st.builds(
    Needs,
    prompt_tokens=st.sampled_from([0, 9_000, 100_000]),
    images=st.booleans(),
    tools=st.booleans(),
    structured=st.booleans(),
    json_mode=st.booleans(),
    parameters=st.frozensets(st.sampled_from(["seed", "stop"])),
)
_NAMES = st.none() | st.lists(st.sampled_from(["m0", "m1", "chute-m2", "x"]), min_size=1).map(tuple)
_WISHES = st.builds(
    Wishes,
    tee=st.booleans(),
    order=_NAMES,
    only=_NAMES,
    ignore=_NAMES,
    prompt_price=st.sampled_from([None, 0.5]),
    completion_price=st.sampled_from([None, 0.5]),
    quantizations=st.none() | st.frozensets(st.sampled_from(["fp8", "unknown"]), min_size=1),
    strict_parameters=st.booleans(),
    single=st.booleans(),
)


@steady
@given(traits=st.lists(_TRAITS, max_size=5), wishes=_WISHES, needs=_NEEDS)
def test_whoever_is_left_meets_every_wish_and_the_steps_account_for_the_rest(
    traits: list[Traits], wishes: Wishes, needs: Needs
) -> None:
    models = [model(f"m{n}") for n in range(len(traits))]
    models = [
        Model(id=each.id, chute_id=each.chute_id, document=b"{}", traits=those)
        for each, those in zip(models, traits, strict=True)
    ]
    catalog = Catalog(tuple(models))
    names = tuple(each.id for each in models)
    constraints = [*wished(wishes, needs), *abilities(needs), *spacious(needs)]
    sifted = sift(names, constraints, partial(entry, catalog=catalog))
    assert sifted.names == tuple(name for name in names if name in sifted.names)
    assert sifted.later <= set(sifted.names)
    removed = [name for step in sifted.steps for name in step.removed]
    assert sorted([*removed, *sifted.names]) == sorted(names)
    left = len(names)
    for step in sifted.steps:
        assert step.before == left
        left = step.left
    for name in sifted.names:
        of = catalog.by_id[name].traits
        assert not wishes.tee or of.confidential
        assert wishes.prompt_price is None or of.price.prompt == 0.1
        assert wishes.completion_price is None or of.price.completion == 0.1
        assert not wishes.strict_parameters or needs.parameters <= (of.parameters or frozenset())
        assert wishes.only is None or {name, f"chute-{name}"} & set(wishes.only)
        assert wishes.ignore is None or not {name, f"chute-{name}"} & set(wishes.ignore)
        assert not needs.images or of.modalities is None or "image" in of.modalities
        assert not needs.tools or of.features is None or "tools" in of.features
        surely = of.context is not None and of.context >= needs.prompt_tokens
        assert name in sifted.later or surely or needs.prompt_tokens < 8_192
    assert set(sifted.last(names)) == set(names)
    if not sifted.names:
        assert emptied(sifted, sifted).body.message
