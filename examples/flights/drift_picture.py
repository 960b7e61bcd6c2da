"""A table and a picture of a year under watch: which columns lie how far from the reference, and the quality."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from taxiway.drift.judgement import ColumnDrift

if TYPE_CHECKING:
    from examples.flights.drift import Week

_SHOWN_PSI = 0.5


def table(plain: Sequence["Week"], weeks: Sequence["Week"]) -> str:
    """By column, then by month; weeks count for the month in which they begin.

    Args:
        plain: the same weeks, judged with the thresholds of the settings.
    """
    return f"{_markdown(_by_column(plain, weeks))}\n\n{_markdown(_by_month(weeks))}"


def _by_column(plain: Sequence["Week"], weeks: Sequence["Week"]) -> list[tuple[str, ...]]:
    known, unseen = [it for it in plain if it.is_known], [it for it in weeks if not it.is_known]
    later = f"of {len(unseen)} later"
    psi = "largest PSI until August", "later"
    head = ("column", f"of {len(known)} weeks until August", later, f"{later}, unusual", *psi, "alarms")
    rows: list[tuple[str, ...]] = [head]
    for place, first in enumerate(weeks[0].window.columns):
        before, after = ([week.window.columns[place] for week in part] for part in (known, unseen))
        drifting = [week.window.columns[place].drifts for week in plain if not week.is_known]
        counts = sum(it.drifts for it in before), sum(drifting), sum(it.drifts for it in after)
        largest = (f"{max(it.psi or 0.0 for it in part):.2f}" for part in (before, after))
        rows.append((first.key, *map(str, counts), *largest, ", ".join(_alarms(unseen, first)) or "none"))
    return [rows[0], *sorted(rows[1:], key=lambda row: (-int(row[3]), -int(row[2]), row[0]))]


def _alarms(weeks: Sequence["Week"], column: ColumnDrift) -> list[str]:
    """When they were raised, and until when."""
    found: list[str] = []
    open_ = False
    for week in weeks:
        if (column.key in week.raised) is not open_:
            open_ = not open_
            moment = f"{week.window.ended:%b %-d}"
            if open_:
                found.append(f"from {moment}")
            else:
                found[-1] += f" to {moment}"
    return found


def _by_month(weeks: Sequence["Week"]) -> list[tuple[str, ...]]:
    head = ("month", "drifting columns a week", "PSI of the answer", "late", "predicted", "AUC", "log loss")
    rows: list[tuple[str, ...]] = [head]
    for month in range(9, 13):
        of_month = [week for week in weeks if not week.is_known and week.window.began.month == month]
        answers = [it.psi or 0.0 for week in of_month for it in week.window.columns if it.group == "outputs"]
        drifting = float(np.mean([len(week.window.drifting) for week in of_month]))
        quality = [f"{np.mean([getattr(week, name) for week in of_month]):.3f}" for name in _QUALITY]
        rows.append((f"{of_month[0].window.began:%B}", f"{drifting:.1f}", f"{np.mean(answers):.3f}", *quality))
    return rows


_QUALITY = ("late", "predicted", "auc", "loss")


def _markdown(rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def picture(weeks: Sequence["Week"]) -> Figure:
    """Above, a field for each column and week, with a dot while its alarm is raised; below, the quality."""
    figure = Figure(figsize=(11, 9), dpi=130, layout="constrained")
    above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=(6, 1.3, 1.3))
    columns = [it.key for it in weeks[0].window.columns if it.psi is not None]
    psi = np.array([[_psi(week, key) for week in weeks] for key in columns])
    order = np.argsort(-psi[:, [not week.is_known for week in weeks]].max(axis=1))
    field = above.imshow(
        psi[order], aspect="auto", cmap="Blues", vmin=0, vmax=_SHOWN_PSI, extent=(0, len(weeks), len(columns), 0)
    )
    for line, place in enumerate(order):
        raised = [week + 0.5 for week, it in enumerate(weeks) if columns[place] in it.raised]
        above.plot(raised, [line + 0.5] * len(raised), "o", color="#b23b3b", markersize=3)
    above.set_yticks(np.arange(len(columns)) + 0.5, [columns[place] for place in order], fontsize=8)
    above.set_title("Flights of 2013: each week against the model's reference window (dots: an alarm is raised)")
    figure.colorbar(field, ax=above, label="PSI above chance", fraction=0.03, pad=0.01)
    _quality(middle, below, weeks)
    for axes in (above, middle, below):
        axes.axvline(sum(week.is_known for week in weeks), color="#202020", linewidth=1)
    return figure


def _psi(week: "Week", key: str) -> float:
    found = next(it for it in week.window.columns if it.key == key)
    return max((found.psi or 0.0) - (found.psi_by_chance or 0.0), 0.0)


def _quality(middle: Any, below: Any, weeks: Sequence["Week"]) -> None:
    """Of weeks that the model has not learned from."""
    unseen = [place for place, week in enumerate(weeks) if not week.is_known]
    middles = [place + 0.5 for place in unseen]
    middle.plot(middles, [weeks[place].auc for place in unseen], marker="o", markersize=3, color="#1f5fa8")
    middle.set(ylabel="AUC")
    below.plot(
        middles, [weeks[place].late for place in unseen], color="#b23b3b", marker="o", markersize=3, label="late"
    )
    said = [weeks[place].predicted for place in unseen]
    below.plot(middles, said, color="#8a8a8a", marker="o", markersize=3, label="predicted")
    below.set(ylabel="share")
    below.legend(frameon=False, fontsize=8, loc="upper left")
    months = [place for place, week in enumerate(weeks) if week.window.began.day <= 7]
    below.set_xticks(months, [f"{weeks[place].window.began:%b}" for place in months])
    for axes in (middle, below):
        axes.spines[["top", "right"]].set_visible(False)
