"""Pictures of an evaluation: the ROC curve and the calibration."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from sklearn.metrics import roc_curve

from retrain.evaluate import Evaluation, Labels, Probabilities

_MODEL = "#1f5fa8"
_REFERENCE = "#8a8a8a"


def draw(labels: Labels, probabilities: Probabilities, evaluation: Evaluation, title: str) -> dict[str, Figure]:
    """Every picture by its name."""
    return {
        "roc": roc_figure(labels, probabilities, evaluation, title),
        "calibration": calibration_figure(probabilities, evaluation, title),
    }


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


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
