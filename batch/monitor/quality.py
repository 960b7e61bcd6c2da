"""How good the answers were once the truth was known: by day and on the whole, with bootstrap intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from retrain.evaluate import auc_interval
from taxiway.settings import Settings
from taxiway.signature import Array

Task = Literal["probability", "value", "label"]
Numbers = NDArray[np.float64]
LOSSES: Mapping[Task, str] = {"probability": "log loss", "value": "absolute error", "label": "share of wrong answers"}
SAMPLES = 200
_LEAST_OF_A_CLASS = 10
"""Of fewer rows of a class an AUC means nothing."""
_EPSILON = float(np.finfo(np.float64).eps)


class Interval(Settings):
    """A figure, and the middle 95% of it over bootstrap samples."""

    value: float
    low: float
    high: float


class DayQuality(Settings):
    """Labelled rows of one day, or of the whole window (`day` is None).

    `base` is the mean label; None for texts. `auc` is None but for probabilities with enough rows of both classes.
    """

    day: date | None
    answers: int
    rows: int
    base: float | None
    loss: Interval
    auc: Interval | None


class Quality(Settings):
    """Quality over time.

    Attributes:
        corrections, unmatched: as of `taxiway.predictions.join.Labelled`.
        reference: the mean loss on the reference rows; None without labels there.
    """

    task: Task
    whole: DayQuality
    days: tuple[DayQuality, ...]
    corrections: int
    unmatched: int
    reference: float | None


@dataclass(frozen=True)
class Judged:
    """Labelled rows whose loss is known.

    Args:
        answers: [rows] the prediction id.
        moments: [rows] datetime64[us], UTC.
        labels, outputs: [rows], numbers or texts.
    """

    task: Task
    answers: Array
    moments: NDArray[np.datetime64]
    labels: Array
    outputs: Array
    losses: Numbers

    def take(self, rows: Array) -> "Judged":
        labels, outputs = self.labels[rows], self.outputs[rows]
        return Judged(self.task, self.answers[rows], self.moments[rows], labels, outputs, self.losses[rows])


def judged(table: pa.Table, output: str, task: Task, moments: NDArray[np.datetime64]) -> Judged:
    """The rows of labelled records whose label and answer are of the task's kind."""
    labels = _column(table, "label_text" if task == "label" and _has_texts(table) else "label_number")
    outputs = _column(table, f"output.{output}")
    losses = row_losses(task, labels, outputs)
    kept = np.flatnonzero(np.isfinite(losses))
    answers = table["prediction_id"].to_numpy(zero_copy_only=False)
    return Judged(task, answers, moments, labels, outputs, losses).take(kept)


def row_losses(task: Task, labels: Array, outputs: Array) -> Numbers:
    """Of each row, NaN where it has none: log loss in nats, absolute error in the label's unit, 1 for a wrong one."""
    if task == "label":
        missing = pd.isna(labels) | pd.isna(outputs)
        wrong = np.array([_text(one) != _text(another) for one, another in zip(labels, outputs, strict=True)])
        return np.where(missing, np.nan, wrong.astype(np.float64))
    truth, answers = labels.astype(np.float64), outputs.astype(np.float64)
    if task == "value":
        return np.abs(answers - truth)
    sure = np.clip(answers, _EPSILON, 1 - _EPSILON)
    losses = -(truth * np.log(sure) + (1 - truth) * np.log1p(-sure))
    return np.where((truth == 0) | (truth == 1), losses, np.nan)


def by_day(rows: Judged, zone: ZoneInfo, seed: int) -> tuple[DayQuality, ...]:
    """Each day of the calendar in `zone` that has labelled answers, in order."""
    local = pd.DatetimeIndex(rows.moments).tz_localize("UTC").tz_convert(zone)
    days = np.array([it.toordinal() for it in local.date], np.int64)
    return tuple(
        of_rows(rows.take(np.flatnonzero(days == day)), date.fromordinal(int(day)), seed + int(day))
        for day in np.unique(days)
    )


def of_rows(rows: Judged, day: date | None, seed: int) -> DayQuality:
    """The quality of some rows, at least one."""
    random = np.random.default_rng(seed)
    return DayQuality(
        day=day,
        answers=len(np.unique(rows.answers)),
        rows=len(rows.losses),
        base=None if rows.labels.dtype == np.object_ else float(rows.labels.mean()),
        loss=mean_interval(rows.losses, rows.answers, random),
        auc=_auc(rows, random) if rows.task == "probability" else None,
    )


def mean_interval(losses: Numbers, answers: Array, random: np.random.Generator, samples: int = SAMPLES) -> Interval:
    """The mean over rows. Whole answers are drawn, since rows of one request are alike.

    Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8 (cluster sampling).
    """
    _, place = np.unique(answers, return_inverse=True)
    sums, rows = np.bincount(place, weights=losses), np.bincount(place)
    found = []
    for _ in range(samples):
        drawn = random.integers(0, len(rows), len(rows))
        found.append(sums[drawn].sum() / rows[drawn].sum())
    low, high = np.quantile(found, (0.025, 0.975))
    return Interval(value=float(losses.mean()), low=float(low), high=float(high))


def _auc(rows: Judged, random: np.random.Generator) -> Interval | None:
    labels = rows.labels.astype(np.int64)
    if min(labels.sum(), len(labels) - labels.sum()) < _LEAST_OF_A_CLASS:
        return None
    outputs = rows.outputs.astype(np.float64)
    low, high = auc_interval(labels, outputs, random)
    return Interval(value=float(roc_auc_score(labels, outputs)), low=low, high=high)


def _has_texts(table: pa.Table) -> bool:
    return "label_text" in table.column_names and table["label_text"].null_count < table.num_rows


def _column(table: pa.Table, name: str) -> Array:
    values: Any = table[name]
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.float64())
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _text(value: Any) -> str:
    """3 and 3.0 are one class."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def task_of(output_kind: str, outputs: Sequence[str]) -> Task | None:
    """What can be judged; None for tensors and for several outputs."""
    kinds: dict[str, Task] = {"probability": "probability", "value": "value", "label": "label"}
    return kinds.get(output_kind) if len(outputs) == 1 else None
