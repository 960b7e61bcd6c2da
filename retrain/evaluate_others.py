"""How good the probabilities of several classes are, and how good predicted numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from retrain.evaluate import (
    SMALL_SLICE_ROWS,
    CalibrationBin,
    Evaluated,
    calibration_bins,
    calibration_error,
    evaluate,
    shown,
)
from retrain.samples import of_all_rows, prepared
from retrain.tasks import Answers, Classes, Labels, Regression, Task, TaskName
from taxiway.signature import Array


@dataclass(frozen=True)
class TaskSlice:
    """The rows with one value of one column, as `retrain.evaluate.AnySlice` has them."""

    column: str
    value: str
    rows: int
    base: float
    score: float
    loss: float
    small: bool


@dataclass(frozen=True)
class OneClass:
    """A class against the rest; AUC and average precision are None where no row, or every row, is of it.

    Attributes:
        rows: that are of it; `answered` those that are said to be.
    """

    name: str
    rows: int
    answered: int
    precision: float
    recall: float
    f1: float
    auc: float | None
    average_precision: float | None


@dataclass(frozen=True)
class ClassEvaluation:
    """A model of several classes on one window.

    Attributes:
        base: the share of the largest class: the accuracy of whoever always says that one.
        calibration: of the likeliest class's probability, against whether it was the true one (Guo et al. 2017).
        confusion: rows of true class t that were said to be of class p, at [t][p].
    """

    rows: int
    base: float
    accuracy: float
    log_loss: float
    macro_f1: float
    macro_auc: float
    calibration_error: float
    calibration: tuple[CalibrationBin, ...]
    confusion: tuple[tuple[int, ...], ...]
    by_class: tuple[OneClass, ...]
    slices: tuple[TaskSlice, ...]

    @property
    def figures(self) -> dict[str, float]:
        return {name: float(getattr(self, name)) for name in Classes.metrics}

    @property
    def metrics(self) -> dict[str, float]:
        told = {"calibration_error": self.calibration_error, "largest_class": self.base, "rows": float(self.rows)}
        return {f"evaluate_{name}": value for name, value in (self.figures | told).items()}

    @property
    def further(self) -> dict[str, float]:
        return {"calibration error": self.calibration_error}


@dataclass(frozen=True)
class NumberEvaluation:
    """A model of numbers on one window, in the unit of the label.

    Attributes:
        base: the mean label.
        deviation: the labels' standard deviation: the RMSE of whoever always says the mean.
        mean_error: answer minus label.
    """

    rows: int
    base: float
    deviation: float
    rmse: float
    mae: float
    r2: float
    median_absolute_error: float
    mean_error: float
    slices: tuple[TaskSlice, ...]

    @property
    def calibration(self) -> tuple[CalibrationBin, ...]:
        return ()

    @property
    def calibration_error(self) -> float | None:
        return None

    @property
    def figures(self) -> dict[str, float]:
        return {name: float(getattr(self, name)) for name in Regression.metrics}

    @property
    def metrics(self) -> dict[str, float]:
        told = {"mean_error": self.mean_error, "mean_label": self.base, "label_deviation": self.deviation}
        return {f"evaluate_{name}": it for name, it in (self.figures | told | {"rows": float(self.rows)}).items()}

    @property
    def further(self) -> dict[str, float]:
        return {"mean error": self.mean_error}


def evaluate_classes(
    task: Task, labels: Labels, answers: Answers, slice_columns: Mapping[str, Array]
) -> ClassEvaluation:
    """
    Args:
        labels: positions among the task's classes, of two of them at least.
        answers: [rows, classes].
    """
    names = task.classes if isinstance(task, Classes) else ()
    right = (answers.argmax(axis=1) == labels).astype(np.int64)
    bins = calibration_bins(right, answers.max(axis=1))
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (labels, answers.argmax(axis=1)), 1)
    return ClassEvaluation(
        rows=len(labels),
        base=task.base(labels),
        **_figures(task, labels, answers),
        calibration_error=calibration_error(bins),
        calibration=bins,
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        by_class=tuple(_one_class(name, place, labels, answers, confusion) for place, name in enumerate(names)),
        slices=_slices(task, labels, answers, slice_columns),
    )


def evaluate_numbers(
    task: Task, labels: Labels, answers: Answers, slice_columns: Mapping[str, Array]
) -> NumberEvaluation:
    """Two of the labels must differ."""
    return NumberEvaluation(
        rows=len(labels),
        base=task.base(labels),
        deviation=float(labels.std()),
        **_figures(task, labels, answers),
        mean_error=float((answers - labels).mean()),
        slices=_slices(task, labels, answers, slice_columns),
    )


def evaluate_task(
    task: Task, labels: Labels, answers: Answers, slice_columns: Mapping[str, Array], seed: int = 0
) -> Evaluated:
    """A model of any task on one window."""
    if task.name == "binary":
        return evaluate(labels, answers, slice_columns, seed)
    return _EVALUATE[task.name](task, labels, answers, slice_columns)


_EVALUATE: dict[TaskName, Callable[[Task, Labels, Answers, Mapping[str, Array]], Evaluated]] = {
    "classes": evaluate_classes,
    "regression": evaluate_numbers,
}


def _figures(task: Task, labels: Labels, answers: Answers) -> dict[str, float]:
    [found] = of_all_rows([prepared(task, labels, answers)], len(labels))
    return dict(zip(task.metrics, map(float, found), strict=True))


def _one_class(name: str, place: int, labels: Labels, answers: Answers, confusion: NDArray[np.int64]) -> OneClass:
    truth, scores = labels == place, answers[:, place]
    rows, answered, right = confusion[place].sum(), confusion[:, place].sum(), confusion[place, place]
    is_mixed = 0 < rows < len(labels)
    return OneClass(
        name=name,
        rows=int(rows),
        answered=int(answered),
        precision=float(right / max(answered, 1)),
        recall=float(right / max(rows, 1)),
        f1=float(2 * right / max(rows + answered, 1)),
        auc=float(roc_auc_score(truth, scores)) if is_mixed else None,
        average_precision=float(average_precision_score(truth, scores)) if is_mixed else None,
    )


def _slices(task: Task, labels: Labels, answers: Answers, slice_columns: Mapping[str, Array]) -> tuple[TaskSlice, ...]:
    """One slice for each value of each column, the largest of a column first."""
    found: list[TaskSlice] = []
    for column, values in slice_columns.items():
        names = shown(values)
        own = [_slice(task, column, str(name), labels[names == name], answers[names == name]) for name in set(names)]
        found += sorted(own, key=lambda it: (-it.rows, it.value))
    return tuple(found)


def _slice(task: Task, column: str, value: str, labels: Labels, answers: Answers) -> TaskSlice:
    figures = _figures(task, labels, answers)
    score, loss = (figures[name] for name in task.slice_metrics)
    return TaskSlice(column, value, len(labels), task.base(labels), score, loss, len(labels) < SMALL_SLICE_ROWS)
