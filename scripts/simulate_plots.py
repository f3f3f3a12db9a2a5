"""Two pictures of a simulation: who is refused, and how long the slow wait, by the age of the feed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from simulate_page import SUBJECT, feed_words

from autopilot.simulator.fleet.grid import Case, Results, Spread
from autopilot.simulator.fleet.run import BLIND

_COLOURS = {
    "balanced": "#1b7f5c",
    "capacity": "#b3312c",
    "latency": "#2b5fa8",
    "throughput": "#7a4fa3",
    "cost": "#c08a1e",
    "random": "#8a97a6",
    "static": "#c7ced6",
    "oracle": "#111111",
}
_OTHER = "#d05fa0"
_BLIND_STYLE, _STYLE = ":", "-"
_PANEL_INCHES, _LEGEND_INCHES, _HEIGHT_INCHES, _DPI = 2.9, 1.1, 3.4, 110


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One figure, a panel for each load; a bar on a point is from the least to the most of the seeds.

    `same_axis`: all panels have one, so that loads can be compared.
    """

    file: str
    title: str
    axis: str
    figure: str
    same_axis: bool = True


PLOTS: Sequence[Plot] = (
    Plot(file="refused.png", title="Requests refused", axis="%", figure="refused", same_axis=False),
    Plot(
        file="first_token.png",
        title="Time to first token, 95 %",
        axis="seconds",
        figure="ttft_p95",
    ),
)


def draw(results: Results, folder: Path) -> list[Plot]:
    """Write all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    loads, feeds = results.meta["loads"], results.meta["feeds"]
    for plot in PLOTS:
        picture = Figure(
            figsize=(_PANEL_INCHES * len(loads) + _LEGEND_INCHES, _HEIGHT_INCHES),
            layout="constrained",
        )
        panels = picture.subplots(1, len(loads), squeeze=False, sharey=plot.same_axis)[0]
        for panel, load in zip(panels, loads, strict=True):
            for strategy in results.meta["strategies"]:
                spreads = [_spread(results, strategy, load, feed, plot.figure) for feed in feeds]
                known = [spread for spread in spreads if spread is not None]
                if len(known) == len(feeds):
                    _line(panel, strategy, known)
            panel.set_title(f"load {load:g}", fontsize=9)
            panel.set_xticks(range(len(feeds)), [feed_words(feed) for feed in feeds])
            panel.set_xlabel("a feed every", fontsize=8)
            panel.tick_params(labelsize=8)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel(plot.axis, fontsize=8)
        # Only now: it ends the fitting of the axis to what is drawn, for all that share it.
        for panel in panels:
            panel.set_ylim(bottom=0)
        lines, names = panels[0].get_legend_handles_labels()
        picture.legend(lines, names, fontsize=8, frameon=False, loc="outside right center")
        picture.suptitle(plot.title)
        # No date and no version in the file: the same numbers are the same picture.
        picture.savefig(folder / plot.file, dpi=_DPI, metadata={"Software": None})
    return list(PLOTS)


def _spread(
    results: Results, strategy: str, load: float, feed: float, figure: str
) -> Spread | None:
    case = Case(
        strategy=strategy,
        feed=feed,
        load=load,
        routers=results.meta["routers"][0],
        arrivals=results.meta["arrivals"],
    )
    return results.spread(case, figure)


def _line(panel: Axes, strategy: str, spreads: Sequence[Spread]) -> None:
    means = [spread.mean for spread in spreads]
    below = [spread.mean - spread.least for spread in spreads]
    above = [spread.most - spread.mean for spread in spreads]
    blind = strategy in BLIND
    panel.errorbar(
        range(len(spreads)),
        means,
        yerr=[below, above],
        label=strategy,
        color=_COLOURS.get(strategy, _OTHER),
        linestyle=_BLIND_STYLE if blind else _STYLE,
        linewidth=2.2 if strategy == SUBJECT else 1.3,
        elinewidth=0.8,
        capsize=2,
        marker="o",
        markersize=3,
    )
