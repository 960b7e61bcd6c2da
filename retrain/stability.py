"""How much of a challenger is chance: the same fit by several seeds, on the same held-out rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from retrain.tasks import BINARY, Answers, Labels, MetricName, Task

MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Stability:
    """Several fits that differ in nothing but their seed; the first is the challenger.

    Attributes:
        values: by metric, of each fit, in the order of `seeds`.
        answer_difference: between two seeds' answers to a row, absolute; the mean over rows, classes and pairs of
            seeds.
        of_probabilities: what the answers are.
    """

    seeds: tuple[int, ...]
    values: Mapping[MetricName, tuple[float, ...]]
    answer_difference: float
    of_probabilities: bool = True

    def range_of(self, metric: MetricName) -> float:
        """Raises KeyError: the metric was not measured."""
        return max(self.values[metric]) - min(self.values[metric])

    def deviation_of(self, metric: MetricName) -> float:
        """The standard deviation of the sample: n - 1 in the denominator; raises as `range_of`."""
        return float(np.std(self.values[metric], ddof=1))

    @property
    def metrics(self) -> dict[str, float]:
        """Under the names that the registry shows."""
        found = {"seeds": float(len(self.seeds))}
        for name in self.values:
            found[f"seeds_{name}_deviation"] = self.deviation_of(name)
            found[f"seeds_{name}_range"] = self.range_of(name)
        return found | {f"seeds_{self._difference}": self.answer_difference}

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON has it: each metric by its name."""
        own = {"seeds": self.seeds, self._difference: self.answer_difference}
        return self.metrics | {str(name): it for name, it in self.values.items()} | own

    @property
    def _difference(self) -> str:
        return "probability_difference" if self.of_probabilities else "answer_difference"


def further_seeds(seed: int, seeds: int) -> tuple[int, ...]:
    """So many seeds less the challenger's own, `seed`."""
    return tuple((seed + step) % (MAX_SEED + 1) for step in range(1, seeds))


def stability(labels: Labels, seeds: Sequence[int], answers: Sequence[Answers], task: Task = BINARY) -> Stability:
    """
    Args:
        labels: of the held-out rows.
        seeds: two or more; the challenger's is the first.
        answers: of each seed's model, for each row.

    Raises:
        ValueError: there are fewer than two seeds, or not an answer for each.
    """
    if len(seeds) < 2 or len(seeds) != len(answers):
        raise ValueError(f"{len(answers)} answers of {len(seeds)} seeds; expected one of each of two or more")
    measured = [task.measure(labels, it) for it in answers]
    return Stability(
        seeds=tuple(seeds),
        values={name: tuple(it[name] for it in measured) for name in (task.score, task.loss)},
        answer_difference=float(np.mean(list(_differences(answers)))),
        of_probabilities=task.answers_probabilities,
    )


def _differences(answers: Sequence[Answers]) -> Iterable[float]:
    return (float(np.mean(np.abs(one - other))) for one, other in combinations(answers, 2))
