"""How good probabilities are: numbers from labels and probabilities, nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from taxiway.signature import Array

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64]

CALIBRATION_BINS = 10
SMALL_SLICE_ROWS = 500
SMALL_SLICE_OF_A_CLASS = 50
"""Below either, the AUC of a slice moves by several hundredths by chance alone."""


@dataclass(frozen=True)
class CalibrationBin:
    """Rows of like probability: their number, their mean probability and how many in truth were positive."""

    rows: int
    predicted: float
    observed: float


class AnySlice(Protocol):
    """The rows with one value of one column: what all tasks tell of them.

    `base` is the task's; `score` is the task's primary metric, None where it means nothing, and `loss` the other one
    of its `slice_metrics`.
    """

    @property
    def column(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def small(self) -> bool: ...
    @property
    def base(self) -> float: ...
    @property
    def score(self) -> float | None: ...
    @property
    def loss(self) -> float: ...


class Evaluated(Protocol):
    """A model on one window: what all tasks tell of it.

    `figures` are the task's metrics by name, `metrics` everything under the names that the registry shows, `further`
    what is told beside the metrics, by title.
    """

    @property
    def rows(self) -> int: ...
    @property
    def base(self) -> float: ...
    @property
    def calibration(self) -> tuple[CalibrationBin, ...]: ...
    @property
    def calibration_error(self) -> float | None: ...
    @property
    def slices(self) -> tuple[AnySlice, ...]: ...
    @property
    def figures(self) -> dict[str, float]: ...
    @property
    def metrics(self) -> dict[str, float]: ...
    @property
    def further(self) -> dict[str, float]: ...


@dataclass(frozen=True)
class Slice:
    """The rows with one value of one column; `auc` and `log_loss` are None where they mean nothing."""

    column: str
    value: str
    rows: int
    base_rate: float
    auc: float | None
    log_loss: float
    small: bool

    @property
    def base(self) -> float:
        return self.base_rate

    @property
    def score(self) -> float | None:
        return self.auc

    @property
    def loss(self) -> float:
        return self.log_loss


@dataclass(frozen=True)
class Evaluation:
    """A model on one window. `auc_low` and `auc_high` bound the AUC in 95 of 100 bootstrap samples."""

    rows: int
    base_rate: float
    auc: float
    auc_low: float
    auc_high: float
    average_precision: float
    log_loss: float
    brier: float
    calibration_error: float
    calibration: tuple[CalibrationBin, ...]
    slices: tuple[Slice, ...]

    @property
    def base(self) -> float:
        return self.base_rate

    @property
    def figures(self) -> dict[str, float]:
        return {"auc": self.auc, "average_precision": self.average_precision, "log_loss": self.log_loss}

    @property
    def metrics(self) -> dict[str, float]:
        """The figures of the whole window, under the names that the registry shows."""
        names = ("base_rate", "auc", "auc_low", "auc_high", "average_precision", "log_loss", "brier")
        figures = {f"evaluate_{name}": float(getattr(self, name)) for name in names}
        return figures | {"evaluate_calibration_error": self.calibration_error, "evaluate_rows": float(self.rows)}

    @property
    def further(self) -> dict[str, float]:
        return {"Brier score (lower is better)": self.brier, "calibration error": self.calibration_error}

    @property
    def worst_slice(self) -> Slice | None:
        """The slice with the lowest AUC among those that are not small."""
        judged = [it for it in self.slices if not it.small and it.auc is not None]
        return min(judged, key=lambda it: it.auc or 0.0, default=None)


def evaluate(
    labels: Labels, probabilities: Probabilities, slice_columns: Mapping[str, Array], seed: int = 0
) -> Evaluation:
    """Both classes must occur in `labels`."""
    bins = calibration_bins(labels, probabilities)
    low, high = auc_interval(labels, probabilities, np.random.default_rng(seed))
    return Evaluation(
        rows=len(labels),
        base_rate=float(labels.mean()),
        auc=float(roc_auc_score(labels, probabilities)),
        auc_low=low,
        auc_high=high,
        average_precision=float(average_precision_score(labels, probabilities)),
        log_loss=float(log_loss(labels, probabilities, labels=[0, 1])),
        brier=float(brier_score_loss(labels, probabilities)),
        calibration_error=calibration_error(bins),
        calibration=bins,
        slices=tuple(
            found for name, values in slice_columns.items() for found in slices(name, values, labels, probabilities)
        ),
    )


def calibration_bins(
    labels: Labels, probabilities: Probabilities, bins: int = CALIBRATION_BINS
) -> tuple[CalibrationBin, ...]:
    """Bins between the quantiles of the probabilities, equally full but for ties, which share one bin.

    Equally full bins estimate the error with less bias than equally wide ones (Roelofs et al. 2022).
    """
    edges = np.unique(np.quantile(probabilities, np.linspace(0.0, 1.0, bins + 1)[1:-1]))
    place = np.searchsorted(edges, probabilities, side="left")
    rows = np.bincount(place)
    full = rows > 0
    predicted = np.bincount(place, weights=probabilities)[full] / rows[full]
    observed = np.bincount(place, weights=labels)[full] / rows[full]
    return tuple(
        CalibrationBin(int(n), float(mean), float(rate))
        for n, mean, rate in zip(rows[full], predicted, observed, strict=True)
    )


def calibration_error(bins: tuple[CalibrationBin, ...]) -> float:
    """The expected calibration error: the mean distance of prediction and truth over bins, weighted by rows."""
    rows = np.array([it.rows for it in bins])
    distance = np.array([abs(it.predicted - it.observed) for it in bins])
    return float((rows * distance).sum() / rows.sum())


def auc_interval(
    labels: Labels, probabilities: Probabilities, random: np.random.Generator, samples: int = 200
) -> tuple[float, float]:
    """The middle 95% of the AUC over bootstrap samples, drawn within each class."""
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    # Ranks once, then counts: a sample's AUC needs no sorting of its own.
    order = np.unique(probabilities, return_inverse=True)[1]
    ranks = order.max() + 1
    found = []
    for _ in range(samples):
        up = np.bincount(order[random.choice(positive, len(positive))], minlength=ranks)
        down = np.bincount(order[random.choice(negative, len(negative))], minlength=ranks)
        below = np.cumsum(down) - down
        found.append((up * (below + down / 2.0)).sum() / (len(positive) * len(negative)))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def slices(name: str, values: Array, labels: Labels, probabilities: Probabilities) -> list[Slice]:
    """One slice for each value of a column, the largest first; a missing value is a value."""
    named = shown(values)
    found = []
    for value in np.unique(named):
        chosen = named == value
        truth, guess = labels[chosen], probabilities[chosen]
        rarer = min(truth.sum(), len(truth) - truth.sum())
        found.append(
            Slice(
                column=name,
                value=str(value),
                rows=len(truth),
                base_rate=float(truth.mean()),
                auc=float(roc_auc_score(truth, guess)) if rarer else None,
                log_loss=float(log_loss(truth, guess, labels=[0, 1])),
                small=bool(len(truth) < SMALL_SLICE_ROWS or rarer < SMALL_SLICE_OF_A_CLASS),
            )
        )
    return sorted(found, key=lambda it: (-it.rows, it.value))


def shown(values: Array) -> Array:
    """The names of a column's values as slices have them."""
    return np.array(["(missing)" if value is None or value != value else str(value) for value in values])
