"""Histograms that are counted in the process and handed to Ray as sums."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from ray.util.metrics import Gauge

Labels = tuple[str, ...]


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
        self._bounds = np.asarray(bounds, np.float64)
        self._ends = [*(repr(float(bound)) for bound in bounds), "+Inf"]
        self.buckets = Gauge(f"{name}_bucket", description, (*labels, "le"))
        self.sums, self.counts = (Gauge(f"{name}_{what}", description, labels) for what in ("sum", "count"))
        self._counted: dict[Labels, NDArray[np.int64]] = {}
        self._summed: dict[Labels, float] = {}

    def add(self, labels: Labels, values: Sequence[float]) -> None:
        """Observations; of one that is not finite nothing but the count is kept."""
        observed = np.asarray(values, np.float64)
        places = np.searchsorted(self._bounds, observed, side="left")
        found = np.bincount(places, minlength=len(self._ends))
        before = self._counted.get(labels)
        self._counted[labels] = found if before is None else before + found
        total = float(observed[np.isfinite(observed)].sum())
        self._summed[labels] = self._summed.get(labels, 0.0) + total

    def series(self) -> list[Labels]:
        """The labels that were observed, in the order of their first observation."""
        return list(self._counted)

    def total(self, labels: Labels) -> float:
        """The sum of the observations."""
        return self._summed.get(labels, 0.0)

    def export(self, labels: Labels) -> None:
        """Tells Ray how one series stands."""
        tags = dict(zip(self.labels, labels, strict=True))
        cumulative = np.cumsum(self._counted[labels]).tolist()
        for end, count in zip(self._ends, cumulative, strict=True):
            self.buckets.set(count, tags | {"le": end})
        self.sums.set(self._summed[labels], tags)
        self.counts.set(cumulative[-1], tags)
