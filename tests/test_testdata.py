"""The fixtures are what they say: the platform's shapes, from which an order follows."""

from pathlib import Path

from autopilot.policy.catalog import PRIVATE_NAME, parse_catalog, parse_utilization
from autopilot.policy.ranking import rank

TESTDATA = Path(__file__).parents[1] / "testdata"


def test_the_fixtures_parse_without_a_loss_and_rank_the_models_of_the_catalogue() -> None:
    catalog = parse_catalog((TESTDATA / "models.json").read_bytes())
    feed = parse_utilization((TESTDATA / "utilization.json").read_bytes())
    assert not catalog.dropped
    assert not feed.dropped
    assert PRIVATE_NAME in {chute.name for chute in feed.utilization.chutes}
    order = [candidate.name for candidate in rank(feed.utilization, catalog.catalog)]
    assert order[0] == "sim/Alpha-70B-TEE"
    assert set(order) == set(catalog.catalog.by_id)
