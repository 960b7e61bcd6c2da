"""Pictures of a challenger: ROC, precision and recall, calibration, slices, what the model looks at."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from sklearn.metrics import precision_recall_curve, roc_curve

from retrain.compare import Comparison, SliceComparison
from retrain.evaluate import Evaluation, Labels, Probabilities, Slice
from retrain.importance import Importance

_MODEL = "#1f5fa8"
_REFERENCE = "#8a8a8a"
_SLICES, _COLUMNS = 30, 30
"""As many as a picture has room for."""


def draw(
    labels: Labels,
    probabilities: Probabilities,
    comparison: Comparison,
    importances: Sequence[Importance],
    title: str,
) -> dict[str, Figure]:
    """Every picture by its name; `slices` only where there are some that are large enough."""
    evaluation = comparison.challenger
    figures = {
        "roc": roc_figure(labels, probabilities, evaluation, title),
        "pr": precision_recall_figure(labels, probabilities, evaluation, title),
        "calibration": calibration_figure(probabilities, evaluation, title),
        "importance": importance_figure(importances, title),
    }
    shown = [it for it in comparison.slices if it.challenger.auc is not None and not it.challenger.small]
    return figures | ({"slices": slices_figure(shown[:_SLICES], evaluation, title)} if shown else {})


def roc_figure(labels: Labels, probabilities: Probabilities, evaluation: Evaluation, title: str) -> Figure:
    false_positive, true_positive, _ = roc_curve(labels, probabilities)
    figure = Figure(figsize=(5.2, 5.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=_REFERENCE, linestyle="--", linewidth=1, label="chance")
    interval = f"{evaluation.auc_low:.3f} to {evaluation.auc_high:.3f}"
    axes.plot(
        false_positive,
        true_positive,
        color=_MODEL,
        linewidth=2,
        label=f"model, AUC {evaluation.auc:.3f}\n(95%: {interval})",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=f"{title}: ROC")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.legend(loc="lower right", frameon=False)
    _plain(axes)
    return figure


def calibration_figure(probabilities: Probabilities, evaluation: Evaluation, title: str) -> Figure:
    figure = Figure(figsize=(5.2, 6.2), dpi=150, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    bins = evaluation.calibration
    predicted, observed = [it.predicted for it in bins], [it.observed for it in bins]
    limit = min(1.0, 1.1 * max(*predicted, *observed))
    above.plot([0, 1], [0, 1], color=_REFERENCE, linestyle="--", linewidth=1, label="perfect")
    label = f"model, {len(bins)} equally full bins\ncalibration error {evaluation.calibration_error:.3f}"
    above.plot(predicted, observed, color=_MODEL, linewidth=2, marker="o", markersize=5, label=label)
    above.axhline(
        evaluation.base_rate,
        color=_REFERENCE,
        linewidth=1,
        linestyle=":",
        label=f"base rate {evaluation.base_rate:.1%}",
    )
    above.set(xlim=(0, limit), ylim=(0, limit), title=f"{title}: calibration", ylabel="observed rate in the bin")
    above.legend(loc="upper left", frameon=False)
    share = np.full(len(probabilities), 1 / len(probabilities))
    below.hist(probabilities, bins=40, range=(0.0, limit), color=_MODEL, alpha=0.6, weights=share)
    beyond = float((probabilities > limit).mean())
    outside = f" ({beyond:.1%} of the rows lie beyond)" if beyond >= 0.001 else ""
    below.set(xlabel=f"predicted probability{outside}", ylabel="rows")
    for axis in (above.yaxis, below.yaxis, below.xaxis):
        axis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=0))
    _plain(above)
    _plain(below)
    return figure


def precision_recall_figure(labels: Labels, probabilities: Probabilities, evaluation: Evaluation, title: str) -> Figure:
    precision, recall, _ = precision_recall_curve(labels, probabilities)
    figure = Figure(figsize=(5.2, 5.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    rate = f"base rate {evaluation.base_rate:.1%}"
    axes.axhline(evaluation.base_rate, color=_REFERENCE, linestyle="--", linewidth=1, label=rate)
    label = f"model, average precision {evaluation.average_precision:.3f}"
    axes.plot(recall, precision, color=_MODEL, linewidth=2, label=label, drawstyle="steps-post")
    axes.set(xlim=(0, 1), ylim=(0, 1), title=f"{title}: precision and recall", xlabel="recall", ylabel="precision")
    axes.legend(loc="upper right", frameon=False)
    _plain(axes)
    return figure


def slices_figure(slices: Sequence[SliceComparison], evaluation: Evaluation, title: str) -> Figure:
    """The AUC of each slice, the largest on top, beside the champion's."""
    figure = Figure(figsize=(6.4, 1.6 + 0.28 * len(slices)), dpi=150, layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(slices))[::-1]
    if any(it.champion for it in slices):
        beside = [_auc(it.champion) for it in slices]
        axes.scatter(beside, places, facecolors="none", edgecolors=_REFERENCE, s=36, label="champion")
    own = [_auc(it.challenger) for it in slices]
    axes.scatter(own, places, color=_MODEL, s=24, label="this model")
    axes.axvline(evaluation.auc, color=_MODEL, linewidth=1, linestyle=":", label=f"all rows {evaluation.auc:.3f}")
    axes.set_yticks(places, [f"{it.name} ({it.challenger.rows:,})" for it in slices])
    axes.set(title=f"{title}: AUC by slice (rows)", xlabel="AUC")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    _plain(axes)
    return figure


def _auc(found: Slice | None) -> float:
    return np.nan if found is None or found.auc is None else found.auc


def importance_figure(importances: Sequence[Importance], title: str) -> Figure:
    """What is lost without each column; the line is from the least to the most over the repeats."""
    shown = importances[:_COLUMNS]
    figure = Figure(figsize=(6.4, 1.6 + 0.28 * len(shown)), dpi=150, layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(shown))[::-1]
    lost = np.array([it.lost_auc for it in shown])
    reach = np.array([[it.lost_auc - it.low, it.high - it.lost_auc] for it in shown]).reshape(-1, 2).T
    axes.barh(places, lost, color=_MODEL, alpha=0.8, xerr=reach, ecolor=_REFERENCE)
    axes.set_yticks(places, [it.column for it in shown])
    axes.set(title=f"{title}: permutation importance", xlabel="AUC lost when the column is shuffled")
    _plain(axes)
    return figure


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
