"""Pictures of a challenger: ROC, precision and recall, calibration, slices, what the model looks at; others by task."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from sklearn.metrics import precision_recall_curve, roc_curve

from retrain.compare import Comparison, SliceComparison
from retrain.evaluate import AnySlice, CalibrationBin, Evaluation
from retrain.importance import Importance
from retrain.plots_others import MODEL, REFERENCE, class_figures, number_figures, plain
from retrain.tasks import METRICS, Answers, Labels, MetricName

_SLICES, _COLUMNS = 30, 30
"""As many as a picture has room for."""


def draw(
    labels: Labels,
    answers: Answers,
    comparison: Comparison,
    importances: Sequence[Importance],
    title: str,
) -> dict[str, Figure]:
    """Every picture by its name; `slices` only where there are some that are large enough.

    Args:
        answers: the challenger's, to the rows of `labels`.
    """
    evaluation, task = comparison.challenger, comparison.task
    figures = (
        _binary_figures(labels, answers, evaluation, title)
        if isinstance(evaluation, Evaluation)
        else _class_figures(labels, answers, comparison, title)
        if evaluation.calibration
        else number_figures(labels, answers, title)
    )
    figures["importance"] = importance_figure(importances, title, task.importance)
    shown = [it for it in comparison.slices if it.challenger.score is not None and not it.challenger.small]
    return figures | ({"slices": slices_figure(shown[:_SLICES], comparison, title)} if shown else {})


def _binary_figures(labels: Labels, answers: Answers, evaluation: Evaluation, title: str) -> dict[str, Figure]:
    rate = ("base rate", evaluation.base_rate)
    return {
        "roc": roc_figure(labels, answers, evaluation, title),
        "pr": precision_recall_figure(labels, answers, evaluation, title),
        "calibration": calibration_figure(answers, evaluation.calibration, evaluation.calibration_error, rate, title),
    }


def _class_figures(labels: Labels, answers: Answers, comparison: Comparison, title: str) -> dict[str, Figure]:
    evaluation = comparison.challenger
    rate = ("accuracy", evaluation.figures["accuracy"])
    error = evaluation.calibration_error or 0.0
    reliability = calibration_figure(answers.max(axis=1), evaluation.calibration, error, rate, title)
    return class_figures(labels, answers, comparison.task, title) | {"calibration": reliability}


def roc_figure(labels: Labels, probabilities: Answers, evaluation: Evaluation, title: str) -> Figure:
    false_positive, true_positive, _ = roc_curve(labels, probabilities)
    figure = Figure(figsize=(5.2, 5.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=REFERENCE, linestyle="--", linewidth=1, label="chance")
    interval = f"{evaluation.auc_low:.3f} to {evaluation.auc_high:.3f}"
    axes.plot(
        false_positive,
        true_positive,
        color=MODEL,
        linewidth=2,
        label=f"model, AUC {evaluation.auc:.3f}\n(95%: {interval})",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=f"{title}: ROC")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.legend(loc="lower right", frameon=False)
    plain(axes)
    return figure


def calibration_figure(
    probabilities: Answers, bins: Sequence[CalibrationBin], error: float, rate: tuple[str, float], title: str
) -> Figure:
    """
    Args:
        rate: what is observed over all rows, and its name.
    """
    figure = Figure(figsize=(5.2, 6.2), dpi=150, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    predicted, observed = [it.predicted for it in bins], [it.observed for it in bins]
    limit = min(1.0, 1.1 * max(*predicted, *observed))
    above.plot([0, 1], [0, 1], color=REFERENCE, linestyle="--", linewidth=1, label="perfect")
    label = f"model, {len(bins)} equally full bins\ncalibration error {error:.3f}"
    above.plot(predicted, observed, color=MODEL, linewidth=2, marker="o", markersize=5, label=label)
    name, observed_in_all = rate
    above.axhline(observed_in_all, color=REFERENCE, linewidth=1, linestyle=":", label=f"{name} {observed_in_all:.1%}")
    above.set(xlim=(0, limit), ylim=(0, limit), title=f"{title}: calibration", ylabel="observed rate in the bin")
    above.legend(loc="upper left", frameon=False)
    share = np.full(len(probabilities), 1 / len(probabilities))
    below.hist(probabilities, bins=40, range=(0.0, limit), color=MODEL, alpha=0.6, weights=share)
    beyond = float((probabilities > limit).mean())
    outside = f" ({beyond:.1%} of the rows lie beyond)" if beyond >= 0.001 else ""
    below.set(xlabel=f"predicted probability{outside}", ylabel="rows")
    for axis in (above.yaxis, below.yaxis, below.xaxis):
        axis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=0))
    plain(above)
    plain(below)
    return figure


def precision_recall_figure(labels: Labels, probabilities: Answers, evaluation: Evaluation, title: str) -> Figure:
    precision, recall, _ = precision_recall_curve(labels, probabilities)
    figure = Figure(figsize=(5.2, 5.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    rate = f"base rate {evaluation.base_rate:.1%}"
    axes.axhline(evaluation.base_rate, color=REFERENCE, linestyle="--", linewidth=1, label=rate)
    label = f"model, average precision {evaluation.average_precision:.3f}"
    axes.plot(recall, precision, color=MODEL, linewidth=2, label=label, drawstyle="steps-post")
    axes.set(xlim=(0, 1), ylim=(0, 1), title=f"{title}: precision and recall", xlabel="recall", ylabel="precision")
    axes.legend(loc="upper right", frameon=False)
    plain(axes)
    return figure


def slices_figure(slices: Sequence[SliceComparison], comparison: Comparison, title: str) -> Figure:
    """The primary metric of each slice, the largest on top, beside the champion's."""
    name, whole = comparison.primary.about.title, comparison.challenger.figures[comparison.primary.metric]
    figure = Figure(figsize=(6.4, 1.6 + 0.28 * len(slices)), dpi=150, layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(slices))[::-1]
    if any(it.champion for it in slices):
        beside = [_score(it.champion) for it in slices]
        axes.scatter(beside, places, facecolors="none", edgecolors=REFERENCE, s=36, label="champion")
    own = [_score(it.challenger) for it in slices]
    axes.scatter(own, places, color=MODEL, s=24, label="this model")
    axes.axvline(whole, color=MODEL, linewidth=1, linestyle=":", label=f"all rows {whole:.3f}")
    axes.set_yticks(places, [f"{it.name} ({it.challenger.rows:,})" for it in slices])
    axes.set(title=f"{title}: {name} by slice (rows)", xlabel=name)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    plain(axes)
    return figure


def _score(found: AnySlice | None) -> float:
    return np.nan if found is None or found.score is None else found.score


def importance_figure(importances: Sequence[Importance], title: str, metric: MetricName = "auc") -> Figure:
    """What is lost without each column; the line is from the least to the most over the repeats."""
    shown = importances[:_COLUMNS]
    figure = Figure(figsize=(6.4, 1.6 + 0.28 * len(shown)), dpi=150, layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(shown))[::-1]
    lost = np.array([it.lost for it in shown])
    reach = np.array([[it.lost - it.low, it.high - it.lost] for it in shown]).reshape(-1, 2).T
    axes.barh(places, lost, color=MODEL, alpha=0.8, xerr=reach, ecolor=REFERENCE)
    axes.set_yticks(places, [it.column for it in shown])
    about = METRICS[metric]
    what = f"{about.title} {'lost' if about.higher_is_better else 'added'} when the column is shuffled"
    axes.set(title=f"{title}: permutation importance", xlabel=what)
    plain(axes)
    return figure
