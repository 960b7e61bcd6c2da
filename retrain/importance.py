"""What a model looks at: how much worse it gets when one column's values are dealt out anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from retrain.evaluate import Labels, Probabilities
from taxiway.signature import Columns, take

ROWS = 5_000
REPEATS = 3


@dataclass(frozen=True)
class Importance:
    """The AUC that is lost without a column: the mean over the repeats, and the least and the most of them."""

    column: str
    lost_auc: float
    low: float
    high: float


def importance(
    predict: Callable[[Columns], Probabilities],
    columns: Columns,
    labels: Labels,
    names: Sequence[str],
    seed: int = 0,
    rows: int = ROWS,
    repeats: int = REPEATS,
) -> list[Importance]:
    """Permutation importance (Breiman 2001, on held-out rows), the largest first.

    Columns that say the same share what they lose: each alone looks less important than both are.

    Args:
        columns: of the held-out rows, of which at most `rows` are drawn, both classes in their proportion.
        names: the columns to ask about.
    """
    random = np.random.default_rng(seed)
    chosen = _drawn(labels, rows, random)
    drawn, truth = take(columns, chosen), labels[chosen]
    whole = roc_auc_score(truth, predict(drawn))
    found = []
    for name in names:
        values = drawn[name]
        shuffled = [{**drawn, name: values[random.permutation(len(values))]} for _ in range(repeats)]
        lost = [float(whole - roc_auc_score(truth, predict(it))) for it in shuffled]
        found.append(Importance(name, float(np.mean(lost)), min(lost), max(lost)))
    return sorted(found, key=lambda it: -it.lost_auc)


def _drawn(labels: Labels, rows: int, random: np.random.Generator) -> NDArray[np.intp]:
    if len(labels) <= rows:
        return np.arange(len(labels))
    parts = []
    for label in (0, 1):
        places = np.flatnonzero(labels == label)
        parts.append(random.choice(places, max(1, round(rows * len(places) / len(labels))), replace=False))
    return np.sort(np.concatenate(parts))
