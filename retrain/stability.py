"""How much of a challenger is chance: the same fit by several seeds, on the same held-out rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from sklearn.metrics import log_loss, roc_auc_score

from retrain.evaluate import Labels, Probabilities

MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Stability:
    """Several fits that differ in nothing but their seed; the first is the challenger.

    Attributes:
        auc: of each, in the order of `seeds`; likewise `log_loss`.
        probability_difference: between two seeds' probabilities of a row, absolute; the mean over rows and pairs
            of seeds.
    """

    seeds: tuple[int, ...]
    auc: tuple[float, ...]
    log_loss: tuple[float, ...]
    probability_difference: float

    @property
    def auc_range(self) -> float:
        return max(self.auc) - min(self.auc)

    @property
    def log_loss_range(self) -> float:
        return max(self.log_loss) - min(self.log_loss)

    @property
    def auc_deviation(self) -> float:
        """The standard deviation of the sample: n - 1 in the denominator."""
        return float(np.std(self.auc, ddof=1))

    @property
    def log_loss_deviation(self) -> float:
        return float(np.std(self.log_loss, ddof=1))

    @property
    def metrics(self) -> dict[str, float]:
        """Under the names that the registry shows."""
        return {
            "seeds": float(len(self.seeds)),
            "seeds_auc_deviation": self.auc_deviation,
            "seeds_auc_range": self.auc_range,
            "seeds_log_loss_deviation": self.log_loss_deviation,
            "seeds_log_loss_range": self.log_loss_range,
            "seeds_probability_difference": self.probability_difference,
        }


def further_seeds(seed: int, seeds: int) -> tuple[int, ...]:
    """So many seeds less the challenger's own, `seed`."""
    return tuple((seed + step) % (MAX_SEED + 1) for step in range(1, seeds))


def stability(labels: Labels, seeds: Sequence[int], answers: Sequence[Probabilities]) -> Stability:
    """
    Args:
        labels: of the held-out rows, both classes among them.
        seeds: two or more; the challenger's is the first.
        answers: of each seed's model, for each row.

    Raises:
        ValueError: there are fewer than two seeds, or not an answer for each.
    """
    if len(seeds) < 2 or len(seeds) != len(answers):
        raise ValueError(f"{len(answers)} answers of {len(seeds)} seeds; expected one of each of two or more")
    return Stability(
        seeds=tuple(seeds),
        auc=tuple(float(roc_auc_score(labels, it)) for it in answers),
        log_loss=tuple(float(log_loss(labels, it, labels=[0, 1])) for it in answers),
        probability_difference=float(np.mean(list(_differences(answers)))),
    )


def _differences(answers: Sequence[Probabilities]) -> Iterable[float]:
    return (float(np.mean(np.abs(one - other))) for one, other in combinations(answers, 2))
