"""The router over fakes: who is asked for which `model`, in which order, and how many of them.

A `Bench` sends requests to a `Platform` on which some models fail; `ask` tells which it was asked for.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from autopilot.dataplane.choosing import Limits
from autopilot.dataplane.journal import Journal
from autopilot.dataplane.router import Incoming
from autopilot.interfaces import (
    IDownstream,
    IPictureSource,
    IPlan,
    ISelector,
    IStickyStore,
    IUpstream,
)
from autopilot.metrics import Metrics
from autopilot.policy.affinity import HYSTERESIS
from autopilot.policy.catalog import Utilization
from autopilot.policy.errors import Refusal
from autopilot.policy.picture import Picture
from autopilot.policy.rest import MAX_REST, Cause, RestTable
from autopilot.policy.scene import Moment, Scene
from autopilot.testing import (
    AlphabeticSelector,
    FakeDownstream,
    FakeResponse,
    FakeSticky,
    FakeUpstream,
    FixedPicture,
    FixedPlan,
    picture_of,
)
from tests.policy.strategies import steady
from tests.routers import router_over

ALIAS = "test/Auto"
NAMES = ("a", "b", "c", "d", "e")
WHOLE = b"data: [DONE]\n\n"


class Platform(FakeUpstream):
    """Answers at once: 503 for the `failing` models, a whole stream for the others."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: set[str] = set()

    @property
    def asked(self) -> list[str]:
        return [json.loads(posted.body)["model"] for posted in self.posted]

    def post(self, *arguments: Any, **named: Any) -> Any:
        answer = super().post(*arguments, **named)
        failing = self.asked[-1] in self.failing
        answer.callback((FakeResponse(503) if failing else FakeResponse().send(WHOLE)).end())
        return answer


class Bench:
    """A router, by default with the picture of `NAMES` in this order."""

    def __init__(
        self,
        *,
        source: object | None = None,
        sticky: IStickyStore | None = None,
        max_attempts: int = 3,
        max_list_items: int = 8,
        selectors: Mapping[str, ISelector] | None = None,
        default: str = "capacity",
        shadow: str | None = None,
    ) -> None:
        self.clock = Clock()
        self.platform = Platform()
        self.downstream = FakeDownstream()
        self._registry = CollectorRegistry()
        self.metrics = Metrics(self._registry)
        self.rests = RestTable()
        self._router = router_over(
            cast("IUpstream", self.platform),
            cast("IPictureSource", source or FixedPicture(picture_of(*NAMES))),
            clock=self.clock,
            limits=Limits(
                aliases=(ALIAS,), max_list_items=max_list_items, max_attempts=max_attempts
            ),
            sticky=sticky,
            rests=self.rests,
            selectors=selectors,
            default=default,
            shadow=shadow and (shadow, self.metrics),
        )

    def ask(
        self,
        model: str,
        *,
        failing: Sequence[str] = (),
        client: str = "one",
        session: str | None = None,
    ) -> list[str]:
        """Send a request while `failing` fail; the models that were asked, in their order.

        Afterwards every rest is over, so that stickiness alone is left of what was learned.
        """
        before = len(self.platform.posted)
        self.platform.failing = set(failing)
        done = self.route(model, client=client, session=session)
        assert done.called
        assert self.downstream.end == "finished"
        self.clock.advance(2 * MAX_REST)
        return self.platform.asked[before:]

    def refused(self, model: str) -> tuple[int, str]:
        """Send a request that is refused before anybody was asked; status and code."""
        failures: list[Failure] = []
        self.route(model).addErrback(failures.append)
        refusal = failures[0].value
        assert isinstance(refusal, Refusal)
        assert self.platform.posted == []
        assert self.downstream.status is None
        return refusal.body.status, refusal.body.code

    def count(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(name, labels)

    def route(
        self, model: str, *, client: str = "one", session: str | None = None, **members: object
    ) -> "Deferred[None]":
        self.downstream = FakeDownstream()
        incoming = Incoming(
            path="/v1/chat/completions",
            fields=[
                (b"Authorization", f"Bearer {client}".encode()),
                *([] if session is None else [(b"X-Session-Id", session.encode())]),
            ],
            body=json.dumps({"model": model, "stream": True} | members).encode(),
            request_id=b"r",
            address="192.0.2.1",
        )
        journal = Journal(request_id="r", metrics=self.metrics, clock=self.clock.seconds)
        routing = self._router.route(incoming, cast("IDownstream", self.downstream), journal)
        return Deferred.fromCoroutine(routing)


def test_a_model_that_failed_under_one_of_its_names_rests_under_all() -> None:
    bench = Bench()
    bench.platform.failing = {"chute-a"}
    bench.route("chute-a,b")
    bench.platform.failing = set()
    bench.route(ALIAS, client="another")
    bench.route("a,c", client="a third")
    bench.route("chute-a,d", client="a fourth")
    assert bench.platform.asked == ["chute-a", "b", "b", "c", "d"]


@pytest.mark.parametrize("attempts", [1, 2, 4, 5, 64])
def test_an_alias_is_tried_at_most_so_many_times_as_the_setting_says(attempts: int) -> None:
    bench = Bench(max_attempts=attempts)
    assert bench.ask(ALIAS, failing=NAMES[:-1]) == list(NAMES[:attempts])
    # Whoever was last is passed through, although a candidate beyond the bound would have answered.
    assert bench.downstream.status == (200 if attempts >= len(NAMES) else 503)


@pytest.mark.parametrize(
    ("attempts", "asked"), [(1, ["e"]), (2, ["e", "a"]), (3, ["e", "a", "b"]), (64, list("eabcd"))]
)
def test_the_attempts_are_counted_after_the_sticky_model_was_put_first(
    attempts: int, asked: list[str]
) -> None:
    bench = Bench(max_attempts=attempts)
    assert bench.ask("e,") == ["e"]
    assert bench.ask(ALIAS, failing=NAMES) == asked


def test_the_attempts_are_counted_after_the_resting_models_were_put_last() -> None:
    bench = Bench(max_attempts=2)
    bench.platform.failing = {"a", "b"}
    bench.route(ALIAS)
    bench.route(ALIAS)
    assert bench.platform.asked == ["a", "b", "c"]
    bench.ask(ALIAS, client="two", failing=["a", "b", "c"])
    assert bench.platform.asked[3:] == ["c", "d"]


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("answering", [*NAMES, None])
def test_a_list_is_tried_to_its_end_whatever_its_length(
    answering: str | None, attempts: int
) -> None:
    bench = Bench(max_attempts=attempts)
    failing = [name for name in NAMES if name != answering]
    order = ["e", "c", "a", "b", "d"]
    tried = order[: order.index(answering) + 1] if answering else order
    assert bench.ask(",".join(order), failing=failing) == tried
    assert bench.downstream.header(b"x-chutes-autopilot-selected") == [tried[-1].encode()]


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        (f"d,{ALIAS}", ["d", "a", "b", "c", "e"]),
        (f"e,{ALIAS},b", ["e", "a", "b", "c", "d"]),
        (f"{ALIAS},e", ["a", "b", "c", "d", "e"]),
        (f"{ALIAS},", ["a", "b", "c", "d", "e"]),
        (f" c , {ALIAS} , {ALIAS} , c ", ["c", "a", "b", "d", "e"]),
    ],
)
@pytest.mark.parametrize("most", [3, 4, 64])
def test_an_alias_amid_names_stands_for_the_order_there_and_the_list_is_cut(
    model: str, asked: list[str], most: int
) -> None:
    bench = Bench(max_attempts=1, max_list_items=most)
    assert bench.ask(model, failing=NAMES) == asked[:most]


@pytest.mark.parametrize(
    ("first", "second"),
    [(ALIAS, "a,b"), ("a,b", ALIAS), (ALIAS, ALIAS), ("a,b", "a,b"), (f"{ALIAS},", "a,b,c")],
)
def test_alias_and_list_share_one_sticky_table(first: str, second: str) -> None:
    bench = Bench()
    assert bench.ask(first, failing=["a"]) == ["a", "b"]
    assert bench.ask(second) == ["b"]
    assert bench.ask(second, client="two") == ["a"]


@pytest.mark.parametrize(("first", "second"), [(ALIAS, "a,b"), ("a,b", ALIAS)])
def test_a_failure_in_one_mode_ends_the_place_in_the_other(first: str, second: str) -> None:
    bench = Bench()
    assert bench.ask("b,") == ["b"]
    assert bench.ask(first, failing=["b"]) == ["b", "a"]
    assert bench.ask(second) == ["a"]


def test_a_list_without_the_sticky_model_is_asked_in_its_own_order_and_moves_the_client() -> None:
    bench = Bench()
    assert bench.ask("e,") == ["e"]
    assert bench.ask("d,c") == ["d"]
    assert bench.ask(ALIAS) == ["d"]


def test_a_direct_request_does_not_read_the_sticky_table() -> None:
    bench = Bench()
    bench.ask("b,")
    assert bench.ask("a") == ["a"]
    assert bench.downstream.header(b"x-chutes-autopilot-selected") == []


@pytest.mark.parametrize("routed", [ALIAS, "a,b"])
def test_a_direct_request_does_not_write_the_sticky_table(routed: str) -> None:
    bench = Bench()
    bench.ask("b")
    assert bench.ask(routed) == ["a"]
    bench.ask("b")
    assert bench.ask(routed) == ["a"]


@pytest.mark.parametrize("routed", [ALIAS, "a,b"])
def test_a_failure_of_a_direct_request_does_not_end_the_place_of_the_client(routed: str) -> None:
    bench = Bench()
    bench.ask("b,")
    assert bench.ask("b", failing=["b"]) == ["b"]
    assert bench.downstream.status == 503
    assert bench.ask(routed) == ["b"]


@pytest.mark.parametrize(("kept", "asked"), [("c", ["c"]), ("gone", ["a"]), (None, ["a"])])
@pytest.mark.parametrize("model", [ALIAS, "a,b,c"])
def test_a_store_that_takes_its_time_is_waited_for_before_anybody_is_asked(
    model: str, kept: str | None, asked: list[str]
) -> None:
    store = FakeSticky()
    bench = Bench(sticky=store)
    routing = bench.route(model)
    assert (len(store.asked), bench.platform.asked) == (1, [])
    store.asked[0].callback(kept)
    assert routing.called
    assert bench.platform.asked == asked
    assert store.written == [("put", asked[0])]


def test_who_rests_is_seen_when_the_store_has_answered() -> None:
    store = FakeSticky()
    bench = Bench(sticky=store)
    bench.route(ALIAS)
    bench.rests.failed("c", Cause.BRIEF, now=bench.clock.seconds())
    store.asked[0].callback("c")
    assert bench.platform.asked == ["a"]


def test_a_client_that_leaves_while_the_store_is_waited_for_was_sent_nowhere() -> None:
    store = FakeSticky()
    bench = Bench(sticky=store)
    routing = bench.route(ALIAS)
    routing.cancel()
    failures: list[Failure] = []
    routing.addErrback(failures.append)
    assert failures[0].check(CancelledError)
    assert store.cancelled == 1
    assert (bench.platform.posted, store.written) == ([], [])
    assert bench.count("autopilot_clients_gone_total", phase="headers") == 1
    assert bench.count("autopilot_attempts_total", outcome="client_gone") == 0


def test_a_request_without_a_choice_asks_no_store() -> None:
    store = FakeSticky()
    bench = Bench(sticky=store)
    assert bench.ask("b") == ["b"]
    bench.platform.posted.clear()
    bench.downstream = FakeDownstream()
    assert bench.refused("no/Such,x") == (400, "unknown_model")
    nobody = Bench(sticky=store, source=FixedPicture(Picture()))
    assert nobody.refused(ALIAS) == (503, "no_candidates")
    assert (store.asked, store.written) == ([], [])


NO_ORDER = Picture(catalog=picture_of(*NAMES).catalog, utilization=Utilization(chutes=()))


@pytest.mark.parametrize("picture", [Picture(), NO_ORDER])
@pytest.mark.parametrize("model", [ALIAS, f"{ALIAS},", f",{ALIAS},{ALIAS}"])
def test_without_an_order_an_alias_has_no_candidates(model: str, picture: Picture) -> None:
    assert Bench(source=FixedPicture(picture)).refused(model) == (503, "no_candidates")


def test_without_an_order_the_names_of_a_list_are_candidates_still() -> None:
    bench = Bench(source=FixedPicture(NO_ORDER))
    assert bench.ask(f"{ALIAS},c,{ALIAS},a", failing=NAMES) == ["c", "a"]
    assert bench.ask("e") == ["e"]


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("no/Such", ["no/Such"]),
        ("no/Such:throughput", ["no/Such:throughput"]),
        ("no/Such, b ,x", ["no/Such", "b", "x"]),
    ],
)
def test_without_a_catalogue_names_go_upstream_unchecked(model: str, asked: list[str]) -> None:
    assert Bench(source=FixedPicture(Picture())).ask(model, failing=asked) == asked
    assert Bench().refused(model) == (400, "unknown_model")


def test_a_catalogue_that_arrives_is_what_the_next_request_is_checked_by() -> None:
    source = FixedPicture(Picture())
    bench = Bench(source=source)
    bench.ask("x")
    source.picture = picture_of(*NAMES)
    bench.platform.posted.clear()
    assert bench.refused("x") == (400, "unknown_model")


def bench_of(selector: object, *, source: object | None = None) -> Bench:
    return Bench(source=source, selectors={"chosen": cast("ISelector", selector)}, default="chosen")


def test_a_selector_plans_once_for_a_picture_and_orders_every_alias() -> None:
    selector = AlphabeticSelector()
    source = FixedPicture(picture_of(*reversed(NAMES)))
    bench = bench_of(selector, source=source)
    assert bench.ask(ALIAS, failing=["a"]) == ["a", "b"]
    assert bench.ask(f"d,{ALIAS}", client="two", failing=["d"]) == ["d", "a"]
    assert bench.ask("c") == ["c"]
    assert [len(plan.asked) for plan in selector.plans] == [2]
    source.picture = picture_of("e", "d")
    assert bench.ask(ALIAS, client="three") == ["d"]
    assert [len(plan.asked) for plan in selector.plans] == [2, 1]


@implementer(ISelector)
class FailingSelector:
    name = "failing"

    def __init__(self, *, order: tuple[str, ...] | None) -> None:
        self._order = order
        self.plans = 0

    def plan(self, _scene: Scene) -> IPlan:
        self.plans += 1
        if self._order is None:
            raise ZeroDivisionError
        return IPlan(FixedPlan(self._order))


def test_a_selector_that_raises_costs_no_request_and_is_not_asked_again_for_the_picture(
    lost_errors: list[Failure],
) -> None:
    selector = FailingSelector(order=None)
    bench = bench_of(selector)
    assert [bench.ask(ALIAS, client=client) for client in ("one", "two")] == [["a"], ["a"]]
    assert selector.plans == 1
    assert [failure.type for failure in lost_errors] == [ZeroDivisionError]
    lost_errors.clear()


@pytest.mark.parametrize("order", [(), ("e", "d"), (*NAMES, "a"), tuple("edcbb"), tuple("edcbx")])
def test_a_selector_that_loses_adds_or_repeats_names_is_not_followed(
    order: tuple[str, ...],
) -> None:
    bench = bench_of(FailingSelector(order=order))
    assert [bench.ask(ALIAS, client=client) for client in ("one", "two")] == [["a"], ["a"]]


@pytest.mark.parametrize("rested_by", ["a", ALIAS])
def test_a_direct_request_to_a_resting_model_is_sent_all_the_same(rested_by: str) -> None:
    bench = Bench()
    bench.platform.failing = {"a"}
    bench.route(rested_by)
    asked = len(bench.platform.asked)
    bench.route("a")
    assert bench.platform.asked[asked:] == ["a"]
    assert bench.downstream.status == 503
    bench.platform.failing.clear()
    bench.route("a")
    assert bench.platform.asked[asked:] == ["a", "a"]
    assert (bench.downstream.status, bench.downstream.end) == (200, "finished")


def test_while_the_sticky_model_rests_its_clients_go_to_another() -> None:
    """It failed for somebody else: they had no failure of their own that would have moved them."""
    bench = Bench()
    assert bench.ask("e,") == ["e"]
    bench.platform.failing = {"e"}
    bench.route("e", client="two")
    bench.platform.failing.clear()
    bench.route(ALIAS)
    assert bench.platform.asked[2:] == ["a"]
    # Nor do they come back: the place is that of the model that served them last.
    assert bench.ask(ALIAS) == ["a"]


@steady
@given(
    st.lists(st.tuples(st.sets(st.sampled_from(NAMES)), st.sampled_from([0, 1, 40])), max_size=8),
    st.sampled_from([ALIAS, "c", "c,a", f"e,{ALIAS}"]),
    st.integers(1, 6),
)
def test_whatever_rests_a_request_is_sent_to_somebody(
    failures: list[tuple[set[str], int]], model: str, attempts: int
) -> None:
    bench = Bench(max_attempts=attempts)
    for failing, seconds in failures:
        bench.platform.failing = failing
        bench.route(model)
        bench.clock.advance(seconds)
    bench.platform.failing = set(NAMES)
    before = len(bench.platform.asked)
    bench.route(model)
    asked = bench.platform.asked[before:]
    order = {ALIAS: NAMES, "c": ("c",), "c,a": ("c", "a")}.get(model, ("e", "a", "b", "c", "d"))
    assert len(asked) == (min(attempts, len(order)) if model == ALIAS else len(order))
    assert len(set(asked)) == len(asked)
    assert set(asked) <= set(order)


def test_a_new_catalogue_wakes_a_model_that_was_gone() -> None:
    source = FixedPicture(picture_of(*NAMES))
    bench = Bench(source=source)
    bench.rests.failed("a", Cause.UNTIL_CATALOG, now=0)
    bench.route(ALIAS)
    source.picture = picture_of(*NAMES)
    bench.route(ALIAS, client="two")
    assert bench.platform.asked == ["b", "a"]


@implementer(IPlan)
class WeighingPlan:
    """The order as it is; each place after the first is worse by the `disadvantage`."""

    def __init__(self, names: tuple[str, ...], disadvantage: float) -> None:
        self._names = names
        self._disadvantage = disadvantage

    def order(self, _moment: Moment) -> tuple[str, ...]:
        return self._names

    def terms(self, _name: str, _moment: Moment) -> Mapping[str, float]:
        return {}

    def disadvantage(self, name: str, rival: str, _moment: Moment) -> float:
        behind = self._names.index(name) > self._names.index(rival)
        return self._disadvantage if behind else 0.0


@implementer(ISelector)
class WeighingSelector:
    name = "weighing"

    def __init__(self, disadvantage: float) -> None:
        self.disadvantage = disadvantage

    def plan(self, scene: Scene) -> IPlan:
        return IPlan(WeighingPlan(scene.names, self.disadvantage))


@pytest.mark.parametrize(
    ("disadvantage", "asked", "place"),
    [(HYSTERESIS, "b", "stayed"), (HYSTERESIS + 0.01, "a", "left")],
)
def test_a_client_leaves_its_model_when_that_is_worth_it(
    disadvantage: float, asked: str, place: str
) -> None:
    bench = bench_of(WeighingSelector(disadvantage))
    assert bench.ask(ALIAS, failing=["a"]) == ["a", "b"]
    assert bench.ask(ALIAS) == [asked]
    assert bench.count("autopilot_sticky_places_total", place=place) == 1
    assert bench.count("autopilot_sticky_places_total", place="none") == 1


def test_a_model_that_was_left_is_the_next_to_be_asked_if_the_better_one_fails() -> None:
    bench = bench_of(WeighingSelector(1.0))
    assert bench.ask(ALIAS, failing=["a", "b"]) == ["a", "b", "c"]
    assert bench.ask(ALIAS, failing=["a"]) == ["a", "c"]


def test_a_model_is_not_left_for_one_that_rests() -> None:
    bench = bench_of(WeighingSelector(1.0))
    assert bench.ask(ALIAS, failing=["a"]) == ["a", "b"]
    bench.rests.failed("a", Cause.BRIEF, now=bench.clock.seconds())
    assert bench.ask(ALIAS) == ["b"]
    assert bench.count("autopilot_sticky_places_total", place="stayed") == 1


def test_in_a_list_of_its_own_a_client_is_not_moved_by_our_ranking() -> None:
    bench = bench_of(WeighingSelector(1.0))
    assert bench.ask(f"{ALIAS},c", failing=["a"]) == ["a", "b"]
    assert bench.ask(f"{ALIAS},c") == ["b"]


def test_what_became_of_a_place_is_counted() -> None:
    bench = Bench()
    bench.ask(ALIAS)
    bench.ask("b,c")
    bench.ask(ALIAS)
    bench.rests.failed("b", Cause.BRIEF, now=bench.clock.seconds())
    bench.ask(ALIAS)
    bench.ask("c")
    counted = {
        place: bench.count("autopilot_sticky_places_total", place=place)
        for place in ("none", "stayed", "left", "rested", "absent")
    }
    assert counted == {"none": 1, "stayed": 1, "left": 0, "rested": 1, "absent": 1}


def test_conversations_of_one_client_have_places_of_their_own() -> None:
    bench = Bench()
    assert bench.ask(ALIAS, failing=["a"], session="one") == ["a", "b"]
    assert bench.ask(ALIAS, session="one") == ["b"]
    assert bench.ask(ALIAS, session="two") == ["a"]
    assert bench.ask(ALIAS, session="one", client="another") == ["a"]
    assert bench.ask(ALIAS) == ["a"]
