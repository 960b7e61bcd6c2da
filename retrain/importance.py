"""What a model looks at: how much worse it gets when one column's values are dealt out anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from retrain.tasks import BINARY, METRICS, Answers, Labels, Rows, Task
from taxiway.signature import Columns, take

ROWS = 5_000
REPEATS = 3


@dataclass(frozen=True)
class Importance:
    """By how much the task's `importance` metric is worse without a column: the mean over the repeats, and the least
    and the most of them."""

    column: str
    lost: float
    low: float
    high: float


def importance(
    predict: Callable[[Columns], Answers],
    columns: Columns,
    labels: Labels,
    names: Sequence[str],
    seed: int = 0,
    rows: int = ROWS,
    repeats: int = REPEATS,
    task: Task = BINARY,
) -> list[Importance]:
    """Permutation importance (Breiman 2001, on held-out rows), the largest first.

    Columns that say the same share what they lose: each alone looks less important than both are.

    Args:
        columns: of the held-out rows, of which at most `rows` are drawn, all classes in their proportion.
        names: the columns to ask about.
    """
    random = np.random.default_rng(seed)
    chosen = _drawn(task, labels, rows, random)
    drawn, truth = take(columns, chosen), labels[chosen]

    def measured(given: Columns) -> float:
        return task.measure(truth, predict(given))[task.importance]

    whole, gain = measured(drawn), METRICS[task.importance].gain
    found = []
    for name in names:
        values = drawn[name]
        shuffled = [{**drawn, name: values[random.permutation(len(values))]} for _ in range(repeats)]
        lost = [float(gain(whole - measured(it))) for it in shuffled]
        found.append(Importance(name, float(np.mean(lost)), min(lost), max(lost)))
    return sorted(found, key=lambda it: -it.lost)


def _drawn(task: Task, labels: Labels, rows: int, random: np.random.Generator) -> Rows:
    if len(labels) <= rows:
        return np.arange(len(labels))
    parts = [
        random.choice(places, max(1, round(rows * len(places) / len(labels))), replace=False)
        for places in reversed(task.strata(labels))
    ]
    return np.sort(np.concatenate(parts))
