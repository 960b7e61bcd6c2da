"""Histograms that are counted in the process and handed to Ray as sums."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import isfinite
from operator import add

import numpy as np
from ray.util.metrics import Gauge

Labels = tuple[str, ...]
_FEW = 12


class Buckets:
    """A Prometheus histogram whose `NAME_bucket`, `NAME_sum` and `NAME_count` Ray exports as gauges.

    Ray's own histogram takes each observation alone, in the process and once more in the node's agent, which knows
    only buckets and so has to guess the sums (docs/metrics.md has the figures). In PromQL `rate` and
    `histogram_quantile` don't ask for the type.

    Args:
        bounds: upper ends of the buckets, ascending and above 0.
    """

    def __init__(self, name: str, description: str, bounds: Sequence[float], labels: Labels) -> None:
        self.name, self.description, self.labels = name, description, labels
        self._bounds = [float(bound) for bound in bounds]
        self._ends = [*map(repr, self._bounds), "+Inf"]
        self.buckets = Gauge(f"{name}_bucket", description, (*labels, "le"))
        self.sums, self.counts = (Gauge(f"{name}_{what}", description, labels) for what in ("sum", "count"))
        self._counted: dict[Labels, list[int]] = {}
        self._summed: dict[Labels, float] = {}

    def add(self, labels: Labels, values: Sequence[float]) -> None:
        """Observations; of one that is not finite nothing but the count is kept."""
        counted = self._counted.get(labels)
        if counted is None:
            counted = self._counted[labels] = [0] * len(self._ends)
        total = self._few(counted, values) if len(values) <= _FEW else self._many(counted, values)
        self._summed[labels] = self._summed.get(labels, 0.0) + total

    def _few(self, counted: list[int], values: Sequence[float]) -> float:
        """Without numpy, of which every call takes as long as several values here."""
        total = 0.0
        for value in values:
            is_finite = isfinite(value)
            counted[bisect_left(self._bounds, value) if is_finite else -1] += 1
            total += value if is_finite else 0.0
        return total

    def _many(self, counted: list[int], values: Sequence[float]) -> float:
        observed = np.asarray(values, np.float64)
        places = np.searchsorted(self._bounds, observed, side="left")
        found = np.bincount(places, minlength=len(self._ends)).tolist()
        counted[:] = map(add, counted, found)
        return float(observed[np.isfinite(observed)].sum())

    def series(self) -> list[Labels]:
        """The labels that were observed, in the order of their first observation."""
        return list(self._counted)

    def total(self, labels: Labels) -> float:
        """The sum of the observations."""
        return self._summed.get(labels, 0.0)

    def export(self, labels: Labels) -> None:
        """Tells Ray how one series stands."""
        tags = dict(zip(self.labels, labels, strict=True))
        cumulative = list(accumulate(self._counted[labels]))
        for end, count in zip(self._ends, cumulative, strict=True):
            self.buckets.set(count, tags | {"le": end})
        self.sums.set(self._summed[labels], tags)
        self.counts.set(cumulative[-1], tags)
