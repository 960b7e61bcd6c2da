"""A model's answers, prepared once, so that a bootstrap sample of its rows is a matter of counts."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrain.tasks import Answers, Labels, Rows, Task, TaskName, class_losses

Times = NDArray[np.intp]
_EPSILON = float(np.finfo(np.float64).eps)


class Prepared(Protocol):
    """One model on one set of rows."""

    def figures(self, times: Times) -> tuple[float, ...]:
        """The task's metrics, in order, of a sample in which each row occurs so many times."""


class Ranked:
    """Probabilities of two classes, sorted once by class.

    A sample is how often each positive and each negative row occurs in it; nothing is sorted for it.
    """

    def __init__(self, labels: Labels, probabilities: Answers) -> None:
        likely = np.clip(np.asarray(probabilities, np.float64), _EPSILON, 1 - _EPSILON)
        positive, negative = probabilities[labels == 1], probabilities[labels == 0]
        self.positives, self.negatives = len(positive), len(negative)
        self._positive_losses = -np.log(likely[labels == 1])
        self._negative_losses = -np.log1p(-likely[labels == 0])
        self._positive_order, self._negative_order = np.argsort(positive), np.argsort(negative)
        ups, downs = positive[self._positive_order], negative[self._negative_order]
        self._first_equal = np.searchsorted(ups, ups, side="left")
        self._lower = np.searchsorted(downs, ups, side="left")
        self._lower_or_equal = np.searchsorted(downs, ups, side="right")

    def figures(self, positive: Times, negative: Times) -> tuple[float, float, float]:
        """AUC, average precision and log loss of a sample, as scikit-learn's on the repeated rows.

        AUC: the share of pairs in the right order, ties count half (Mann and Whitney). Average precision: the
        mean over positives of the precision at their own threshold.
        """
        # Sums of products rather than `@`: BLAS starts threads for a dot product of this length.
        weights = positive[self._positive_order].astype(np.float64)
        before = _summed(negative[self._negative_order])
        below, up_to, negatives = before[self._lower], before[self._lower_or_equal], before[-1]
        positives = weights.sum()
        true = positives - _summed(weights)[self._first_equal]
        found = np.maximum(true + negatives - below, 1.0)
        auc = (weights * (below + up_to)).sum() / (2.0 * positives * negatives)
        average_precision = (weights * true / found).sum() / positives
        losses = (positive * self._positive_losses).sum() + (negative * self._negative_losses).sum()
        return float(auc), float(average_precision), float(losses / (positives + negatives))


class TwoClasses:
    """Probabilities of label 1."""

    def __init__(self, labels: Labels, answers: Answers) -> None:
        self._positive, self._negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
        self._ranked = Ranked(labels, answers)

    def figures(self, times: Times) -> tuple[float, ...]:
        return self._ranked.figures(times[self._positive], times[self._negative])


class SeveralClasses:
    """Probabilities of each class, [rows, classes]."""

    def __init__(self, labels: Labels, answers: Answers) -> None:
        self._classes = answers.shape[1]
        chosen = answers.argmax(axis=1)
        self._cells = labels * self._classes + chosen
        self._losses = class_losses(labels, answers)
        there = [place for place in range(self._classes) if 0 < (labels == place).sum() < len(labels)]
        self._against_the_rest = [TwoClasses((labels == place).astype(np.int64), answers[:, place]) for place in there]

    def figures(self, times: Times) -> tuple[float, ...]:
        """Accuracy, log loss, macro F1 and the mean AUC of each class against the rest.

        Macro F1 is the mean over classes that occur among labels or answers, as scikit-learn's.
        """
        rows = times.sum()
        confusion = np.bincount(self._cells, weights=times, minlength=self._classes**2)
        confusion = confusion.reshape(self._classes, self._classes)
        right, both = confusion.diagonal(), confusion.sum(axis=0) + confusion.sum(axis=1)
        f1 = 2 * right[both > 0] / both[both > 0]
        areas = [it.figures(times)[0] for it in self._against_the_rest]
        loss = (times * self._losses).sum() / rows
        return float(right.sum() / rows), float(loss), float(f1.mean()), float(np.mean(areas)) if areas else np.nan


class Numbers:
    """Predicted numbers."""

    def __init__(self, labels: Labels, answers: Answers) -> None:
        self._centred = labels - labels.mean()
        errors = np.abs(answers - labels)
        self._order = np.argsort(errors)
        self._errors, self._sorted = errors, errors[self._order]

    def figures(self, times: Times) -> tuple[float, ...]:
        """RMSE, MAE, R2 and the median absolute error."""
        rows = times.sum()
        squared = (times * self._errors**2).sum() / rows
        mean = (times * self._centred).sum() / rows
        variance = (times * self._centred**2).sum() / rows - mean**2
        up_to = np.cumsum(times[self._order])
        middle = self._sorted[np.searchsorted(up_to, [(rows - 1) // 2, rows // 2], side="right")].mean()
        mae = (times * self._errors).sum() / rows
        return float(np.sqrt(squared)), float(mae), float(1 - squared / max(variance, _EPSILON)), float(middle)


_PREPARED: dict[TaskName, Callable[[Labels, Answers], Prepared]] = {
    "binary": TwoClasses,
    "classes": SeveralClasses,
    "regression": Numbers,
}


def prepared(task: Task, labels: Labels, answers: Answers) -> Prepared:
    """A model's answers in the form that the task's metrics ask for."""
    return _PREPARED[task.name](labels, answers)


def draw(
    models: Sequence[Prepared], strata: Sequence[Rows], random: np.random.Generator, samples: int
) -> NDArray[np.float64]:
    """Figures of every model in every sample, drawn within each stratum: [samples, models, metrics]."""
    rows = sum(map(len, strata))
    found = []
    for _ in range(samples):
        times = np.zeros(rows, np.intp)
        for stratum in strata:
            drawn = random.integers(0, len(stratum), len(stratum))
            times[stratum] = np.bincount(drawn, minlength=len(stratum))
        found.append([model.figures(times) for model in models])
    return np.array(found)


def of_all_rows(models: Sequence[Prepared], rows: int) -> NDArray[np.float64]:
    """Figures of every model: [models, metrics]."""
    return np.array([model.figures(np.ones(rows, np.intp)) for model in models])


def _summed(values: NDArray[Any]) -> NDArray[np.float64]:
    """The sum of the values before each position, and at the end that of all."""
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, out=sums[1:])
    return sums
