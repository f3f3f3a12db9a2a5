"""What a client asks for, through the whole router: who is asked, with which bytes, and who is refused.

A `Bench` has six models with traits that tell them apart; `ask` sends a body and tells who was asked
while everybody fails, so that the whole order is seen.
"""

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from autopilot.dataplane.choosing import Limits
from autopilot.dataplane.journal import Journal
from autopilot.dataplane.router import Incoming
from autopilot.interfaces import IDownstream, IPictureSource, ISelector, IUpstream
from autopilot.metrics import Metrics
from autopilot.policy.catalog import Catalog, Chute, Model, Utilization
from autopilot.policy.errors import ErrorBody, Refusal
from autopilot.policy.picture import Picture
from autopilot.policy.ranking import Candidate, score
from autopilot.policy.rest import MAX_REST
from autopilot.policy.rules import FREE, Rules
from autopilot.policy.traits import Price, Traits
from autopilot.selectors.capacity import Capacity
from autopilot.testing import (
    AlphabeticSelector,
    FakeDownstream,
    FakeResponse,
    FakeUpstream,
    FixedPicture,
)
from tests.policy.strategies import steady
from tests.routers import router_over

ALIAS = "test/Auto"
TEXT, SEES = frozenset({"text"}), frozenset({"text", "image"})
SEED = frozenset({"seed"})
TOOLS = frozenset({"tools", "json_mode", "structured_outputs"})


def traits(
    price: float | None, context: int | None, *, tee: bool | None = False, **more: Any
) -> Traits:
    prices = Price(prompt=price, completion=price)
    return Traits(price=prices, context=context, confidential=tee, **more)


# In the order of the contract.
MODELS = {
    "Zen/z": traits(0.5, 40_000, tee=True, modalities=TEXT, features=TOOLS, quantization="fp8"),
    "zen/y": traits(0.1, 200_000, modalities=SEES, features=frozenset(), quantization="bf16"),
    "big/x": traits(2.0, 1_000_000, tee=True, modalities=SEES, features=TOOLS, parameters=SEED),
    "mum/w": Traits(),
    "big/v": traits(0.2, 20_000, tee=True, modalities=TEXT, features=TOOLS),
    "idle/u": traits(0.01, 9_000, tee=True, features=frozenset({"json_mode"})),
}
ACTIVE = tuple(MODELS)[:-1]
Z, Y, X, W, V, U = MODELS
BY_NAME = [Z, V, X, W, Y]
"""How every selector of a bench but `capacity` orders the candidates."""


def picture(names: Sequence[str] = ACTIVE, listed: Sequence[str] = tuple(MODELS)) -> Picture:
    chutes = [Chute(name=name, chute_id=f"chute-{name}", active_instance_count=1) for name in names]
    models = [
        Model(id=name, chute_id=f"chute-{name}", document=b"{}", traits=MODELS[name])
        for name in listed
    ]
    return Picture(
        catalog=Catalog(tuple(models)),
        catalog_fetched_at=0.0,
        utilization=Utilization(chutes=()),
        candidates=tuple(Candidate(name=c.name, score=score(c), chute=c) for c in chutes),
    )


class Bench:
    def __init__(
        self, *, source: Picture | None = None, rules: Rules = FREE, attempts: int = 8
    ) -> None:
        self.clock = Clock()
        self.platform = FakeUpstream()
        alphabetic = AlphabeticSelector()
        names = ("alphabetic", "latency", "throughput", "cost")
        self._metrics = Metrics(CollectorRegistry())
        self._router = router_over(
            cast("IUpstream", self.platform),
            IPictureSource(FixedPicture(picture() if source is None else source)),
            clock=self.clock,
            limits=Limits(aliases=(ALIAS,), max_list_items=8, max_attempts=attempts),
            selectors={
                "capacity": ISelector(Capacity()),
                **{name: cast("ISelector", alphabetic) for name in names},
            },
            rules=rules,
        )

    def route(self, raw: bytes, *fields: tuple[str, str]) -> "Deferred[None]":
        incoming = Incoming(
            path="/v1/chat/completions",
            fields=[(name.encode(), value.encode()) for name, value in fields],
            body=raw,
            request_id=b"r",
            address="192.0.2.1",
        )
        journal = Journal(request_id="r", metrics=self._metrics, clock=self.clock.seconds)
        downstream = cast("IDownstream", FakeDownstream())
        return Deferred.fromCoroutine(self._router.route(incoming, downstream, journal))

    def sent(self, raw: bytes, *fields: tuple[str, str]) -> list[bytes]:
        """What goes upstream for `raw` while everybody is cold."""
        before = len(self.platform.posted)
        done = self.route(raw, *fields)
        while not done.called:
            self.platform.posted[-1].answer.callback(FakeResponse(503).end())
        done.addErrback(lambda failure: failure.trap(Refusal) and None)
        self.clock.advance(2 * MAX_REST)
        return [posted.body for posted in self.platform.posted[before:]]

    def ask(self, model: object, *fields: tuple[str, str], **members: object) -> list[str]:
        """The models that are asked, in their order."""
        raw = json.dumps({"model": model} | members).encode()
        return [json.loads(body)["model"] for body in self.sent(raw, *fields)]

    def refused(self, model: object, *fields: tuple[str, str], **members: object) -> ErrorBody:
        """Why nobody is asked."""
        failures: list[Failure] = []
        raw = json.dumps({"model": model} | members).encode()
        self.route(raw, *fields).addErrback(failures.append)
        assert self.platform.posted == []
        refusal = failures[0].value
        assert isinstance(refusal, Refusal)
        return refusal.body


IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}]


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        (ALIAS, [Z, Y, X, W, V]),
        (f"{ALIAS}:tee", [Z, X, V]),
        (f"{ALIAS}:TEE:tee", [Z, X, V]),
        (f"{ALIAS}:latency", BY_NAME),
        (f"{ALIAS}:nitro:tee", [Z, V, X]),
        (f"{Y},{Z},{V}:tee", [Z, V]),
        (f"{Y},{X},{V}:cost", [V, X, Y]),
        (f"{Y}, chute-{X} ,{V}:floor", [V, f"chute-{X}", Y]),
        (f"{Y},{ALIAS}:tee", [Z, X, V]),
        (f"{Y}:cost,{ALIAS}", BY_NAME),
    ],
)
def test_suffixes_filter_and_order(model: str, asked: list[str]) -> None:
    assert Bench().ask(model) == asked


@pytest.mark.parametrize(
    ("provider", "asked"),
    [
        (None, [Z, Y, X, W, V]),
        ({"only": ["BIG", f"chute-{Y}"]}, [Y, X, V]),
        ({"ignore": ["zen"]}, [X, W, V]),
        ({"order": [V, "zen"]}, [V, Z, Y, X, W]),
        ({"order": [V, "zen"], "allow_fallbacks": False}, [V, Z, Y]),
        ({"allow_fallbacks": False}, [Z]),
        ({"allow_fallbacks": True}, [Z, Y, X, W, V]),
        ({"sort": "price"}, BY_NAME),
        ({"sort": {"by": "latency"}, "order": [Y]}, [Y, Z, V, X, W]),
        ({"max_price": {"prompt": 0.2}}, [Y, V]),
        ({"max_price": {"prompt": "0.5", "completion": 0.1}}, [Y]),
        ({"quantizations": ["fp8", "unknown"]}, [Z, X, W, V]),
    ],
)
@pytest.mark.parametrize("as_list", [False, True])
def test_provider_filters_and_orders(provider: object, asked: list[str], *, as_list: bool) -> None:
    model = ",".join(ACTIVE) if as_list else ALIAS
    assert Bench().ask(model, provider=provider) == asked


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ([("X-Chutes-Autopilot-Require", "tee")], [Z, X, V]),
        ([("x-chutes-autopilot-max-attempts", "2")], [Z, Y]),
        ([("X-Chutes-Autopilot-Selector", "alphabetic")], BY_NAME),
        (
            [("x-chutes-autopilot-selector", "cost"), ("x-chutes-autopilot-max-attempts", "1")],
            [Z],
        ),
    ],
)
@pytest.mark.parametrize("model", [ALIAS, ",".join(ACTIVE)])
def test_header_fields_filter_order_and_bound_and_stay_here(
    model: str, fields: list[tuple[str, str]], asked: list[str]
) -> None:
    bench = Bench()
    assert bench.ask(model, *fields, ("X-Other", "1")) == asked
    for posted in bench.platform.posted:
        names = {name.lower() for name, _value in posted.fields}
        assert b"x-other" in names
        assert not any(name.startswith(b"x-chutes-autopilot") for name in names)


def test_a_list_ordered_by_capacity_is_in_the_order_of_the_contract() -> None:
    fields = ("x-chutes-autopilot-selector", "capacity")
    assert Bench().ask(f"{V},{U},{Y},chute-{Z},{Z}", fields) == [f"chute-{Z}", Y, V, U]


@pytest.mark.parametrize(
    ("members", "asked"),
    [
        ({"messages": IMAGE}, [Y, X, W]),
        ({"tools": [{"type": "function"}]}, [Z, X, V, W]),
        ({"response_format": {"type": "json_schema"}}, [Z, X, V, W]),
        ({"response_format": {"type": "json_object"}}, [Z, X, V, W]),
        ({"max_tokens": 30_000}, [Z, Y, X, W]),
        ({"messages": IMAGE, "tools": [1]}, [X, W]),
        ({"prompt": "x" * 90_000, "max_tokens": 5_000}, [Z, Y, X, W, V]),
    ],
)
def test_an_alias_is_answered_by_who_can(members: dict[str, object], asked: list[str]) -> None:
    assert Bench().ask(ALIAS, **members) == asked
    # Within a list too; whom the client names is asked whatever he can.
    front = U if U not in asked else V
    assert Bench().ask(f"{front},{ALIAS}", **members)[:2] == [front, asked[0]]
    assert Bench().ask(f"{V},{Y}", **members) == [V, Y]
    assert Bench().ask(U, **members) == [U]


def test_models_follow_model_and_make_a_list() -> None:
    bench = Bench()
    assert bench.ask(Y, models=[V, Z]) == [Y, V, Z]
    assert bench.ask(ALIAS, models=[U]) == [Z, Y, X, W, V, U]
    assert bench.ask(None, models=[V, f"{Y}:tee", Z]) == [V, Z]
    assert bench.ask(f"{X},{Y}", models=[X, V]) == [X, Y, V]
    assert bench.ask(Y, models=[]) == [Y]
    assert bench.ask(Y, models=None) == [Y]


def test_a_routed_body_loses_what_was_said_to_the_router() -> None:
    raw = '{"models": ["big/v"], "é":1e400 , "provider": {"only":["big"]}, "stream":false}'
    sent = '{"model": "big/v", "é":1e400 , "stream":false}'
    assert Bench().sent(raw.encode()) == [sent.encode()]


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        (Y, Y),
        (f"chute-{Y}", f"chute-{Y}"),
        (f"{Y}:Latency", f"{Y}:Latency"),
        (f"{Y}:nitro", f"{Y}:throughput"),
        (f"{Y}:cost", Y),
        (f"{Z}:tee:LATENCY", f"{Z}:latency"),
    ],
)
def test_a_direct_body_is_forwarded_with_all_that_means_nothing_here(model: str, sent: str) -> None:
    raw = '{"provider": {"zdr": true , "only": 7},"model" : "%s","models":null , "é": 1.0}'
    assert Bench().sent((raw % model).encode()) == [(raw % sent).encode()]


@pytest.mark.parametrize(
    ("model", "members", "words"),
    [
        (f"{Y}:tee", {}, "none were left by tee"),
        (f"{W}:tee", {}, "of 1 model named, none were left by tee"),
        (f"{Y},{W}:tee", {}, "of 2 models named, none were left by tee"),
        (ALIAS, {"provider": {"max_price": {"prompt": 0.001}}}, "max_price prompt <= 0.001"),
        (
            f"{ALIAS}:tee",
            {"provider": {"quantizations": ["bf16"]}},
            "of 6 models of the catalogue, 4 were left by tee, none by quantizations bf16",
        ),
        (f"{ALIAS}:tee", {"provider": {"ignore": ["zen", "big", "idle"]}}, "none by tee"),
        (ALIAS, {"max_tokens": 5_000_000, "provider": {"only": ["zen"]}}, "none by context"),
        (f"{ALIAS},{ALIAS}", {"provider": {"max_price": {"completion": 0}}}, "completion <= 0"),
    ],
)
def test_what_can_never_be_met_is_the_requests_fault(
    model: str, members: dict[str, object], words: str
) -> None:
    body = Bench().refused(model, **members)
    assert (body.status, body.code) == (400, "impossible_wish")
    assert words in body.message


def test_what_nobody_can_meet_now_is_worth_another_try() -> None:
    body = Bench().refused(ALIAS, provider={"max_price": {"prompt": 0.05}})
    assert (body.status, body.code) == (503, "no_candidates")
    assert "of 5 candidates, none were left by max_price prompt <= 0.05" in body.message
    # By name it is asked all the same: it may have started meanwhile.
    assert Bench().ask(f"{U},{Z}", provider={"max_price": {"prompt": 0.05}}) == [U]


@pytest.mark.parametrize("model", [f"{ALIAS}:tee", f"{Z}:tee", f"{Z},{Y}:tee"])
def test_while_nothing_is_known_a_wish_may_be_met_later(model: str) -> None:
    body = Bench(source=picture(listed=())).refused(model)
    assert (body.status, body.code) == (503, "no_candidates")
    assert "tee" in body.message
    nothing = Bench(source=Picture()).refused(f"{ALIAS}:tee")
    assert (nothing.status, nothing.code) == (503, "no_candidates")


@pytest.mark.parametrize(
    ("rules", "asked"),
    [
        (Rules(allow=("[Zz]en/*",)), [Z, Y]),
        (Rules(deny=("big/*", "mum/w")), [Z, Y]),
        (Rules(allow=("big/*", "zen/*"), deny=("*x",)), [Y, V]),
        (Rules(tee=True), [Z, X, V]),
        (Rules(prompt_price=0.2), [Y, V]),
        (Rules(completion_price=0.5), [Z, Y, V]),
    ],
)
def test_what_the_operator_does_not_allow_is_not_asked_in_any_mode(
    rules: Rules, asked: list[str]
) -> None:
    bench = Bench(rules=rules)
    assert bench.ask(ALIAS) == asked
    assert bench.ask(f"{asked[-1]},{ALIAS}") == list(dict.fromkeys([asked[-1], *asked]))
    for name in asked:
        assert bench.ask(f"{name}:latency") == [f"{name}:latency"]
    for name in set(ACTIVE) - set(asked):
        for model in (name, f"chute-{name}", f"{name}:latency", f"{asked[0]},{name}", f"{name},"):
            body = Bench(rules=rules).refused(model)
            assert (body.status, body.code, body.param) == (403, "model_not_allowed", "model")
            assert name in body.message
            assert asked[0] not in body.message


def test_rules_are_not_kept_by_guessing_while_there_is_no_catalogue() -> None:
    for model in (Z, f"chute-{Y}", f"{Z},{V}"):
        body = Bench(rules=Rules(deny=("zen/*",)), source=Picture()).refused(model)
        assert (body.status, body.code) == (503, "no_candidates")
    forbidding = Bench(rules=Rules(allow=("none/*",)))
    assert forbidding.refused(ALIAS).status == 503
    message = forbidding.refused(ALIAS).message
    assert message.endswith(
        "rules allow none: of 6 models of the catalogue, none were left by ALLOW_MODELS."
    )


def served(bench: Bench, model: str, *, seconds: float) -> None:
    """Have `model` serve the client by a stream that begins after `seconds`."""
    routing = bench.route(json.dumps({"model": f"{model},", "stream": True}).encode())
    bench.clock.advance(seconds)
    bench.platform.posted[-1].answer.callback(
        FakeResponse(fields=((b"Content-Type", b"text/event-stream"),))
        .send(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\ndata: [DONE]\n\n')
        .end()
    )
    assert routing.called


@pytest.mark.parametrize(
    # The one whom it served so late has a place there, the other has none.
    "client",
    [[], [("Authorization", "Bearer another")]],
)
def test_slow_models_are_asked_late_if_that_is_wished(client: list[tuple[str, str]]) -> None:
    bench = Bench()
    for _again in range(3):
        served(bench, Z, seconds=4)
    bench.clock.advance(1)
    wish = {"preferred_max_latency": {"p50": 2}}
    assert bench.ask(f"{Z},{Y},{X}", *client, provider=wish) == [Y, X, Z]


def test_a_slow_model_that_is_put_first_by_name_stays_there() -> None:
    assert Bench().ask(ALIAS, provider={"order": [V], "preferred_max_latency": 1})[0] == V


def test_a_client_does_not_stay_on_a_model_that_is_slower_than_it_wishes() -> None:
    bench = Bench()
    served(bench, Z, seconds=4)
    wish = {"preferred_max_latency": 2}
    assert bench.ask(f"{Z},{Y},{X}")[0] == Z
    served(bench, Z, seconds=4)
    assert bench.ask(f"{Z},{Y},{X}", provider=wish) == [Y, X, Z]
    served(bench, X, seconds=1)
    # Who is not slow is not left for it, and behind those that are wished for the place still counts.
    assert bench.ask(f"{Z},{Y},{X}", provider=wish) == [X, Z, Y]
    served(bench, X, seconds=1)
    assert bench.ask(f"{Z},{Y},{X}", provider={"order": [Y]}) == [Y, X, Z]


@pytest.mark.parametrize(
    ("model", "asked"), [(f"{Z},{Y}", [Z]), (f"{Z},{ALIAS}", [Z]), (f"{ALIAS},{Z}", [Y])]
)
def test_without_fallbacks_a_model_that_is_named_first_is_asked_even_while_it_rests(
    model: str, asked: list[str]
) -> None:
    bench = Bench()
    resting = bench.route(json.dumps({"model": Z}).encode())
    bench.platform.posted[-1].answer.callback(FakeResponse(503).end())
    assert resting.called
    assert bench.ask(model, provider={"allow_fallbacks": False}) == asked


@pytest.mark.parametrize(
    ("model", "provider", "first"),
    [
        (ALIAS, {"sort": "latency"}, Z),
        (f"{Y},chute-{V},{X}", {"sort": "latency"}, f"chute-{V}"),
        (f"{Y},{V},{X}", {}, Y),
        # An order that is wished for goes before both, but not before a place among equals.
        (ALIAS, {"sort": "latency", "order": [V]}, V),
        (ALIAS, {"order": [V]}, V),
        (f"{X},{Y},{V}", {"order": [V]}, V),
        (ALIAS, {"order": ["zen"]}, Y),
    ],
)
def test_a_place_gives_way_to_a_strategy_and_to_a_wish(
    model: str, provider: dict[str, object], first: str
) -> None:
    bench = Bench()
    served(bench, Y, seconds=1)
    assert bench.ask(model, provider=provider)[0] == first


def test_a_place_is_kept_while_those_who_are_wished_for_first_rest() -> None:
    bench = Bench()
    served = bench.route(json.dumps({"model": f"{Y},"}).encode())
    bench.platform.posted[-1].answer.callback(FakeResponse().send(b"data: [DONE]\n\n").end())
    assert served.called
    body = json.dumps({"model": f"{V},"}).encode()
    failed = bench.route(body, ("Authorization", "Bearer another"))
    bench.platform.posted[-1].answer.callback(FakeResponse(503).end())
    assert failed.called
    assert bench.ask(ALIAS, provider={"order": [V]})[0] == Y


_REQUESTS = st.fixed_dictionaries(
    {"model": st.sampled_from([ALIAS, f"{ALIAS}:tee", f"{ALIAS}:cost", f"{V},{ALIAS}"])},
    optional={
        "messages": st.just(IMAGE),
        "tools": st.just([{"type": "function"}]),
        "response_format": st.sampled_from([{"type": "json_object"}, {"type": "json_schema"}]),
        "max_tokens": st.sampled_from([15_000, 30_000, 100_000, 2_000_000]),
        "prompt": st.sampled_from(["x" * 30_000, "x" * 150_000]),
        "seed": st.just(1),
        "provider": st.sampled_from(
            [{"require_parameters": True}, {"require_parameters": True, "only": ["big"]}]
        ),
    },
)


def asked_of(bench: Bench, request: dict[str, Any], client: tuple[str, str]) -> list[str]:
    members = dict(request)
    return bench.ask(members.pop("model"), client, **members)


@steady
@given(requests=st.lists(_REQUESTS, min_size=2, max_size=6))
def test_what_was_asked_for_before_changes_nothing(requests: list[dict[str, Any]]) -> None:
    shared = Bench()
    for number, request in enumerate(requests):
        client = ("Authorization", f"Bearer {number}")
        assert asked_of(shared, request, client) == asked_of(Bench(), request, client)


_CLIENT = st.fixed_dictionaries(
    {},
    optional={
        "only": st.lists(st.sampled_from([*MODELS, "big", "zen"]), min_size=1, max_size=3),
        "order": st.lists(st.sampled_from([*MODELS, "big", "zen"]), min_size=1, max_size=3),
        "max_price": st.sampled_from([{"prompt": 0.2}, {"completion": 5}]),
        "sort": st.sampled_from(["price", "latency"]),
        "allow_fallbacks": st.booleans(),
    },
)


@steady
@given(
    provider=_CLIENT,
    model=st.sampled_from([ALIAS, f"{V},{Y},{U}", f"{Y},{ALIAS}"]),
    suffix=st.sampled_from(["", ":tee"]),
    most=st.none() | st.integers(1, 8),
)
def test_whoever_is_asked_meets_every_wish(
    provider: dict[str, Any], model: str, suffix: str, most: int | None
) -> None:
    fields = [] if most is None else [("x-chutes-autopilot-max-attempts", str(most))]
    asked = Bench().ask(model + suffix, *fields, provider=provider)
    assert len(set(asked)) == len(asked) <= (most or 8)
    for name in asked:
        of = MODELS[name]
        assert not suffix or of.confidential
        if "max_price" in provider:
            [(part, limit)] = provider["max_price"].items()
            said = getattr(of.price, part)
            assert said is not None
            assert said <= limit
        if "only" in provider:
            maker = name.partition("/")[0].lower()
            assert {name, maker} & set(provider["only"])
    if provider.get("allow_fallbacks") is False and "order" not in provider:
        assert len(asked) <= 1
