"""The figures of a simulation as tables: in a terminal, and as those parts of `research/SELECTION.md`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from autopilot.simulator.fleet.figures import FIGURES as MEANINGS
from autopilot.simulator.fleet.grid import Case, Results, Spread

BEGIN, END = "<!-- figures: written by make simulate -->", "<!-- end of figures -->"

FIGURES = {
    "ttft_p50": "first token p50, s",
    "ttft_p95": "p95, s",
    "ttft_p99": "p99, s",
    "refused": "refused, %",
    "failovers": "failovers a request",
    "fairness": "Jain",
    "sticky_breaks": "sticky breaks, %",
    "sticky_left": "of them left, %",
    "cost": "$ for 1,000",
    "cached": "cache hits, %",
    "pace": "tokens/s",
    "others_refused": "others refused, %",
    "utilization": "slots taken, %",
}
"""Short names of the figures, for columns."""

SUBJECT = "balanced"
"""Whose differences to the others are shown."""

_RIVALS = ("oracle", "capacity", "latency", "random", "static")
_COMPARED = ("refused", "ttft_p50", "ttft_p95", "failovers", "cost")
_ACROSS = ("refused", "ttft_p50", "ttft_p95", "ttft_p99", "failovers", "fairness")
_SWEPT = ("refused", "ttft_p50", "ttft_p95", "failovers", "fairness", "sticky_breaks")
_TWO_MINUTES = 120.0
_HUNDRED, _TEN = 100, 10


def feed_words(seconds: float) -> str:
    """5 s, 30 min."""
    return f"{seconds:.0f} s" if seconds < _TWO_MINUTES else f"{seconds / 60:.0f} min"


def value(spread: Spread) -> str:
    """The mean, and the least and the most of the seeds if they show in it."""
    mean, least, most = (_number(each) for each in (spread.mean, spread.least, spread.most))
    return mean if least == most else f"{mean} ({least}..{most})"


def difference(spread: Spread) -> str:
    """The mean of the differences with its sign; in brackets where the seeds do not agree on one."""
    text = f"{'+' if spread.mean > 0 else ''}{_number(spread.mean)}"
    return f"({text})" if spread.noise else text


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown, which is read in a terminal as well."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def overview(results: Results, cases: Sequence[Case], figures: Sequence[str]) -> str:
    """One row for each case that was run: what it was and how it went."""
    rows = []
    for case in cases:
        spreads = [results.spread(case, figure) for figure in figures]
        known = [spread for spread in spreads if spread is not None]
        if len(known) == len(figures):
            rows.append([f"`{case.strategy}`", *(value(spread) for spread in known)])
    return table(["strategy", *(FIGURES[figure] for figure in figures)], rows)


def written(results: Results, pictures: Sequence[tuple[str, str]]) -> str:
    """All that stands between the markers; `pictures` are their files and titles."""
    meta = results.meta
    parts = [
        (
            f"{meta['seeds']} seeds from {meta['seed']} on, {meta['seconds'] / 60:.0f} minutes of each, "
            f"{meta['routers'][0]} routers, begun with `{meta['start']}`. A cell is the mean of the "
            "seeds (least..most)."
        )
    ]
    parts += [f"![{title}]({file})" for file, title in pictures]
    for figure in _ACROSS:
        title = MEANINGS[figure]
        parts += [f"### {title[:1].upper()}{title[1:]}", _across(results, figure)]
    parts += [
        f"### `{SUBJECT}` against each",
        (
            f"`{SUBJECT}` less the other, for the same requests: negative is less. In brackets is what "
            "is noise: the seeds do not agree on the sign."
        ),
    ]
    parts += [f"**{MEANINGS[figure]}**\n\n{_against(results, figure)}" for figure in _COMPARED]
    parts += ["### Everything else, at a load of 0.7 and a feed every 5 minutes", _whole(results)]
    parts += _sweeps(results)
    return "\n\n".join(part for part in parts if part)


def _plain(results: Results) -> Case:
    """A case of the grid, of which the rest is replaced."""
    return Case(
        strategy=SUBJECT,
        feed=0.0,
        load=0.0,
        routers=results.meta["routers"][0],
        arrivals=results.meta["arrivals"],
    )


def _grid(results: Results) -> list[Case]:
    return [
        replace(_plain(results), load=load, feed=feed)
        for load in results.meta["loads"]
        for feed in results.meta["feeds"]
    ]


def _across(results: Results, figure: str) -> str:
    strategies = results.meta["strategies"]
    rows = []
    for case in _grid(results):
        cells = [
            results.spread(replace(case, strategy=strategy), figure) for strategy in strategies
        ]
        rows.append(
            [
                f"{case.load:g}",
                feed_words(case.feed),
                *("" if cell is None else value(cell) for cell in cells),
            ]
        )
    return table(["load", "feed every", *(f"`{each}`" for each in strategies)], rows)


def _against(results: Results, figure: str) -> str:
    rivals = [rival for rival in _RIVALS if rival in results.meta["strategies"]]
    rows = []
    for case in _grid(results):
        mine = results.spread(case, figure)
        cells = [f"{case.load:g}", feed_words(case.feed)]
        for rival in rivals:
            other = results.spread(replace(case, strategy=rival), figure)
            both = mine is not None and other is not None
            cells.append(difference(mine.less(other)) if both and mine and other else "")
        rows.append(cells)
    return table(["load", "feed every", *(f"`{rival}`" for rival in rivals)], rows)


def _whole(results: Results) -> str:
    case = replace(_plain(results), load=0.7, feed=300.0)
    cases = [replace(case, strategy=strategy) for strategy in results.meta["strategies"]]
    rest = [figure for figure in FIGURES if figure not in _ACROSS]
    return overview(results, cases, rest)


def _sweeps(results: Results) -> list[str]:
    """What was run beside the grid: other numbers of routers, and clients that come in bursts."""
    parts = []
    plain = _plain(results)
    for arrivals in results.values("arrivals"):
        for routers in results.values("routers"):
            if (arrivals, routers) == (plain.arrivals, plain.routers):
                continue
            for feed in results.values("feed"):
                cases = [
                    replace(
                        plain,
                        strategy=strategy,
                        feed=feed,
                        load=results.meta["sweep_load"],
                        routers=routers,
                        arrivals=arrivals,
                    )
                    for strategy in results.meta["strategies"]
                ]
                if results.spread(cases[0], "refused") is not None:
                    many = "1 router" if routers == 1 else f"{routers} routers"
                    parts += [
                        (
                            f"**{many}, {arrivals} clients, load {cases[0].load:g}, "
                            f"a feed every {feed_words(feed)}**"
                        ),
                        overview(results, cases, _SWEPT),
                    ]
    return ["### Other numbers of routers, and bursts", *parts] if parts else []


def between(text: str, between_them: str) -> str:
    """`text` with what stands between the markers replaced.

    Raises:
        ValueError: it has no such markers.
    """
    before, found, rest = text.partition(BEGIN)
    _old, closed, after = rest.partition(END)
    if not (found and closed):
        raise ValueError(f"there is no {BEGIN} with its end to write between")
    return f"{before}{BEGIN}\n\n{between_them}\n\n{END}{after}"


def _number(number: float) -> str:
    """Three digits that say something, and no more than two after the point."""
    if abs(number) >= _HUNDRED:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= _TEN else f"{number:.2f}"
