"""Pictures of a challenger that tells several classes apart, or predicts numbers."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve

from retrain.tasks import Answers, Classes, Labels, Task

MODEL = "#1f5fa8"
REFERENCE = "#8a8a8a"
_CURVES = 10
_NAMED = 30
_POINTS = 5_000
"""As many as a picture has room for."""


def class_figures(labels: Labels, answers: Answers, task: Task, title: str) -> dict[str, Figure]:
    """`confusion` and `pr`.

    Args:
        answers: [rows, classes].
    """
    names = task.classes if isinstance(task, Classes) else ()
    return {
        "confusion": confusion_figure(labels, answers, names, title),
        "pr": curves_figure(labels, answers, names, title),
    }


def confusion_figure(labels: Labels, answers: Answers, names: tuple[str, ...], title: str) -> Figure:
    """Of each true class the share of rows that is said to be of each; the rows are written in where there is room."""
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (labels, answers.argmax(axis=1)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.6 + 0.5 * min(len(names), _NAMED)
    figure = Figure(figsize=(size, size), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    if len(names) <= _NAMED:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        for (true, said), count in np.ndenumerate(counts):
            colour = "white" if shares[true, said] > 0.5 else "black"
            axes.text(said, true, f"{count:,}", ha="center", va="center", fontsize=7, color=colour)
    axes.set(title=f"{title}: confusion", xlabel="said", ylabel="true")
    return figure


def curves_figure(labels: Labels, answers: Answers, names: tuple[str, ...], title: str) -> Figure:
    """Precision over recall of each class against the rest; of many classes the most frequent."""
    rows = np.bincount(labels, minlength=len(names))
    figure = Figure(figsize=(5.6, 5.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for place in np.argsort(-rows, kind="stable")[:_CURVES]:
        if 0 < rows[place] < len(labels):
            precision, recall, _ = precision_recall_curve(labels == place, answers[:, place])
            area = average_precision_score(labels == place, answers[:, place])
            told = f"{names[place]}, average precision {area:.3f}"
            axes.plot(recall, precision, linewidth=1.5, label=told, drawstyle="steps-post")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), title=f"{title}: precision and recall", xlabel="recall", ylabel="precision")
    axes.legend(loc="lower left", frameon=False, fontsize=7)
    plain(axes)
    return figure


def number_figures(labels: Labels, answers: Answers, title: str) -> dict[str, Figure]:
    """`predicted`, `residuals` and `errors`; of many rows a sample is drawn as points."""
    rows = np.arange(len(labels))
    if len(rows) > _POINTS:
        rows = np.random.default_rng(0).choice(rows, _POINTS, replace=False)
    return {
        "predicted": predicted_figure(labels[rows], answers[rows], title),
        "residuals": residuals_figure(labels[rows], answers[rows], title),
        "errors": errors_figure(labels, answers, title),
    }


def predicted_figure(labels: Labels, answers: Answers, title: str) -> Figure:
    """Each row's prediction over its true number."""
    figure = Figure(figsize=(5.2, 5.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    ends = float(min(labels.min(), answers.min())), float(max(labels.max(), answers.max()))
    axes.plot(ends, ends, color=REFERENCE, linestyle="--", linewidth=1, label="perfect")
    axes.scatter(labels, answers, color=MODEL, s=6, alpha=0.4, linewidths=0, label="rows")
    axes.set(title=f"{title}: predicted and true", xlabel="true", ylabel="predicted")
    axes.legend(loc="upper left", frameon=False)
    plain(axes)
    return figure


def residuals_figure(labels: Labels, answers: Answers, title: str) -> Figure:
    """Each row's error over its prediction."""
    figure = Figure(figsize=(5.6, 4.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.axhline(0.0, color=REFERENCE, linestyle="--", linewidth=1)
    axes.scatter(answers, labels - answers, color=MODEL, s=6, alpha=0.4, linewidths=0)
    axes.set(title=f"{title}: errors over predictions", xlabel="predicted", ylabel="true minus predicted")
    plain(axes)
    return figure


def errors_figure(labels: Labels, answers: Answers, title: str) -> Figure:
    """How the errors are distributed."""
    errors = labels - answers
    figure = Figure(figsize=(5.6, 4.0), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.hist(errors, bins=50, color=MODEL, alpha=0.6, weights=np.full(len(errors), 1 / len(errors)))
    axes.axvline(0.0, color=REFERENCE, linestyle="--", linewidth=1)
    middle = float(np.median(errors))
    axes.axvline(middle, color=MODEL, linewidth=1, linestyle=":", label=f"median {middle:.4g}")
    axes.set(title=f"{title}: errors", xlabel="true minus predicted", ylabel="share of the rows")
    axes.legend(loc="upper right", frameon=False)
    plain(axes)
    return figure


def plain(axes: Axes) -> None:
    """No frame, a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
