"""Three pictures of a run: what a chunk costs, what a request costs, and how late a chunk may be."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from figures import INTERVAL
from matplotlib.figure import Figure
from results import OURS, Results
from tables import number

_OURS_COLOUR = "#1b7f5c"
_OTHERS_COLOUR = "#8a97a6"
_WIDTH_INCHES = 7.0
_ROW_INCHES = 0.42
_DPI = 110


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One bar for each gateway: the median, with a line from the least to the most of the rounds.

    The axis is logarithmic: the slowest would leave nothing to see of the others.
    """

    file: str
    title: str
    axis: str
    figure: str
    divisor: float = 1.0
    of_chunks: bool = False


PLOTS: Sequence[Plot] = (
    Plot(
        file="chunk_cpu.png",
        title="Processor time of a streamed chunk",
        axis="microseconds, logarithmic (less is better)",
        figure="chunk_us",
        of_chunks=True,
    ),
    Plot(
        file="json_cpu.png",
        title="Processor time of a JSON request",
        axis="microseconds, logarithmic (less is better)",
        figure="json_us",
    ),
    Plot(
        file="delay_p99.png",
        title="Delay of a chunk, p99",
        axis="milliseconds, logarithmic (less is better)",
        figure="delay_p99_us",
        divisor=1e3,
        of_chunks=True,
    ),
)


def draw(results: Results, folder: Path) -> list[Plot]:
    """Write those of which there is something to show; which they are."""
    drawn = []
    for plot in PLOTS:
        rows = [
            (peer, spread)
            for peer in results.names
            if (spread := results.spread(peer, plot.figure)) is not None
        ]
        if not rows:
            continue
        picture = Figure(
            figsize=(_WIDTH_INCHES, 1.2 + _ROW_INCHES * len(rows)), layout="constrained"
        )
        axes = picture.add_subplot()
        medians = [spread.median / plot.divisor for _, spread in rows]
        below = [(spread.median - spread.least) / plot.divisor for _, spread in rows]
        above = [(spread.most - spread.median) / plot.divisor for _, spread in rows]
        bars = axes.barh(
            [_label(results, peer, plot) for peer, _ in rows],
            medians,
            xerr=[below, above],
            color=[_OURS_COLOUR if peer == OURS else _OTHERS_COLOUR for peer, _ in rows],
            ecolor="#444444",
            capsize=3,
        )
        axes.bar_label(bars, labels=[number(value) for value in medians], padding=4, fontsize=8)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_xscale("log")
        axes.set_xlabel(plot.axis)
        axes.set_title(plot.title)
        axes.spines[["top", "right"]].set_visible(False)
        folder.mkdir(parents=True, exist_ok=True)
        # No date and no version in the file: the same numbers are the same picture.
        picture.savefig(folder / plot.file, dpi=_DPI, metadata={"Software": None})
        drawn.append(plot)
    return drawn


def _label(results: Results, peer: str, plot: Plot) -> str:
    """The name; of one that was asked for fewer chunks than others, that too."""
    fewer = plot.of_chunks and results.interval_ms(peer) > INTERVAL * 1e3
    return f"{peer} (fewer chunks)" if fewer else peer
