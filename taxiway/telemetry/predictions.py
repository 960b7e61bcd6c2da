"""What a replica's prediction log exports, declared once; Ray's agent exposes it with the prefix `ray_`."""

import time
from collections import Counter as Tally
from collections.abc import Callable, Mapping

from ray.util.metrics import Counter, Gauge

from taxiway.predictions.backlog import LogStatistics
from taxiway.predictions.truth_log import TruthStatistics

_EVERY_S = 1.0
Totals = Mapping[tuple[str, str], int]
"""By a counter's name and the value of its label."""


class PredictionLogMetrics:
    """Labels: reason (of `DropReason`), outcome (written, failed) and code (of an error), closed lists all of them.

    Args:
        log: the statistics of the prediction log.
        truth: those of the ground truth.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        log: Callable[[], LogStatistics],
        truth: Callable[[], TruthStatistics],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._truth, self._clock = log, truth, clock
        self.counters = {
            "rows": Counter("taxiway_prediction_log_rows_total", "Rows written.", ("outcome",)),
            "dropped": Counter("taxiway_prediction_log_dropped_rows_total", "Rows not in the log.", ("reason",)),
            "labels": Counter(
                "taxiway_ground_truth_labels_total", "Labels received and written, or not.", ("outcome",)
            ),
            "refused": Counter(
                "taxiway_feedback_refused_total", "Requests with labels of which none is taken.", ("code",)
            ),
        }
        self.gauges = {
            "rows": Gauge("taxiway_prediction_log_backlog_rows", "Rows that wait to be written."),
            "bytes": Gauge("taxiway_prediction_log_backlog_bytes", "Memory of what waits to be written."),
            "write_s": Gauge("taxiway_prediction_log_last_write_seconds", "Of the last file that was written."),
            "failing": Gauge("taxiway_prediction_log_failing", "1 while the storage does not take what is written."),
            "labels": Gauge("taxiway_ground_truth_backlog_labels", "Labels that wait to be written."),
            "labels_s": Gauge("taxiway_ground_truth_last_write_seconds", "Of the last commit of labels."),
        }
        self._refused: Tally[str] = Tally()
        self._told: Totals = {}
        self._due = 0.0

    def refused(self, code: str) -> None:
        """A request with labels was refused."""
        self._refused[code] += 1

    def flush(self, now: bool = False) -> None:
        """Hands what has changed to Ray, once a second however often it is called; `now` at the end."""
        if not now and self._clock() < self._due:
            return
        self._due = self._clock() + _EVERY_S
        log, truth = self._log(), self._truth()
        totals = totals_of(log, truth, self._refused)
        for (name, label), count in totals.items():
            counter = self.counters[name]
            if more := count - self._told.get((name, label), 0):
                counter.inc(more, {counter._tag_keys[0]: label})
        self._told = totals
        for name, value in levels_of(log, truth).items():
            self.gauges[name].set(value)


def totals_of(log: LogStatistics, truth: TruthStatistics, refused: Mapping[str, int]) -> Totals:
    """What only grows."""
    return {
        ("rows", "written"): log.rows_written,
        **{("dropped", reason): rows for reason, rows in log.dropped.items()},
        ("labels", "written"): truth.labels_written,
        ("labels", "failed"): truth.failed,
        **{("refused", code): requests for code, requests in refused.items()},
    }


def levels_of(log: LogStatistics, truth: TruthStatistics) -> Mapping[str, float]:
    """What is so now."""
    return {
        "rows": log.backlog_rows,
        "bytes": log.backlog_bytes,
        "write_s": log.last_write_s,
        "failing": float(log.last_error is not None or truth.last_error is not None),
        "labels": truth.waiting,
        "labels_s": truth.last_write_s,
    }
