"""How good answers were once the truth is known: sums that merge, for two classes, several classes and numbers."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taxiway.rollout.observations import SAME, Counts, Mergeable, Moments, Values

BINS = 200
"""Of probability from 0 to 1, all of one width; the last one holds 1 too."""

SMALLEST = 1e-6
"""Probabilities are taken as at least this for log loss, so no row costs more than 13.8."""


@dataclass(frozen=True)
class BinaryQuality(Mergeable):
    """Of probabilities of the positive class. The histograms, one a true class, have `BINS` bins of probability."""

    log_loss: Moments
    brier: Moments
    right: Counts
    positives: Counts
    predicted: Moments
    scores_of_positives: tuple[int, ...]
    scores_of_negatives: tuple[int, ...]

    @classmethod
    def of(cls, labels: ArrayLike, probabilities: ArrayLike) -> Self:
        """Labels are 0 or 1; an answer counts as right when the likelier class (1 from 0.5 on) is the true one.

        Raises:
            ValueError: a label is not 0 or 1, a probability is not from 0 to 1, or their numbers differ.
        """
        truth, scores = _checked(labels, probabilities)
        right = int(((scores >= 0.5) == truth).sum())
        bins = np.minimum((scores * BINS).astype(np.intp), BINS - 1)
        return cls(
            Moments.of(log_losses(truth, scores)),
            Moments.of(np.square(scores - truth)),
            Counts(truth.size, right),
            Counts(truth.size, int(truth.sum())),
            Moments.of(scores),
            _counted(bins[truth], BINS),
            _counted(bins[~truth], BINS),
        )

    @property
    def n(self) -> int:
        return self.positives.n

    def auc(self) -> float | None:
        """The area under the ROC curve with scores of one bin as ties; None while a class is missing.

        Off from the AUC of the scores themselves by at most `auc_error()`.
        """
        positives, negatives = self._classes()
        pairs = positives.sum() * negatives.sum()
        if not pairs:
            return None
        lower = np.concatenate([[0.0], np.cumsum(negatives)[:-1]])
        return float((positives * (lower + negatives / 2)).sum() / pairs)

    def auc_error(self) -> float:
        """Half of the share of pairs that lie in one bin: the most that binning can have changed."""
        positives, negatives = self._classes()
        pairs = positives.sum() * negatives.sum()
        return float((positives * negatives).sum() / pairs / 2) if pairs else 0.0

    def calibration_error(self, groups: int = 10) -> float | None:
        """The mean distance between predicted and true share of positives over groups of bins, weighted by rows.

        A row's probability is taken as the middle of its bin. None of nothing.

        Raises:
            ValueError: `groups` does not divide the number of bins.
        """
        if not self.n:
            return None
        rows, positives, predicted = self.calibration(groups)
        return float(np.abs(positives - predicted).sum() / rows.sum())

    def calibration(self, groups: int = 10) -> tuple[Values, Values, Values]:
        """For each group of bins: rows, positives among them, and how many the probabilities promised.

        Raises:
            ValueError: `groups` does not divide the number of bins.
        """
        if groups < 1 or BINS % groups:
            raise ValueError(f"{groups} groups can't be made of {BINS} bins; take a divisor")
        positives, negatives = self._classes()
        rows = positives + negatives
        promised = rows * (np.arange(BINS) + 0.5) / BINS
        grouped = [values.reshape(groups, -1).sum(axis=1) for values in (rows, positives, promised)]
        return grouped[0], grouped[1], grouped[2]

    def _classes(self) -> tuple[Values, Values]:
        return np.asarray(self.scores_of_positives, np.float64), np.asarray(self.scores_of_negatives, np.float64)


@dataclass(frozen=True)
class ClassQuality(Mergeable):
    """Of several classes. `confusion[t * k + p]` counts rows of true class t answered with class p, k classes."""

    classes: int = field(metadata=SAME)
    log_loss: Moments
    confusion: tuple[int, ...]

    @classmethod
    def of(cls, labels: ArrayLike, probabilities: ArrayLike) -> Self:
        """Labels are positions from 0, probabilities are rows x classes.

        Raises:
            ValueError: a label has no column, or a probability is not from 0 to 1.
        """
        truth, scores = np.asarray(labels, dtype=np.intp), np.asarray(probabilities, dtype=np.float64)
        if scores.ndim != 2 or truth.shape != scores.shape[:1]:
            raise ValueError(f"{truth.shape} labels and {scores.shape} probabilities don't fit: one row for each label")
        classes = scores.shape[1]
        if truth.size and not (truth.min() >= 0 and truth.max() < classes):
            raise ValueError(f"a label is not one of the {classes} classes; they count from 0")
        _check_probabilities(scores)
        confusion = _counted(truth * classes + scores.argmax(axis=1), classes * classes)
        losses = -np.log(np.maximum(scores[np.arange(truth.size), truth], SMALLEST))
        return cls(classes, Moments.of(losses), confusion)

    @property
    def n(self) -> int:
        return self.log_loss.n

    @property
    def right(self) -> Counts:
        return Counts(self.n, sum(self.confusion[:: self.classes + 1]))


@dataclass(frozen=True)
class RegressionQuality(Mergeable):
    """Absolute and squared errors, in the target's unit and its square; `error` is prediction minus truth."""

    error: Moments
    absolute: Moments
    squared: Moments

    @classmethod
    def of(cls, truth: ArrayLike, predictions: ArrayLike) -> Self:
        """
        Raises:
            ValueError: a value is not finite, or their numbers differ.
        """
        one, other = np.asarray(truth, np.float64), np.asarray(predictions, np.float64)
        if one.shape != other.shape:
            raise ValueError(f"{one.size} true values and {other.size} predictions don't fit: one for each")
        errors = other - one
        return cls(Moments.of(errors), Moments.of(np.abs(errors)), Moments.of(np.square(errors)))


@dataclass(frozen=True)
class PairedLoss(Mergeable):
    """The challenger's loss minus the champion's on the same rows, each difference clipped to -bound .. bound.

    The bound is what makes an exact interval possible (`sequential_means.bounded_mean(differences, -bound,
    bound, alpha)`), which is one of the clipped difference. `clipped` counts how often it mattered.
    """

    bound: float = field(metadata=SAME)
    differences: Moments
    clipped: Counts

    @classmethod
    def of(cls, challenger: ArrayLike, champion: ArrayLike, bound: float) -> Self:
        """Losses of the same rows in the same order.

        Raises:
            ValueError: a loss is not finite, their numbers differ, or the bound is not above 0.
        """
        one, other = np.asarray(challenger, np.float64), np.asarray(champion, np.float64)
        if one.shape != other.shape:
            raise ValueError(f"{one.size} and {other.size} losses don't pair up: give both for each row")
        if not bound > 0:
            raise ValueError(f"a bound of {bound:g} leaves no differences; it must be above 0")
        apart = one - other
        return cls(
            bound, Moments.of(np.clip(apart, -bound, bound)), Counts(apart.size, int((abs(apart) > bound).sum()))
        )


def log_losses(labels: ArrayLike, probabilities: ArrayLike) -> Values:
    """Of each row, natural logarithm, probabilities kept from `SMALLEST` to 1 - `SMALLEST`."""
    truth, scores = np.asarray(labels, dtype=bool), np.asarray(probabilities, np.float64)
    return -np.log(np.maximum(np.where(truth, scores, 1 - scores), SMALLEST))


def _checked(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.bool_], Values]:
    truth, scores = np.asarray(labels), np.asarray(probabilities, np.float64)
    if truth.shape != scores.shape:
        raise ValueError(f"{truth.size} labels and {scores.size} probabilities don't fit: one for each")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("a label is neither 0 nor 1")
    _check_probabilities(scores)
    return truth.astype(bool), scores


def _check_probabilities(scores: Values) -> None:
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("a probability does not lie between 0 and 1")


def _counted(positions: NDArray[np.intp], length: int) -> tuple[int, ...]:
    return tuple(int(count) for count in np.bincount(positions, minlength=length))
