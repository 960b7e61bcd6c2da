"""Pictures of a rollout: shares over time, each check's confidence sequence, latency, losses, disagreement."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from taxiway.rollout.observations import Values
from taxiway.rollout.plan import RolloutSettings
from taxiway.rollout_series import CheckLook, Look, steps_of

_CHALLENGER, _CHAMPION, _BORDER = "#1f5fa8", "#8a8a8a", "#b3261e"
_OUTPUTS = ("#1f5fa8", "#1b6e3c", "#a05a00", "#6a3d9a")
_SHARES = ("errors", "slow", "missing")
"""Checks whose figures are shares of something."""
_SETTLED = 0.2
"""Of a step's rows: what was estimated from fewer does not stretch the axis."""
Segment = Sequence[tuple[datetime, CheckLook]]


def draw(plan: RolloutSettings, series: Sequence[Look]) -> dict[str, Figure]:
    """Every picture of which something was recorded, by its title."""
    figures = {"Shares of the traffic": shares_figure(plan, series)} if len(series) > 1 else {}
    for name in dict.fromkeys(it.check for one in series for it in one.checks):
        if (figure := check_figure(name, series)) is not None:
            figures[f"Check: {name}"] = figure
    drawers: tuple[tuple[str, Callable[[Sequence[Look]], Figure | None]], ...] = (
        ("Latency of live answers", latency_figure),
        ("Mean loss, where the truth is known", losses_figure),
        ("Disagreement of copies with live answers", apart_figure),
    )
    for title, drawer in drawers:
        if (figure := drawer(series)) is not None:
            figures[title] = figure
    return figures


def shares_figure(plan: RolloutSettings, series: Sequence[Look]) -> Figure:
    figure, axes = _empty()
    live = [one.weights.get(plan.challenger, 0.0) for one in series]
    times = _times(series)
    axes.step(times, live, where="post", color=_CHALLENGER, linewidth=2, label="live answers by the challenger")
    axes.fill_between(times, live, step="post", color=_CHALLENGER, alpha=0.15)
    if any(one.shadow for one in series):
        shadows = [one.shadow for one in series]
        axes.step(times, shadows, where="post", color=_OUTPUTS[2], linestyle="--", label="copies to the challenger")
    axes.set(ylim=(0, 105), ylabel="of the requests")
    axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    _finish(axes, series)
    return figure


def check_figure(name: str, series: Sequence[Look]) -> Figure | None:
    """The band, the estimate and the border; each step begins anew. None while nothing was estimated."""
    segments = [found for group in steps_of(series) if (found := _looks_at(name, group))]
    if not segments:
        return None
    figure, axes = _empty()
    for number, segment in enumerate(segments):
        _sequence(axes, segment, first=number == 0)
    last = segments[-1][-1][1]
    axes.axhline(last.threshold, color=_BORDER, linewidth=1.5, linestyle="--", label="border")
    axes.set_ylim(*_reach(segments))
    axes.axhspan(last.threshold, axes.get_ylim()[1], color=_BORDER, alpha=0.06, linewidth=0)
    if name in _SHARES:
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
    axes.set_ylabel(last.unit)
    _finish(axes, [one for one in series if _has(name, one)])
    return figure


def latency_figure(series: Sequence[Look]) -> Figure | None:
    """Median and p99 of each variant, since the step began."""
    groups = steps_of(series)
    if not any(one.champion and one.champion.p99_ms for one in series):
        return None
    figure, axes = _empty()
    for side, color in (("champion", _CHAMPION), ("challenger", _CHALLENGER)):
        for quantile, dashes in (("p50", ":"), ("p99", "-")):
            values = [[getattr(getattr(one, side), f"{quantile}_ms", None) for one in group] for group in groups]
            _lines(axes, groups, values, f"{side}, {quantile}", color=color, linestyle=dashes, linewidth=1.8)
    axes.set(yscale="log", ylabel="ms")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    _finish(axes, series)
    return figure


def losses_figure(series: Sequence[Look]) -> Figure | None:
    if not any(one.losses for one in series):
        return None
    figure, axes = _empty()
    groups = steps_of(series)
    for side, color in (("champion", _CHAMPION), ("challenger", _CHALLENGER)):
        values = [[getattr(one.losses, side, None) for one in group] for group in groups]
        _lines(axes, groups, values, f"{side}, live answers", color=color, linewidth=1.8)
    axes.set_ylabel("mean loss of a row")
    _finish(axes, series)
    return figure


def apart_figure(series: Sequence[Look]) -> Figure | None:
    outputs = sorted({output for one in series for output in one.apart})
    if not outputs:
        return None
    figure, axes = _empty()
    groups = steps_of(series)
    for place, output in enumerate(outputs):
        values = [[one.apart[output].mean if output in one.apart else None for one in group] for group in groups]
        _lines(axes, groups, values, output.replace("$", r"\$"), color=_OUTPUTS[place % len(_OUTPUTS)], linewidth=1.8)
    axes.set_ylabel("mean difference, or share that differs")
    axes.set_ylim(bottom=0)
    _finish(axes, [one for one in series if one.apart])
    return figure


def _has(name: str, one: Look) -> bool:
    return any(it.check == name and it.estimate is not None for it in one.checks)


def _looks_at(name: str, group: Iterable[Look]) -> Segment:
    found = ((one.at, it) for one in group for it in one.checks if it.check == name and it.estimate is not None)
    return list(found)


def _sequence(axes: Any, segment: Segment, first: bool) -> None:
    times = [_day(at) for at, _ in segment]
    lows = [-np.inf if it.low is None else it.low for _, it in segment]
    highs = [np.inf if it.high is None else it.high for _, it in segment]
    far = 1e9  # an end without bound leaves the picture
    low, high = np.clip(lows, -far, far), np.clip(highs, -far, far)
    label = f"{1 - segment[-1][1].alpha:.2%} confidence sequence" if first else None
    axes.fill_between(times, low, high, color=_CHALLENGER, alpha=0.18, linewidth=0, label=label)
    estimates = np.array([it.estimate for _, it in segment], np.float64)
    axes.plot(times, estimates, color=_CHALLENGER, linewidth=2, label="estimate" if first else None)
    if len(segment) == 1:
        axes.errorbar(times, estimates, [estimates - low, high - estimates], fmt="o", color=_CHALLENGER, markersize=4)


def _reach(segments: Sequence[Segment]) -> tuple[float, float]:
    """From what to what the axis goes: the border, the last bands, and estimates that rest on some rows."""
    shown = [segments[-1][-1][1].threshold]
    for segment in segments:
        last = segment[-1][1]
        shown += [end for end in (last.low, last.high) if end is not None]
        shown += [it.estimate for _, it in segment if it.estimate is not None and it.n >= _SETTLED * last.n]
    margin = 0.15 * (max(shown) - min(shown)) or abs(shown[0]) or 1.0
    return min(shown) - margin, max(shown) + margin


def _lines(
    axes: Any,
    groups: Sequence[Sequence[Look]],
    values: Sequence[Sequence[float | None]],
    label: str,
    **style: Any,
) -> None:
    """One line a step, in one colour, with one entry in the legend."""
    drawn = False
    for group, found in zip(groups, values, strict=True):
        numbers: Values = np.array([np.nan if it is None else it for it in found], np.float64)
        if np.isfinite(numbers).any():
            axes.plot(_times(group), numbers, label=None if drawn else label, **style)
            drawn = True


def _empty() -> tuple[Figure, Any]:
    figure = Figure(figsize=(6.4, 3.4), dpi=150, layout="constrained")
    return figure, figure.subplots()


def _finish(axes: Any, series: Sequence[Look]) -> None:
    """Marks where steps begin, and makes the axis of time readable."""
    began = sorted({one.step_began for one in series})
    for moment in began[1:]:
        axes.axvline(_day(moment), color="#c4c9d1", linewidth=1, linestyle=":")
    times = _times(series)
    if times[0] < times[-1]:
        axes.set_xlim(times[0], times[-1])
    locator = AutoDateLocator(minticks=3, maxticks=8, tz=UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, frameon=False, fontsize=8, columnspacing=1.2)


def _times(series: Sequence[Look]) -> list[float]:
    return [_day(one.at) for one in series]


def _day(at: datetime) -> float:
    """As matplotlib counts time: days since 1970."""
    return at.timestamp() / 86_400
