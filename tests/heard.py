"""Counters and gauges that remember what Ray would have been told."""

from collections import Counter
from typing import Any

from taxiway.telemetry.metrics import ServingMetrics

Tags = tuple[tuple[str, str], ...]


class Heard:
    """Takes the place of a counter or a gauge."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._tag_keys = keys
        self.total: Counter[Tags] = Counter()
        self.levels: dict[Tags, list[float]] = {}

    def inc(self, value: float, tags: dict[str, str]) -> None:
        self.total[tuple(sorted(tags.items()))] += value  # type: ignore[assignment]

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.levels.setdefault(tuple(sorted(tags.items())), []).append(value)

    def last(self, **tags: str) -> float:
        return self.levels[tuple(sorted(tags.items()))][-1]

    def of(self, **tags: str) -> float:
        return self.total[tuple(sorted(tags.items()))]


def listening(metrics: ServingMetrics) -> dict[str, Heard]:
    """From now on what `metrics` hands over is remembered; by name, of histograms `NAME_bucket`, `_sum`, `_count`."""
    heard: dict[str, Heard] = {}

    def ear(metric: Any) -> Any:
        heard[metric.info["name"]] = Heard(metric.info["tag_keys"])
        return heard[metric.info["name"]]

    metrics.counters = {name: ear(it) for name, it in metrics.counters.items()}
    metrics.gauges = {name: ear(it) for name, it in metrics.gauges.items()}
    for it in metrics.histograms.values():
        it.buckets, it.sums, it.counts = ear(it.buckets), ear(it.sums), ear(it.counts)
    return heard
