"""A picture of rollouts: a lane for each candidate, filled as far as clients were answered by it."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from examples.flights.replay_report import Row

_FAULTS: Mapping[str, str] = {
    "better": "has learned from more months",
    "shuffled_weather": "has learned with the weather\nof other flights",
    "swapped": "is asked with two columns\nexchanged",
    "slow": "takes 50 ms longer",
    "failing": "fails on 1% of the flights",
    "drifting": "adds a little more\nwith each answer",
}
_GOOD, _BAD, _COPIES = "#1f5fa8", "#b23b3b", "#e3e3e3"
_REASON_WIDTH = 54


def picture(rows: Sequence[Row]) -> Figure:
    """Time goes to the right; the height of a lane is the share of the live answers."""
    figure = Figure(figsize=(11, 1.0 + 1.05 * len(rows)), dpi=150, layout="constrained")
    lanes = figure.subplots(len(rows), 1, sharex=True, squeeze=False).ravel()
    for axes, row in zip(lanes, rows, strict=True):
        _lane(axes, row)
    lanes[-1].set_xlabel("seconds since the rollout began")
    lanes[0].set_xlim(0, max((it for row in rows for it in row.at_s), default=1.0))
    keys = {
        "answers copies only: no client sees it": _COPIES,
        "share of the clients' requests that it answers": _GOOD,
        "the same, of one that was rolled back": _BAD,
    }
    patches = [Patch(color=color, label=label) for label, color in keys.items()]
    figure.legend(handles=patches, loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    return figure


def _lane(axes: Any, row: Row) -> None:
    is_good = row.outcome == "promoted"
    color = _GOOD if is_good else _BAD
    axes.axvspan(0, row.copies_s, color=_COPIES, linewidth=0)
    axes.fill_between(row.at_s, row.percents, step="mid", color=color, linewidth=0)
    if row.seconds is not None:
        axes.axvline(row.seconds, color="#202020", linewidth=1)
    axes.set(ylim=(0, 100), yticks=(0, 50, 100), yticklabels=("0", "50", "100%"))
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)

    _beside(axes, -0.07, "right", "#202020", row.candidate.replace("_", " "), _FAULTS[row.candidate])
    after = "" if row.seconds is None else f" after {row.seconds:.0f} s"
    told = f"{row.outcome}{after}; {row.live:,} live answers"
    _beside(axes, 1.02, "left", color, told, fill(row.reason, _REASON_WIDTH))


def _beside(axes: Any, x: float, align: str, color: str, head: str, text: str) -> None:
    """A line in bold above the middle of the lane, small text below it."""
    axes.text(x, 0.56, head, transform=axes.transAxes, ha=align, va="bottom", color=color, fontsize=9, weight="bold")
    axes.text(x, 0.5, text, transform=axes.transAxes, ha=align, va="top", color="#505050", fontsize=7.5)
