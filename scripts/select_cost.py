"""What one `order` costs: microseconds by selector, beside those of `capacity`.

Each selector found orders the same scene, in which every model was measured and a tenth of them have
requests under way, for requests of every size. Timings are viewed as in production: one view serves
`FRESH_SECONDS`, which at `--rate` requests per second are so many orders; what the first orders of a
view cost more is shared by all of it. Medians of several rounds, in processor
time, so that other programs count for less.
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable

from twisted.plugin import getPlugins

from autopilot.interfaces import IPlan, ISelector
from autopilot.policy.catalog import parse_catalog, parse_utilization
from autopilot.policy.needs import Needs
from autopilot.policy.ranking import rank
from autopilot.policy.scene import Moment, Scene
from autopilot.policy.timings import FRESH_SECONDS, Observations, Timings

MOST_MICROSECONDS = 20.0
ROUNDS = 9
VIEWS = 8
FEED_AGE = 60.0
TOKENS = (500, 2_000, 8_000, 30_000, 100_000)


def scene_of(candidates: int, chance: random.Random) -> Scene:
    """So many models of all kinds, parsed as from the platform."""
    names = [f"org/model-{index}" for index in range(candidates)]
    rows = [
        {
            "name": name,
            "chute_id": name,
            "active_instance_count": chance.randint(1, 40),
            "utilization_5m": chance.uniform(0.0, 1.1),
            "utilization_1h": chance.uniform(0.0, 1.0),
            "rate_limit_ratio_5m": chance.choice((0.0, 0.0, 0.0, chance.random())),
        }
        for name in names
    ]
    models = [
        {"id": name, "pricing": {"prompt": chance.random(), "completion": chance.random()}}
        for name in names
    ]
    utilization = parse_utilization(json.dumps(rows).encode()).utilization
    catalog = parse_catalog(json.dumps({"data": models}).encode()).catalog
    ranked = rank(utilization, catalog)
    return Scene(
        names=tuple(each.name for each in ranked),
        chutes={each.name: each.chute for each in ranked},
        catalog=catalog,
    )


def views_of(scene: Scene, chance: random.Random) -> list[Timings]:
    """Views of timings in which every model was measured for every size of prompt."""
    observations, views = Observations(), []
    for index in range(VIEWS):
        now = index * 2 * FRESH_SECONDS
        for name in scene.names:
            for tokens in TOKENS:
                observations.answered(name, chance.uniform(0.2, 9), prompt_tokens=tokens, now=now)
            observations.streamed(name, chance.randint(1_000, 90_000), 3.0, now=now)
        views.append(observations.timings(now=now))
    return views


def _needs(chance: random.Random) -> Needs:
    """Of a request as they come: most prompts are short, a few are very long, half of them go on."""
    prompt = round(chance.lognormvariate(7.5, 1.5))
    return Needs(
        prompt_tokens=prompt,
        prefix_tokens=chance.choice((0, round(prompt * chance.random()))),
        completion_tokens=chance.choice((0, 0, 1_000, 4_096)),
    )


def moments_of(
    views: list[Timings], scene: Scene, orders: int, chance: random.Random
) -> list[Moment]:
    """As many moments of each view, with requests of all sizes."""
    in_flight = {name: chance.randint(1, 9) for name in scene.names[::10]}
    return [
        Moment(
            feed_age=FEED_AGE,
            seed=chance.getrandbits(64),
            needs=_needs(chance),
            in_flight=in_flight,
            timings=timings,
        )
        for timings in views
        for _order in range(orders)
    ]


def microseconds(order: Callable[[Moment], object], moments: list[Moment]) -> float:
    """What one call costs, the median of several rounds."""
    rounds = []
    for _round in range(ROUNDS):
        began = time.process_time()
        for moment in moments:
            order(moment)
        rounds.append((time.process_time() - began) / len(moments) * 1e6)
    return statistics.median(rounds)


def main() -> int:
    """Print the table; the exit code says whether all stay under the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=100, metavar="N")
    parser.add_argument("--rate", type=int, default=100, help="requests per second")
    options = parser.parse_args()
    chance = random.Random(6)  # noqa: S311 - the same scene every time, nothing secret
    scene = scene_of(options.candidates, chance)
    views = views_of(scene, chance)
    orders = max(round(options.rate * FRESH_SECONDS), 1)
    as_served = moments_of(views, scene, orders, chance)
    one_view = moments_of(views[:1], scene, orders * VIEWS, chance)
    plans: dict[str, IPlan] = {each.name: each.plan(scene) for each in getPlugins(ISelector)}
    found = {
        name: (microseconds(plan.order, one_view), microseconds(plan.order, as_served))
        for name, plan in sorted(plans.items())
    }
    base = found["capacity"][1]
    print(f"{len(scene.names)} candidates, {orders} orders of all sizes for each view of timings")
    print(f"{'selector':<12}{'us, one view':>14}{'us, as served':>15}{'x capacity':>12}")
    for name, (steady, served) in found.items():
        print(f"{name:<12}{steady:>14.2f}{served:>15.2f}{served / base:>12.0f}")
    return 0 if all(served <= MOST_MICROSECONDS for _steady, served in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
