"""The published picture: every change is ordered anew at once, and a bad one changes nothing."""

from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from autopilot.controlplane.state import RoutingState
from autopilot.interfaces import IPictureSource
from autopilot.policy.catalog import Catalog, Chute, Model, Utilization
from autopilot.policy.picture import Picture
from autopilot.policy.ranking import rank
from autopilot.policy.readiness import MaxAges, NotReady, readiness


def catalog_of(*names: str) -> Catalog:
    return Catalog(tuple(Model(id=name, chute_id=None, document=b"{}") for name in names))


def feed_of(*names: str) -> Utilization:
    return Utilization(
        chutes=tuple(Chute(name=name, chute_id="", active_instance_count=1.0) for name in names)
    )


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.state = RoutingState()

    def catalog_fetched(self, catalog: Catalog) -> None:
        self.state.catalog_fetched(catalog, at=self.clock.seconds())

    def utilization_fetched(self, utilization: Utilization) -> None:
        self.state.utilization_fetched(utilization, at=self.clock.seconds())


def test_the_state_is_a_picture_source() -> None:
    assert verifyObject(IPictureSource, Bench().state)


def test_before_any_fetch_the_picture_is_blank() -> None:
    assert Bench().state.picture == Picture()


def test_the_first_catalogue_ranks_the_last_feed_again_at_once() -> None:
    bench = Bench()
    orders = [bench.state.picture.order]
    bench.utilization_fetched(feed_of("org/a-TEE", "org/b"))
    orders.append(bench.state.picture.order)
    bench.catalog_fetched(catalog_of("org/b"))
    orders.append(bench.state.picture.order)
    assert orders == [(), ("org/a-TEE",), ("org/b",)]


def test_a_catalogue_that_shrinks_takes_its_models_out_of_the_order_at_once() -> None:
    bench = Bench()
    bench.catalog_fetched(catalog_of("org/a", "org/b"))
    bench.utilization_fetched(feed_of("org/a", "org/b"))
    orders = [bench.state.picture.order]
    bench.catalog_fetched(catalog_of("org/b"))
    orders.append(bench.state.picture.order)
    assert orders == [("org/a", "org/b"), ("org/b",)]


def test_a_catalogue_without_a_feed_has_no_order() -> None:
    bench = Bench()
    bench.catalog_fetched(catalog_of("org/a"))
    assert bench.state.picture.order == ()
    assert bench.state.picture.catalog_fetched_at == 0.0


def test_each_fetch_is_dated_by_the_monotonic_clock_alone() -> None:
    bench = Bench()
    bench.clock.advance(3)
    bench.utilization_fetched(feed_of("org/a"))
    bench.clock.advance(4)
    bench.catalog_fetched(catalog_of("org/a"))
    picture = bench.state.picture
    assert (picture.utilization_fetched_at, picture.catalog_fetched_at) == (3.0, 7.0)


def test_the_candidates_are_ranked_with_the_terms_of_their_scores() -> None:
    bench = Bench()
    bench.utilization_fetched(feed_of("org/a-TEE", "org/b-TEE"))
    picture = bench.state.picture
    assert picture.candidates == rank(feed_of("org/b-TEE", "org/a-TEE"), Catalog())


def test_a_published_picture_is_replaced_and_never_changed() -> None:
    bench = Bench()
    bench.utilization_fetched(feed_of("org/a-TEE"))
    held = bench.state.picture
    bench.clock.advance(1)
    bench.utilization_fetched(feed_of("org/b-TEE"))
    assert (held.order, held.utilization_fetched_at) == (("org/a-TEE",), 0.0)


def test_an_empty_catalogue_is_noted_and_costs_nothing_of_what_was_known() -> None:
    bench = Bench()
    bench.catalog_fetched(catalog_of("org/a"))
    bench.utilization_fetched(feed_of("org/a"))
    bench.clock.advance(5)
    bench.state.catalog_answered_empty()
    picture = bench.state.picture
    assert picture.catalog_answered_empty
    assert picture.order == ("org/a",)
    assert picture.catalog.by_id.keys() == {"org/a"}
    assert picture.catalog_fetched_at == 0.0


def test_readiness_tells_an_empty_platform_from_one_never_asked() -> None:
    ages = MaxAges(catalog=60.0, utilization=60.0)
    bench = Bench()
    assert readiness(bench.state.picture, now=0, max_ages=ages) is NotReady.MISSING_ALLOWLIST
    bench.state.catalog_answered_empty()
    assert readiness(bench.state.picture, now=0, max_ages=ages) is NotReady.ALLOWLIST_EMPTY
    bench.catalog_fetched(catalog_of("org/a"))
    bench.utilization_fetched(feed_of("org/a"))
    assert readiness(bench.state.picture, now=0, max_ages=ages) is None
