"""Pictures of what the answers of a rollout looked like: outputs of both versions, latency as a curve."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from taxiway.rollout.observations import Values
from taxiway.rollout.tally import LATENCY_BOUNDS_S, place_of
from taxiway.rollout_sketch import Distribution, Side

_STYLES: tuple[Mapping[str, Any], ...] = (
    {"color": "#8a8a8a", "linewidth": 1.8},
    {"color": "#1f5fa8", "linewidth": 1.8},
    {"color": "#a05a00", "linewidth": 1.8, "linestyle": "--"},
)
"""Of champion, challenger and copies."""
_TICKS = (0.0, *(scale * 10.0**power for power in range(-2, 15) for scale in (1, 2, 5)))
_LABELS = 12
Sides = Mapping[str, Side | None]
"""By what the legend calls them, in the order of `_STYLES`; None: nothing was answered."""


def latency_curve(sides: Sides) -> Figure | None:
    """The share of answers that took longer, by time: where a curve lies further right, that side is slower."""
    found = {name: _latencies(side) for name, side in sides.items()}
    if not any(counts.sum() for counts in found.values()):
        return None
    figure, axes = _empty()
    for (name, counts), style in zip(found.items(), _STYLES, strict=True):
        if counts.sum():
            slower = 1.0 - np.cumsum(counts) / counts.sum()
            shown = np.flatnonzero(slower > 0.5 / counts.sum())  # rounding leaves less than one answer at the end
            begins = max(int(np.flatnonzero(counts)[0]) - 1, 0)
            shown = shown[shown >= begins]
            axes.step(1_000 * LATENCY_BOUNDS_S[shown], slower[shown], where="post", label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel="ms", ylabel="of the answers took longer")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    _finish(axes)
    return figure


def output_figure(output: str, sides: Sides) -> Figure | None:
    """How often each value was answered: numbers as a histogram, labels as bars."""
    found = {name: side.outputs.get(output) if side else None for name, side in sides.items()}
    known = [it for it in found.values() if it is not None and it.n]
    if not known:
        return None
    figure, axes = _empty()
    if any(it.mean is not None for it in known):
        _histograms(axes, found)
    else:
        _bars(axes, found)
    _finish(axes)
    return figure


def _histograms(axes: Any, found: Mapping[str, Distribution | None]) -> None:
    """On an axis on which all bins are equally wide, so that areas are shares."""
    numbers = {name: _by_place(it) for name, it in found.items()}
    places = [place for bins in numbers.values() for place in bins]
    first, last = min(places), max(places)
    edges = np.arange(first, last + 2) - 0.5
    for number, ((name, bins), style) in enumerate(zip(numbers.items(), _STYLES, strict=True)):
        if bins:
            counts = np.array([bins.get(place, 0) for place in range(first, last + 1)], np.float64)
            shares = counts / counts.sum()
            axes.stairs(shares, edges, label=name, baseline=0, **style)
            if number == 0:
                axes.stairs(shares, edges, baseline=0, fill=True, color=style["color"], alpha=0.15)
    axes.set_ylabel("of the rows")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
    ticks = _ticks(first - 0.5, last + 0.5)
    axes.set_xticks([place_of(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])


def _bars(axes: Any, found: Mapping[str, Distribution | None]) -> None:
    known = {name: it for name, it in found.items() if it is not None and it.n}
    total: dict[str, float] = {}
    for it in known.values():
        for label, count in it.bins.items():
            total[label] = total.get(label, 0.0) + count / it.n
    labels = sorted(total, key=lambda label: -total[label])[:_LABELS]
    height = 0.8 / len(found)
    for number, ((name, side), style) in enumerate(zip(found.items(), _STYLES, strict=True)):
        if side is not None and side.n:
            shares = [side.bins.get(label, 0) / side.n for label in labels]
            axes.barh(np.arange(len(labels)) + number * height, shares, height, label=name, color=style["color"])
    axes.set_yticks(np.arange(len(labels)) + height * (len(found) - 1) / 2, [_plain(label) for label in labels])
    axes.invert_yaxis()
    axes.set_xlabel("of the rows")
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1.0))


def _by_place(found: Distribution | None) -> dict[int, int]:
    """Without what was counted as other."""
    bins = found.bins.items() if found is not None else ()
    return {int(place): count for place, count in bins if place.lstrip("-").isdigit()}


def _ticks(first: float, last: float) -> Sequence[float]:
    """Some round numbers on an axis of bins, far enough from one another to be read."""
    apart, kept = (last - first) / 9, list[float]()
    for tick in (*(-it for it in _TICKS[:0:-1]), *_TICKS):
        place = place_of(tick)
        if first <= place <= last and (not kept or place - place_of(kept[-1]) >= apart):
            kept.append(tick)
    return kept


def _latencies(side: Side | None) -> Values:
    counts = np.zeros(len(LATENCY_BOUNDS_S) + 1)
    for bucket, count in side.latency.items() if side else ():
        counts[bucket] = count
    return counts[:-1] if not counts[-1] else np.append(counts[:-2], counts[-2:].sum())


def _plain(label: str) -> str:
    return label[:30].replace("$", r"\$")


def _empty() -> tuple[Figure, Any]:
    figure = Figure(figsize=(6.4, 3.4), dpi=150, layout="constrained")
    return figure, figure.subplots()


def _finish(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, frameon=False, fontsize=8, columnspacing=1.2)
