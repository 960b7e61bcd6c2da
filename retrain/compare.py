"""A challenger beside the champion on the same held-out rows: differences with intervals, slices, latency."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrain.evaluate import Evaluation, Labels, Probabilities, Slice, evaluate
from taxiway.errors import JobError
from taxiway.signature import Array, Columns, row_count, take

Metric = Literal["auc", "average_precision", "log_loss"]
Samples = NDArray[np.float64]

SAMPLES = 1_000
SLICE_SAMPLES = 200
_EPSILON = float(np.finfo(np.float64).eps)
_AUC, _AVERAGE_PRECISION, _LOG_LOSS = range(3)


@dataclass(frozen=True)
class Estimate:
    """A figure, and the interval that holds it in `confidence` of the bootstrap samples."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MetricComparison:
    """One metric of both models; `difference` is challenger minus champion, drawn from the same samples."""

    metric: Metric
    challenger: Estimate
    champion: Estimate | None
    difference: Estimate | None


@dataclass(frozen=True)
class SliceComparison:
    """The rows with one value of one column.

    An AUC is None where a class is missing. `auc_difference` is None in a small slice, and like everything
    of the champion without one.
    """

    challenger: Slice
    champion: Slice | None
    auc_difference: Estimate | None

    @property
    def name(self) -> str:
        return f"{self.challenger.column} {self.challenger.value}"

    @property
    def log_loss_difference(self) -> float | None:
        return None if self.champion is None else self.challenger.log_loss - self.champion.log_loss


@dataclass(frozen=True)
class Comparison:
    """Two models, or one alone, on one window. Intervals hold `confidence` of `samples` bootstrap samples."""

    confidence: float
    samples: int
    challenger: Evaluation
    champion: Evaluation | None
    auc: MetricComparison
    average_precision: MetricComparison
    log_loss: MetricComparison
    slices: tuple[SliceComparison, ...]

    @property
    def metrics(self) -> tuple[MetricComparison, ...]:
        return self.auc, self.average_precision, self.log_loss

    @property
    def worst_slice(self) -> SliceComparison | None:
        """The slice with the challenger's lowest AUC among those that are not small."""
        judged = [
            (it.challenger.auc, it) for it in self.slices if it.challenger.auc is not None and not it.challenger.small
        ]
        return min(judged, key=lambda pair: pair[0])[1] if judged else None

    @property
    def largest_loss(self) -> SliceComparison | None:
        """The slice in which the challenger falls behind the champion most, or leads least; none that is small."""
        judged = [(it.auc_difference.value, it) for it in self.slices if it.auc_difference is not None]
        return min(judged, key=lambda pair: pair[0])[1] if judged else None


@dataclass(frozen=True)
class Latency:
    """What `predict` takes: single rows over so many calls, and rows per second in batches of `batch_rows`."""

    p50_ms: float
    p99_ms: float
    calls: int
    rows_per_s: float
    batch_rows: int


def compare(
    labels: Labels,
    challenger: Probabilities,
    champion: Probabilities | None,
    slice_columns: Mapping[str, Array],
    *,
    seed: int = 0,
    samples: int = SAMPLES,
    confidence: float = 0.95,
) -> Comparison:
    """Both models on the same rows, in the same order.

    The difference of two models on the same rows varies far less than either model: its interval comes from
    samples that both share (the paired bootstrap; Efron and Tibshirani 1993, percentile intervals), drawn
    within each class.

    Args:
        labels: 0 or 1.
        challenger: the probability of label 1 for each row; likewise `champion`, None when there is none.
        slice_columns: columns by whose values the rows are split.

    Raises:
        JobError: a class has no row, or a model's answers are not one probability for each row.
    """
    models = {"challenger": challenger} | ({"champion": champion} if champion is not None else {})
    _check(labels, models)
    ranked = [_Ranked(labels, probabilities) for probabilities in models.values()]
    drawn = _draw(ranked, np.random.default_rng(seed), samples)
    points = np.array([model.figures_of_all_rows() for model in ranked])
    own = evaluate(labels, challenger, slice_columns, seed)
    others = evaluate(labels, champion, slice_columns, seed) if champion is not None else None
    return Comparison(
        confidence=confidence,
        samples=samples,
        challenger=own,
        champion=others,
        auc=_metric("auc", points[:, _AUC], drawn[:, :, _AUC], confidence),
        average_precision=_metric(
            "average_precision", points[:, _AVERAGE_PRECISION], drawn[:, :, _AVERAGE_PRECISION], confidence
        ),
        log_loss=_metric("log_loss", points[:, _LOG_LOSS], drawn[:, :, _LOG_LOSS], confidence),
        slices=_slices(labels, models, own, others, slice_columns, seed, confidence),
    )


def measure_latency(
    predict: Callable[[Columns], object],
    columns: Columns,
    *,
    calls: int = 1_000,
    batch_rows: int = 4_096,
    batches: int = 5,
    warm_up: int = 20,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """The time of `predict` in this process: single rows one after the other, then batches (their median).

    Args:
        columns: rows to ask for, over and over where there are fewer than calls; at least one.
        batch_rows: of one batch; all of `columns` where there are fewer.
        warm_up: single calls beforehand that don't count.
        clock: seconds.

    Raises:
        JobError: there is no row.
    """
    rows = row_count(columns)
    if not rows:
        raise JobError("latency can't be measured without a row")
    for call in range(warm_up):
        predict(take(columns, slice(call % rows, call % rows + 1)))
    singles = [_seconds(predict, take(columns, slice(call % rows, call % rows + 1)), clock) for call in range(calls)]
    batch = take(columns, slice(0, batch_rows))
    spent = float(np.median([_seconds(predict, batch, clock) for _ in range(batches)]))
    p50, p99 = np.quantile(singles, (0.5, 0.99)) * 1_000
    size = row_count(batch)
    return Latency(float(p50), float(p99), calls, size / max(spent, _EPSILON), size)


def _seconds(predict: Callable[[Columns], object], columns: Columns, clock: Callable[[], float]) -> float:
    start = clock()
    predict(columns)
    return clock() - start


def _check(labels: Labels, models: Mapping[str, Probabilities]) -> None:
    if len(set(np.unique(labels).tolist())) < 2:
        raise JobError(f"the {len(labels):,} held-out rows are all of one class; models can't be compared on them")
    for name, probabilities in models.items():
        if probabilities.shape != labels.shape:
            raise JobError(f"the {name} answered {list(probabilities.shape)} for {len(labels):,} held-out rows")
        wrong = int((~((probabilities >= 0) & (probabilities <= 1))).sum())
        if wrong:
            raise JobError(
                f"the {name} answered no probability between 0 and 1 for {wrong:,} of {len(labels):,} held-out rows"
            )


class _Ranked:
    """One model's probabilities, sorted once by class: a bootstrap sample is then a matter of counts.

    A sample is how often each positive and each negative row occurs in it; nothing is sorted for it.
    """

    def __init__(self, labels: Labels, probabilities: Probabilities) -> None:
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

    def figures(self, positive: NDArray[np.intp], negative: NDArray[np.intp]) -> tuple[float, float, float]:
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

    def figures_of_all_rows(self) -> tuple[float, float, float]:
        return self.figures(np.ones(self.positives, np.intp), np.ones(self.negatives, np.intp))


def _summed(values: NDArray[Any]) -> NDArray[np.float64]:
    """The sum of the values before each position, and at the end that of all."""
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, out=sums[1:])
    return sums


def _draw(models: Sequence[_Ranked], random: np.random.Generator, samples: int) -> Samples:
    """Figures of every model in every sample: [samples, models, 3]."""
    positives, negatives = models[0].positives, models[0].negatives
    found = np.empty((samples, len(models), 3))
    for sample in found:
        positive = np.bincount(random.integers(0, positives, positives), minlength=positives)
        negative = np.bincount(random.integers(0, negatives, negatives), minlength=negatives)
        for place, model in enumerate(models):
            sample[place] = model.figures(positive, negative)
    return found


def _metric(metric: Metric, points: Samples, drawn: Samples, confidence: float) -> MetricComparison:
    """
    Args:
        points: of the challenger, and of the champion if there is one.
        drawn: their samples, [samples, models].
    """
    own = _estimate(points[0], drawn[:, 0], confidence)
    if len(points) < 2:
        return MetricComparison(metric, own, None, None)
    return MetricComparison(
        metric, own, _estimate(points[1], drawn[:, 1], confidence), _difference(points, drawn, confidence)
    )


def _difference(points: Samples, drawn: Samples, confidence: float) -> Estimate:
    return _estimate(points[0] - points[1], drawn[:, 0] - drawn[:, 1], confidence)


def _estimate(value: float, drawn: Samples, confidence: float) -> Estimate:
    low, high = np.quantile(drawn, ((1 - confidence) / 2, (1 + confidence) / 2))
    return Estimate(float(value), float(low), float(high))


def _slices(
    labels: Labels,
    models: Mapping[str, Probabilities],
    own: Evaluation,
    others: Evaluation | None,
    slice_columns: Mapping[str, Array],
    seed: int,
    confidence: float,
) -> tuple[SliceComparison, ...]:
    if others is None:
        return tuple(SliceComparison(it, None, None) for it in own.slices)
    shown = {name: _shown(values) for name, values in slice_columns.items()}
    found = []
    for number, (challenger, champion) in enumerate(zip(own.slices, others.slices, strict=True)):
        difference = None
        if challenger.auc is not None and not challenger.small:
            chosen = shown[challenger.column] == challenger.value
            ranked = [_Ranked(labels[chosen], probabilities[chosen]) for probabilities in models.values()]
            drawn = _draw(ranked, np.random.default_rng((seed, number)), SLICE_SAMPLES)
            points = np.array([model.figures_of_all_rows() for model in ranked])
            difference = _difference(points[:, _AUC], drawn[:, :, _AUC], confidence)
        found.append(SliceComparison(challenger, champion, difference))
    return tuple(found)


def _shown(values: Array) -> Array:
    """Values under the names of `retrain.evaluate.slices`."""
    return np.array(["(missing)" if value is None or value != value else str(value) for value in values])
