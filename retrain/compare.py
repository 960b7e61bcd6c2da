"""A challenger beside the champion on the same held-out rows: differences with intervals, slices, latency."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.evaluate import AnySlice, Evaluated, shown
from retrain.evaluate_others import evaluate_task
from retrain.samples import draw, of_all_rows, prepared
from retrain.tasks import BINARY, METRICS, Answers, Labels, Metric, MetricName, Task
from taxiway.errors import JobError
from taxiway.signature import Array, Columns, row_count, take

Samples = NDArray[np.float64]

SAMPLES = 1_000
SLICE_SAMPLES = 200
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Estimate:
    """A figure, and the interval that holds it in `confidence` of the bootstrap samples."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MetricComparison:
    """One metric of both models; `difference` is challenger minus champion, drawn from the same samples."""

    metric: MetricName
    challenger: Estimate
    champion: Estimate | None
    difference: Estimate | None

    @property
    def about(self) -> Metric:
        return METRICS[self.metric]

    @property
    def gain(self) -> Estimate | None:
        """The difference, turned so that more is better whichever way the metric goes."""
        if self.difference is None or self.about.higher_is_better:
            return self.difference
        return Estimate(-self.difference.value, -self.difference.high, -self.difference.low)


@dataclass(frozen=True)
class SliceComparison:
    """The rows with one value of one column.

    `difference` is of the task's primary metric, None in a small slice or where a class is missing, and like
    everything of the champion without one.
    """

    challenger: AnySlice
    champion: AnySlice | None
    difference: Estimate | None

    @property
    def name(self) -> str:
        return f"{self.challenger.column} {self.challenger.value}"

    @property
    def loss_difference(self) -> float | None:
        return None if self.champion is None else self.challenger.loss - self.champion.loss


@dataclass(frozen=True)
class Comparison:
    """Two models, or one alone, on one window. Intervals hold `confidence` of `samples` bootstrap samples.

    Attributes:
        metrics: those of the task, in its order: the first is the primary one.
    """

    task: Task
    confidence: float
    samples: int
    challenger: Evaluated
    champion: Evaluated | None
    metrics: tuple[MetricComparison, ...]
    slices: tuple[SliceComparison, ...]

    def of(self, metric: MetricName) -> MetricComparison:
        """Raises KeyError: the task has no such metric."""
        return {it.metric: it for it in self.metrics}[metric]

    @property
    def primary(self) -> MetricComparison:
        return self.metrics[0]

    @property
    def auc(self) -> MetricComparison:
        return self.of("auc")

    @property
    def average_precision(self) -> MetricComparison:
        return self.of("average_precision")

    @property
    def log_loss(self) -> MetricComparison:
        return self.of("log_loss")

    def gain(self, of_slice: SliceComparison) -> float | None:
        """By how much the challenger is better than the champion in a slice."""
        return None if of_slice.difference is None else self.primary.about.gain(of_slice.difference.value)

    @property
    def worst_slice(self) -> SliceComparison | None:
        """The slice in which the challenger's primary metric is worst, among those that are not small."""
        better = self.primary.about.gain
        judged = [
            (better(it.challenger.score), it)
            for it in self.slices
            if it.challenger.score is not None and not it.challenger.small
        ]
        return min(judged, key=lambda pair: pair[0])[1] if judged else None

    @property
    def largest_loss(self) -> SliceComparison | None:
        """The slice in which the challenger falls behind the champion most, or leads least; none that is small."""
        judged = [(gain, it) for it in self.slices if (gain := self.gain(it)) is not None]
        return min(judged, key=lambda pair: pair[0])[1] if judged else None


def facts(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON has it: each metric by its name."""
    primary = comparison.primary.metric
    return {
        "task": comparison.task.name,
        "confidence": comparison.confidence,
        "samples": comparison.samples,
        "challenger": plain_evaluation(comparison.challenger),
        "champion": plain_evaluation(comparison.champion) if comparison.champion else None,
        **{it.metric: asdict(it) for it in comparison.metrics},
        "slices": [
            {
                "challenger": plain_evaluation(it.challenger),
                "champion": plain_evaluation(it.champion) if it.champion else None,
                f"{primary}_difference": asdict(it.difference) if it.difference else None,
            }
            for it in comparison.slices
        ],
    }


def plain_evaluation(found: Any) -> dict[str, Any]:
    """The fields of an evaluation, or of one of its slices."""
    return asdict(found)


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
    challenger: Answers,
    champion: Answers | None,
    slice_columns: Mapping[str, Array],
    *,
    task: Task = BINARY,
    seed: int = 0,
    samples: int = SAMPLES,
    confidence: float = 0.95,
) -> Comparison:
    """Both models on the same rows, in the same order.

    The difference of two models on the same rows varies far less than either model: its interval comes from
    samples that both share (the paired bootstrap; Efron and Tibshirani 1993, percentile intervals), drawn
    within each class.

    Args:
        labels: as the task has them; likewise `challenger`, its answer for each row, and `champion`, None when
            there is none.
        slice_columns: columns by whose values the rows are split.

    Raises:
        JobError: the labels do not suffice to compare by, or a model's answers are not those of the task.
    """
    models = {"challenger": challenger} | ({"champion": champion} if champion is not None else {})
    _check(task, labels, models)
    sampled = [prepared(task, labels, answers) for answers in models.values()]
    drawn = draw(sampled, task.strata(labels), np.random.default_rng(seed), samples)
    points = of_all_rows(sampled, len(labels))
    own = evaluate_task(task, labels, challenger, slice_columns, seed)
    others = evaluate_task(task, labels, champion, slice_columns, seed) if champion is not None else None
    return Comparison(
        task=task,
        confidence=confidence,
        samples=samples,
        challenger=own,
        champion=others,
        metrics=tuple(
            _metric(name, points[:, place], drawn[:, :, place], confidence) for place, name in enumerate(task.metrics)
        ),
        slices=_slices(task, labels, models, own, others, slice_columns, seed, confidence),
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


def _check(task: Task, labels: Labels, models: Mapping[str, Answers]) -> None:
    if task.lacks(labels, to_learn=False):
        kind = "label" if task.name == "regression" else "class"
        raise JobError(f"the {len(labels):,} held-out rows are all of one {kind}; models can't be compared on them")
    for name, answers in models.items():
        if wrong := task.wrong_answers(len(labels), answers):
            raise JobError(f"the {name} {wrong}")


def _metric(metric: MetricName, points: Samples, drawn: Samples, confidence: float) -> MetricComparison:
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
    task: Task,
    labels: Labels,
    models: Mapping[str, Answers],
    own: Evaluated,
    others: Evaluated | None,
    slice_columns: Mapping[str, Array],
    seed: int,
    confidence: float,
) -> tuple[SliceComparison, ...]:
    if others is None:
        return tuple(SliceComparison(it, None, None) for it in own.slices)
    names = {name: shown(values) for name, values in slice_columns.items()}
    found = []
    for number, (challenger, champion) in enumerate(zip(own.slices, others.slices, strict=True)):
        difference = None
        if challenger.score is not None and not challenger.small:
            chosen = names[challenger.column] == challenger.value
            sampled = [prepared(task, labels[chosen], answers[chosen]) for answers in models.values()]
            random = np.random.default_rng((seed, number))
            drawn = draw(sampled, task.strata(labels[chosen]), random, SLICE_SAMPLES)
            points = of_all_rows(sampled, int(chosen.sum()))
            difference = _difference(points[:, 0], drawn[:, :, 0], confidence)
        found.append(SliceComparison(challenger, champion, difference))
    return tuple(found)
