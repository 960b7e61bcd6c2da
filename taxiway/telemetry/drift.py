"""What the controller exports of drift, declared once; Ray's agent exposes it with the prefix `ray_`."""

from collections.abc import Container

from ray.util.metrics import Counter, Gauge

from taxiway.drift.judgement import ColumnDrift, WindowDrift

_STATISTICS = ("psi", "psi_by_chance", "jensen_shannon", "kolmogorov_smirnov", "missing_difference")


class DriftMetrics:
    """Labels: endpoint and variant (of the deployed file), group and column (of the model's signature), statistic."""

    def __init__(self) -> None:
        variant = ("endpoint", "variant")
        column = (*variant, "group", "column")
        self._distance = Gauge(
            "taxiway_drift_distance",
            "Of the last window from the reference; statistic: psi, psi_by_chance, jensen_shannon, "
            "kolmogorov_smirnov, missing_difference.",
            (*column, "statistic"),
        )
        self._drifting = Gauge("taxiway_drift_column_drifting", "1 where the last window's drifts, else 0.", column)
        self._alarm = Gauge("taxiway_drift_alarm", "1 while an alarm is raised for it, else 0.", column)
        self._rows = Gauge("taxiway_drift_window_rows", "Rows of the last window.", variant)
        self._windows = Counter("taxiway_drift_windows_total", "Windows that were judged.", variant)

    def seen(self, endpoint: str, variant: str, window: WindowDrift, raised: Container[str]) -> None:
        """A window that was judged.

        Args:
            raised: the keys of the columns with an alarm after it.
        """
        tags = {"endpoint": endpoint, "variant": variant}
        self._rows.set(window.rows, tags)
        self._windows.inc(1, tags)
        for it in window.columns:
            self._column(it, it.key in raised, tags | {"group": it.group, "column": it.column})

    def _column(self, found: ColumnDrift, raised: bool, tags: dict[str, str]) -> None:
        self._drifting.set(int(found.drifts), tags)
        self._alarm.set(int(raised), tags)
        for statistic in _STATISTICS:
            value = getattr(found, statistic)
            if value is not None:
                self._distance.set(value, tags | {"statistic": statistic})
