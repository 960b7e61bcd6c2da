"""The plot: rows/s and memory, a bar for each contestant at each size."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter

from benchmarks.batch.contestants import Contestant
from benchmarks.batch.figures import count
from benchmarks.batch.measure import Run
from benchmarks.batch.report import Results

mpl.use("Agg")
import matplotlib.pyplot as plt

_COLOR = {"loop": "#999999", "reference": "#555555", "ray": "#64a8b8", "spark": "#e0954a", "taxiway": "#d1301f"}


def draw(results: Results, file: Path) -> None:
    """Writes a PNG; the smaller the number of rows, the paler the bar."""
    shown = [one for one in results.contestants if any(run.contestant == one.key for run in results.runs)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 1.6 + 0.65 * len(shown)), sharey=True, layout="constrained")
    _panel(left, shown, results, lambda run: run.rows_per_s)
    left.set_title("rows/s over the whole wall time", fontsize=11)
    _panel(right, shown, results, lambda run: run.peak_mb)
    is_ray_shown = any(one.on_ray for one in shown)
    right.set_title(f"peak PSS of all processes, MB{' (dotted: an idle Ray)' if is_ray_shown else ''}", fontsize=11)
    if is_ray_shown:
        right.axvline(results.idle_mb, color="#333333", linewidth=1, linestyle=":", zorder=0)
    left.set_yticks(range(len(shown)), [one.title for one in shown])
    left.invert_yaxis()
    figure.suptitle("One model, the same Parquet files, one machine", fontsize=13)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _panel(panel: Axes, shown: list[Contestant], results: Results, value: Callable[[Run], float]) -> None:
    figures = {(run.contestant, run.rows): run for run in results.figures}
    height = 0.8 / len(results.sizes)
    for (position, contestant), (step, rows) in (
        (place, size) for place in enumerate(shown) for size in enumerate(results.sizes)
    ):
        if run := figures.get((contestant.key, rows)):
            where = position - 0.4 + height * (step + 0.5)
            alpha = float(np.linspace(1.0, 0.45, len(results.sizes))[::-1][step])
            panel.barh(where, value(run), height * 0.92, color=_COLOR[contestant.role], alpha=alpha)
            panel.text(value(run), where, f" {value(run):,.0f} ({count(rows)})", va="center", fontsize=8)
    panel.margins(x=0.18)
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panel.grid(axis="x", color="#dddddd")
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
