"""What the controller exports of drift, declared once; Ray's agent exposes it with the prefix `ray_`."""

import threading
from collections.abc import Container, Iterator

from ray.util.metrics import Counter, Gauge

from taxiway.drift.judgement import ColumnDrift, WindowDrift
from taxiway.drift.progress import DriftState
from taxiway.telemetry.tags import tags

_VARIANT = ("endpoint", "variant")
_COLUMN = (*_VARIANT, "group", "column")
_STATISTICS = ("psi", "psi_by_chance", "jensen_shannon", "kolmogorov_smirnov", "missing_difference")
Level = tuple[str, tuple[str, ...], float]
"""A gauge, the values of its labels, and where it stands."""


class DriftMetrics:
    """Labels: endpoint and variant (of the deployed file), group and column (of the model's signature), statistic.

    Ray exposes a gauge for some seconds after it was set, and windows may last for weeks: `tell` has to be called
    again and again.
    """

    def __init__(self) -> None:
        self._gauges = {
            "distance": Gauge(
                "taxiway_drift_distance",
                "Of the last window from the reference; statistic: psi, psi_by_chance, jensen_shannon, "
                "kolmogorov_smirnov, missing_difference.",
                (*_COLUMN, "statistic"),
            ),
            "drifting": Gauge("taxiway_drift_column_drifting", "1 where the last window's drifts, else 0.", _COLUMN),
            "alarm": Gauge("taxiway_drift_alarm", "1 while an alarm is raised for it, else 0.", _COLUMN),
            "rows": Gauge("taxiway_drift_window_rows", "Rows of the last window.", _VARIANT),
        }
        self._windows = Counter("taxiway_drift_windows_total", "Windows that were judged.", _VARIANT)
        self._levels: dict[tuple[str, str], list[Level]] = {}
        self._lock = threading.Lock()

    def seen(self, endpoint: str, variant: str, window: WindowDrift, raised: Container[str]) -> None:
        """A window that was judged.

        Args:
            raised: the keys of the columns with an alarm after it.
        """
        self._stands((endpoint, variant), list(_levels((endpoint, variant), window, raised)))
        self._windows.inc(1, {"endpoint": endpoint, "variant": variant})

    def begun(self, endpoint: str, variant: str, state: DriftState) -> None:
        """A version is watched from now on: of the one before it nothing is told any more, and of its own what an
        earlier controller has kept."""
        last = state.windows[-1:]
        self._stands(
            (endpoint, variant), [it for one in last for it in _levels((endpoint, variant), one, state.raised)]
        )

    def tell(self) -> None:
        """Sets every gauge to where it stands."""
        with self._lock:
            levels = [level for found in self._levels.values() for level in found]
        for gauge, labels, value in levels:
            self._gauges[gauge].set(value, tags(self._gauges[gauge], labels))

    def _stands(self, of: tuple[str, str], levels: list[Level]) -> None:
        with self._lock:
            self._levels[of] = levels
        self.tell()


def _levels(of: tuple[str, str], window: WindowDrift, raised: Container[str]) -> Iterator[Level]:
    """Of a column without a distance, as one that is all missing, none is told."""
    yield "rows", of, window.rows
    for it in window.columns:
        where = (*of, it.group, it.column)
        yield "drifting", where, int(it.drifts)
        yield "alarm", where, int(it.key in raised)
        for statistic, value in _distances(it):
            yield "distance", (*where, statistic), value


def _distances(column: ColumnDrift) -> Iterator[tuple[str, float]]:
    for statistic in _STATISTICS:
        value = getattr(column, statistic)
        if value is not None:
            yield statistic, value
