"""The same work as a plain script would do it: `python -m benchmarks.retraining.peer TASK` (a file of JSON).

It knows nothing of Taxiway or Ray: a table with its features, scikit-learn, and joblib for two trials at a time.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]
Window = tuple[str, str]


@dataclass(frozen=True)
class Task:
    """What is to be done.

    Args:
        rows: a Parquet file of labelled rows with their features.
        categories: the known values of each column of text.
        learn, validate, evaluate: windows of UTC moments, the end exclusive; the last fit learns from the first two.
        points: the parameters of each trial.
        patience: a trial ends after so many looks without a better log loss.
        jobs: trials at a time.
        samples: of the bootstrap of the AUC.
    """

    rows: str
    moment: str
    label: str
    columns: tuple[str, ...]
    categories: Mapping[str, Sequence[str]]
    learn: Window
    validate: Window
    evaluate: Window
    points: Sequence[Mapping[str, Any]]
    seed: int
    max_iterations: int
    report_every: int
    patience: int
    jobs: int
    samples: int


@dataclass(frozen=True)
class Look:
    """What a trial, counted from 1, had reached after some iterations."""

    trial: int
    iterations: int
    log_loss: float


@dataclass(frozen=True)
class Done:
    """Seconds of wall time by stage, all looks, and the AUC of the last fit with the bounds of 95% of samples."""

    seconds: dict[str, float]
    looks: list[Look]
    auc: float
    auc_low: float
    auc_high: float


def main() -> int:
    task = Task(**json.loads(Path(sys.argv[1]).read_text()))
    print(json.dumps(asdict(run(task))))
    return 0


def run(task: Task) -> Done:
    """Reads, searches, fits again by the best look, evaluates."""
    seconds: dict[str, float] = {}
    with _stage(seconds, "read"):
        table = pd.read_parquet(task.rows)
        learn, validate, evaluate = (
            matrix(table, task, window) for window in (task.learn, task.validate, task.evaluate)
        )
    with _stage(seconds, "search"):
        trials = Parallel(n_jobs=task.jobs)(
            delayed(trial)(task, number, learn, validate) for number in range(1, len(task.points) + 1)
        )
        looks = [look for found in trials for look in found]
        best = min(looks, key=lambda look: (look.log_loss, look.iterations, look.trial))
    with _stage(seconds, "refit"):
        model = classifier(task, best.trial).set_params(max_iter=best.iterations)
        model.fit(*(np.concatenate(parts) for parts in zip(learn, validate, strict=True)))
    with _stage(seconds, "evaluate"):
        probabilities = model.predict_proba(evaluate[0])[:, 1]
        auc = float(roc_auc_score(evaluate[1], probabilities))
        low, high = auc_interval(evaluate[1], probabilities, task.samples, task.seed)
    return Done(seconds, looks, auc, low, high)


def matrix(table: pd.DataFrame, task: Task, window: Window) -> tuple[Matrix, Labels]:
    """Inputs, [rows, columns], text as the position of its category or NaN; and labels, 0 or 1."""
    start, end = (pd.Timestamp(moment) for moment in window)
    rows = table[(table[task.moment] >= start) & (table[task.moment] < end)]
    columns = [_numbers(rows[name], task.categories.get(name)) for name in task.columns]
    return np.column_stack(columns), rows[task.label].to_numpy(np.int64)


def _numbers(values: "pd.Series[Any]", categories: Sequence[str] | None) -> Matrix:
    if categories is None:
        return values.to_numpy(np.float64)
    codes = pd.Categorical(values, categories=list(categories)).codes.astype(np.float64)
    return np.where(codes < 0, np.nan, codes)


def classifier(task: Task, number: int) -> Any:
    """Unfitted, by the parameters of a trial."""
    categorical = [place for place, name in enumerate(task.columns) if name in task.categories]
    return HistGradientBoostingClassifier(
        **task.points[number - 1],
        categorical_features=categorical or None,
        early_stopping=False,
        random_state=task.seed,
    )


def trial(task: Task, number: int, learn: tuple[Matrix, Labels], validate: tuple[Matrix, Labels]) -> list[Look]:
    """Adds iterations to a fit until they are all or nothing has got better for too long."""
    model, looks = classifier(task, number).set_params(warm_start=True), list[Look]()
    best, since_best, iterations = np.inf, 0, 0
    while iterations < task.max_iterations and since_best < task.patience:
        iterations = min(iterations + task.report_every, task.max_iterations)
        model.set_params(max_iter=iterations).fit(*learn)
        probabilities = model.predict_proba(validate[0])[:, 1]
        loss = float(log_loss(validate[1], probabilities, labels=[0, 1]))
        roc_auc_score(validate[1], probabilities)
        since_best = 0 if loss < best else since_best + 1
        best = min(best, loss)
        looks.append(Look(number, iterations, loss))
    return looks


def auc_interval(labels: Labels, probabilities: Matrix, samples: int, seed: int) -> tuple[float, float]:
    """The middle 95% of the AUC over bootstrap samples, drawn within each class (percentiles; Efron 1979)."""
    random = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    found = []
    for _ in range(samples):
        drawn = np.concatenate([random.choice(rows, len(rows)) for rows in classes])
        found.append(roc_auc_score(labels[drawn], probabilities[drawn]))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


@contextmanager
def _stage(seconds: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
