"""What is learned: one of two classes, one of several, or a number. Where they differ, the others ask here."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from taxiway.errors import ConfigError
from taxiway.signature import Column

TaskName = Literal["binary", "classes", "regression"]
MetricName = Literal[
    "auc",
    "average_precision",
    "log_loss",
    "accuracy",
    "macro_f1",
    "macro_auc",
    "rmse",
    "mae",
    "r2",
    "median_absolute_error",
]
Labels = NDArray[Any]
"""[rows]: int64, 0 or 1, or positions among the classes; float64 for numbers."""
Answers = NDArray[np.float64]
"""[rows]: probabilities of label 1, or numbers; [rows, classes]: probabilities of the classes."""
Rows = NDArray[np.intp]
_EPSILON = float(np.finfo(np.float64).eps)
_SUM_TOLERANCE = 1e-3
"""By how much the probabilities of a row may miss 1: a network may answer in 16 bits."""


@dataclass(frozen=True)
class Metric:
    """How a metric is called, and which way is better."""

    title: str
    higher_is_better: bool

    def gain(self, difference: float) -> float:
        """A difference to another model, above 0 where it is an improvement."""
        return difference if self.higher_is_better else -difference

    def __str__(self) -> str:
        return self.title if self.higher_is_better else f"{self.title} (lower is better)"


METRICS: Mapping[MetricName, Metric] = {
    "auc": Metric("AUC", True),
    "average_precision": Metric("average precision", True),
    "log_loss": Metric("log loss", False),
    "accuracy": Metric("accuracy", True),
    "macro_f1": Metric("macro F1", True),
    "macro_auc": Metric("AUC, each class against the rest", True),
    "rmse": Metric("RMSE", False),
    "mae": Metric("MAE", False),
    "r2": Metric("R2", True),
    "median_absolute_error": Metric("median absolute error", False),
}


@dataclass(frozen=True)
class Task(ABC):
    """One kind of label and of answer.

    Attributes:
        metrics: what two models are compared by, the primary one first.
        loss, score: what a trial is judged by, and what is told beside it.
        slice_metrics: what is told of a slice; the first, the primary one, is compared.
        importance: what is measured when a column is shuffled.
        base_title: of `base`.
    """

    name: ClassVar[TaskName]
    output_kind: ClassVar[Literal["probability", "tensor", "value"]]
    default_output: ClassVar[str]
    answers_probabilities: ClassVar[bool]
    metrics: ClassVar[tuple[MetricName, ...]]
    loss: ClassVar[MetricName]
    score: ClassVar[MetricName]
    slice_metrics: ClassVar[tuple[MetricName, MetricName]]
    importance: ClassVar[MetricName]
    base_title: ClassVar[str]
    label_dtype: ClassVar[type[np.number[Any]]] = np.int64

    @abstractmethod
    def labels(self, values: "pa.ChunkedArray[Any]", name: str) -> NDArray[np.float64]:
        """The column `name` of a labels file as numbers, NaN where there is no label.

        Raises:
            ConfigError: a label does not fit the task.
        """

    @abstractmethod
    def lacks(self, labels: Labels, to_learn: bool) -> str:
        """What a window's labels lack to learn from them, or to judge by them; empty when nothing."""

    @abstractmethod
    def output(self, name: str) -> Column:
        """The column of the answer."""

    @abstractmethod
    def measure(self, labels: Labels, answers: Answers) -> dict[MetricName, float]:
        """`loss` and `score` of all rows."""

    @abstractmethod
    def wrong_answers(self, rows: int, answers: Answers) -> str:
        """What is wrong with a model's answers to so many rows, to be read after its name; empty when nothing."""

    @abstractmethod
    def base(self, labels: Labels) -> float:
        """What the labels are without a model: the share of label 1, of the largest class, or the mean."""

    @abstractmethod
    def told_base(self, value: float) -> str:
        """A `base` as text."""

    def strata(self, labels: Labels) -> list[Rows]:
        """Rows that a sample draws from on their own: of each class."""
        return [np.flatnonzero(labels == label) for label in np.unique(labels)]


@dataclass(frozen=True)
class Binary(Task):
    """Labels are 0 or 1, the answer is the probability of 1."""

    name = "binary"
    output_kind = "probability"
    default_output = "probability"
    answers_probabilities = True
    metrics = ("auc", "average_precision", "log_loss")
    loss = "log_loss"
    score = "auc"
    slice_metrics = ("auc", "log_loss")
    importance = "auc"
    base_title = "label 1"

    def labels(self, values: "pa.ChunkedArray[Any]", name: str) -> NDArray[np.float64]:
        found = _numbers(values, name, "`task: classes` takes texts")
        strange = found[~np.isnan(found) & ~np.isin(found, (0.0, 1.0))]
        if len(strange):
            raise ConfigError(
                f"label: {name} must be 0 or 1, found {strange[0]:g}; for several classes say `task: classes`, for "
                "numbers `task: regression`"
            )
        return found

    def lacks(self, labels: Labels, to_learn: bool) -> str:
        return "" if len(np.unique(labels)) == 2 else "not both labels among them"

    def output(self, name: str) -> Column:
        return Column(name=name, dtype="float64")

    def measure(self, labels: Labels, answers: Answers) -> dict[MetricName, float]:
        return {
            "log_loss": float(log_loss(labels, answers, labels=[0, 1])),
            "auc": float(roc_auc_score(labels, answers)),
        }

    def wrong_answers(self, rows: int, answers: Answers) -> str:
        if answers.shape != (rows,):
            return f"answered {list(answers.shape)} for {rows:,} held-out rows"
        wrong = int((~((answers >= 0) & (answers <= 1))).sum())
        return f"answered no probability between 0 and 1 for {wrong:,} of {rows:,} held-out rows" if wrong else ""

    def base(self, labels: Labels) -> float:
        return float(labels.mean())

    def told_base(self, value: float) -> str:
        return f"{value:.2%}"

    def strata(self, labels: Labels) -> list[Rows]:
        return [np.flatnonzero(labels == label) for label in (1, 0)]


@dataclass(frozen=True)
class Classes(Task):
    """Labels are positions among `classes`, the answer is a probability for each of these, in their order."""

    classes: tuple[str, ...]

    name = "classes"
    output_kind = "tensor"
    default_output = "probabilities"
    answers_probabilities = True
    metrics = ("accuracy", "log_loss", "macro_f1", "macro_auc")
    loss = "log_loss"
    score = "accuracy"
    slice_metrics = ("accuracy", "log_loss")
    importance = "log_loss"
    base_title = "largest class"

    def labels(self, values: "pa.ChunkedArray[Any]", name: str) -> NDArray[np.float64]:
        """The labels may be texts or whole numbers: 2, 2.0 and "2" are one class."""
        positions = {label: float(place) for place, label in enumerate(self.classes)}
        texts = [_text(value) for value in values.to_pylist()]
        if strange := sorted({text for text in texts if text is not None and text not in positions}):
            raise ConfigError(f"label: {name} holds {', '.join(strange[:3])}, which `classes` does not list")
        return np.array([np.nan if text is None else positions[text] for text in texts], np.float64)

    def lacks(self, labels: Labels, to_learn: bool) -> str:
        there = set(labels.tolist())
        if to_learn and (missing := [it for place, it in enumerate(self.classes) if place not in there]):
            return f"none of the class {', '.join(missing)} among them"
        return "" if len(there) > 1 else "not two classes among them"

    def output(self, name: str) -> Column:
        told = f"probability of each class, in this order: {', '.join(self.classes)}"
        return Column(name=name, dtype="float64", shape=(len(self.classes),), description=told)

    def measure(self, labels: Labels, answers: Answers) -> dict[MetricName, float]:
        return {
            "log_loss": float(class_losses(labels, answers).mean()),
            "accuracy": float((answers.argmax(axis=1) == labels).mean()),
        }

    def wrong_answers(self, rows: int, answers: Answers) -> str:
        if answers.shape != (rows, len(self.classes)):
            return f"answered {list(answers.shape)} for {rows:,} held-out rows of {len(self.classes)} classes"
        inside = ((answers >= 0) & (answers <= 1)).all(axis=1)
        wrong = int((~inside | ~(np.abs(answers.sum(axis=1) - 1) <= _SUM_TOLERANCE)).sum())
        return f"answered no probabilities that add up to 1 for {wrong:,} of {rows:,} held-out rows" if wrong else ""

    def base(self, labels: Labels) -> float:
        return float(np.bincount(labels).max() / len(labels))

    def told_base(self, value: float) -> str:
        return f"{value:.2%}"


@dataclass(frozen=True)
class Regression(Task):
    """Labels and answers are numbers of one unit."""

    name = "regression"
    output_kind = "value"
    default_output = "value"
    answers_probabilities = False
    metrics = ("rmse", "mae", "r2", "median_absolute_error")
    loss = "rmse"
    score = "r2"
    slice_metrics = ("rmse", "mae")
    importance = "rmse"
    base_title = "mean label"
    label_dtype = np.float64

    def labels(self, values: "pa.ChunkedArray[Any]", name: str) -> NDArray[np.float64]:
        found = _numbers(values, name, "`task: classes` takes texts")
        if np.isinf(found).any():
            raise ConfigError(f"label: {name} holds infinite numbers; leave such rows without a label")
        return found

    def lacks(self, labels: Labels, to_learn: bool) -> str:
        return "" if len(np.unique(labels)) > 1 else "not two different labels among them"

    def output(self, name: str) -> Column:
        return Column(name=name, dtype="float64")

    def measure(self, labels: Labels, answers: Answers) -> dict[MetricName, float]:
        squared = float(np.square(answers - labels).mean())
        return {"rmse": float(np.sqrt(squared)), "r2": 1.0 - squared / max(float(labels.var()), _EPSILON)}

    def wrong_answers(self, rows: int, answers: Answers) -> str:
        if answers.shape != (rows,):
            return f"answered {list(answers.shape)} for {rows:,} held-out rows"
        wrong = int((~np.isfinite(answers)).sum())
        return f"answered no finite number for {wrong:,} of {rows:,} held-out rows" if wrong else ""

    def base(self, labels: Labels) -> float:
        return float(labels.mean())

    def told_base(self, value: float) -> str:
        return f"{value:.6g}"

    def strata(self, labels: Labels) -> list[Rows]:
        return [np.arange(len(labels))]


BINARY = Binary()
TASKS: Mapping[TaskName, type[Task]] = {"binary": Binary, "classes": Classes, "regression": Regression}


def task_of(name: TaskName, classes: tuple[str, ...] = ()) -> Task:
    """The task that a config file names."""
    return Classes(classes) if name == "classes" else TASKS[name]()


def class_losses(labels: Labels, answers: Answers) -> NDArray[np.float64]:
    """The log loss of each row; probabilities are taken as at least the smallest step of a float64."""
    losses: NDArray[np.float64] = -np.log(np.clip(answers[np.arange(len(labels)), labels], _EPSILON, 1.0))
    return losses


def _numbers(values: "pa.ChunkedArray[Any]", name: str, otherwise: str) -> NDArray[np.float64]:
    try:
        numbers: NDArray[np.float64] = values.cast(pa.float64()).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConfigError(f"label: {name} is {values.type}, expected numbers; {otherwise}") from error
    return numbers


def _text(value: Any) -> str | None:
    if value is None or value != value:
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
