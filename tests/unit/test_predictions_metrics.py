"""What a replica exports of its prediction log: differences for counters, the present for gauges."""

from dataclasses import replace

import pytest

from taxiway.predictions.backlog import LogStatistics
from taxiway.predictions.truth_log import TruthStatistics
from taxiway.telemetry.predictions import PredictionLogMetrics

LOG = LogStatistics(5, 1, {"overflow": 3}, 7, 11, 1_300, None, 0.25)
TRUTH = TruthStatistics(2, 1, 0, 4, None, 0.5)


class _Heard:
    """A counter or a gauge that remembers."""

    def __init__(self, keys=()):
        self._tag_keys = keys
        self.values = []

    def inc(self, value, tags):
        self.values.append((value, tags))

    def set(self, value):
        self.values.append(value)


@pytest.fixture
def exported():
    state = {"log": LOG, "truth": TRUTH, "now": 0.0}
    metrics = PredictionLogMetrics(lambda: state["log"], lambda: state["truth"], lambda: state["now"])
    metrics.counters = {name: _Heard(counter._tag_keys) for name, counter in metrics.counters.items()}
    metrics.gauges = {name: _Heard() for name in metrics.gauges}
    return metrics, state


def counted(metrics):
    return {name: counter.values for name, counter in metrics.counters.items()}


def test_counters_tell_what_has_been_added_since_they_were_told(exported):
    metrics, state = exported
    metrics.refused("wrong_type")
    metrics.flush()
    assert counted(metrics) == {
        "rows": [(5, {"outcome": "written"})],
        "dropped": [(3, {"reason": "overflow"})],
        "labels": [(2, {"outcome": "written"})],
        "refused": [(1, {"code": "wrong_type"})],
    }
    state |= {"log": replace(LOG, rows_written=9, dropped={"overflow": 3, "storage": 2}), "now": 1.0}
    metrics.flush()
    assert counted(metrics)["rows"][1:] == [(4, {"outcome": "written"})]
    assert counted(metrics)["dropped"][1:] == [(2, {"reason": "storage"})]
    assert len(counted(metrics)["labels"]) == 1


def test_gauges_tell_what_waits_and_whether_the_storage_fails(exported):
    metrics, state = exported
    metrics.flush()
    state |= {"truth": replace(TRUTH, last_error="OSError: full"), "now": 1.0}
    metrics.flush()
    assert {name: gauge.values[0] for name, gauge in metrics.gauges.items()} == {
        "rows": 11, "bytes": 1_300, "write_s": 0.25, "failing": 0.0, "labels": 4, "labels_s": 0.5,
    }  # fmt: skip
    assert metrics.gauges["failing"].values == [0.0, 1.0]


def test_ray_is_told_once_a_second_and_at_the_end(exported):
    metrics, state = exported
    for now in (0.0, 0.1, 0.9, 1.0, 1.5):
        state["now"] = now
        metrics.flush()
    assert len(metrics.gauges["rows"].values) == 2
    metrics.flush(now=True)
    assert len(metrics.gauges["rows"].values) == 3


def test_metrics_are_declared_with_names_of_the_system_and_bounded_labels():
    metrics = PredictionLogMetrics(lambda: LOG, lambda: TRUTH)
    declared = [*metrics.counters.values(), *metrics.gauges.values()]
    assert all(metric.info["name"].startswith("taxiway_") for metric in declared)
    assert {key for metric in declared for key in metric.info["tag_keys"]} == {"outcome", "reason", "code"}
    assert all(metric.info["description"].endswith(".") for metric in declared)
