"""Losses and their intervals against known values, and limits that break by more than chance."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from sklearn.metrics import log_loss

from batch.audit.settings import AuditSettings
from batch.looking_back import LookBackWindowSettings, span_of
from batch.monitor.quality import DayQuality, Interval, Judged, Quality, by_day, mean_interval, of_rows, row_losses
from batch.monitor.report import broken
from batch.monitor.settings import MonitorSettings
from taxiway.drift.judgement import ColumnDrift
from taxiway.settings import load

UTC = ZoneInfo("UTC")
KEYS = {"monitor": "models:/m/1", "endpoint": "m", "output": "out"}


def judged(losses, answers=None, moments=None, labels=None, outputs=None, task="value"):
    losses = np.asarray(losses, np.float64)
    blank = np.zeros(len(losses))
    return Judged(
        task,
        np.arange(len(losses)) if answers is None else np.asarray(answers),
        np.full(len(losses), "2026-01-01T12:00", "datetime64[us]") if moments is None else moments,
        blank if labels is None else labels,
        blank if outputs is None else outputs,
        losses,
    )


def test_the_mean_of_row_losses_is_the_log_loss_of_scikit_learn():
    random = np.random.default_rng(3)
    labels, answers = random.integers(0, 2, 500).astype(float), random.uniform(size=500)
    assert row_losses("probability", labels, answers).mean() == pytest.approx(log_loss(labels, answers))


def test_what_is_no_label_of_the_task_has_no_loss():
    losses = row_losses("probability", np.array([0.0, 1.0, 0.5, np.nan]), np.array([0.0, 0.0, 0.5, 0.5]))
    assert np.isfinite(losses).tolist() == [True, True, False, False]
    assert losses[0] == pytest.approx(0.0, abs=1e-12)
    assert row_losses("value", np.array([1.0, np.nan]), np.array([-2.0, 1.0])).tolist()[0] == 3.0


def test_an_answer_is_wrong_when_it_is_another_class():
    labels, outputs = np.array(["a", "b", None], np.object_), np.array(["a", "a", "a"], np.object_)
    np.testing.assert_array_equal(row_losses("label", labels, outputs), [0.0, 1.0, np.nan])
    numbers = row_losses("label", np.array([3.0, 4.0, np.nan]), np.array([3, 3, 3]))
    np.testing.assert_array_equal(numbers, [0.0, 1.0, np.nan])


def test_the_interval_of_a_mean_is_as_wide_as_theory_says():
    losses = np.random.default_rng(1).normal(size=4_000)
    found = mean_interval(losses, np.arange(4_000), np.random.default_rng(2), samples=1_000)
    half = 1.96 * losses.std() / np.sqrt(4_000)
    assert found.low == pytest.approx(losses.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(losses.mean() + half, abs=0.15 * half)


def test_rows_of_one_answer_count_as_one_observation():
    losses = np.random.default_rng(1).normal(size=500)
    alone = mean_interval(losses, np.arange(500), np.random.default_rng(2))
    together = mean_interval(np.repeat(losses, 9), np.repeat(np.arange(500), 9), np.random.default_rng(2))
    assert together.high - together.low == pytest.approx(alone.high - alone.low)


def test_days_are_those_of_the_calendar_in_the_zone():
    moments = np.array(["2026-01-01T23:30", "2026-01-02T00:30", "2026-01-02T06:00"], "datetime64[us]")
    rows = judged([1.0, 3.0, 5.0], moments=moments)
    assert [(it.day, it.loss.value) for it in by_day(rows, UTC, 0)] == [
        (date(2026, 1, 1), 1.0),
        (date(2026, 1, 2), 4.0),
    ]
    york = by_day(rows, ZoneInfo("America/New_York"), 0)
    assert [(it.day, it.rows) for it in york] == [(date(2026, 1, 1), 2), (date(2026, 1, 2), 1)]


def test_an_auc_needs_rows_of_both_classes():
    labels, outputs = np.array([0.0] * 50 + [1.0] * 50), np.linspace(0, 1, 100)
    whole = of_rows(judged(outputs, labels=labels, outputs=outputs, task="probability"), None, 0)
    assert whole.auc is not None
    assert (whole.auc.value, whole.base) == (1.0, 0.5)
    few = np.array([0.0] * 95 + [1.0] * 5)
    assert of_rows(judged(outputs, labels=few, outputs=outputs, task="probability"), None, 0).auc is None


def quality(low, high, rows=1_000, reference=0.3):
    loss = Interval(value=(low + high) / 2, low=low, high=high)
    whole = DayQuality(day=None, answers=rows, rows=rows, base=0.5, loss=loss, auc=None)
    return Quality(task="value", whole=whole, days=(whole,), corrections=0, unmatched=0, reference=reference)


def test_quality_breaks_a_limit_only_when_its_whole_interval_lies_above():
    settings = MonitorSettings(**KEYS, limits={"loss": 0.5, "loss_increase": 0.1})
    assert broken(settings, True, (), quality(0.35, 0.6)) == ()
    assert broken(settings, True, (), quality(0.45, 0.49)) == (
        "absolute error 0.47 (0.45 to 0.49) is more than 0.1 above the reference's 0.3",
    )
    assert len(broken(settings, True, (), quality(0.51, 0.6))) == 2
    assert len(broken(settings, True, (), quality(0.51, 0.6, reference=None))) == 1
    assert broken(settings, True, (), quality(0.51, 0.6, rows=199)) == ()


def test_drift_breaks_its_limit_when_more_columns_drift_than_are_allowed():
    drifting = (ColumnDrift(group="inputs", column="wind", p=0.0, because=("chi_square",), psi=0.4),)
    told = ("drift of 1 columns, allowed are 0: inputs/wind (PSI 0.4)",)
    assert broken(MonitorSettings(**KEYS), True, drifting, None) == told
    assert broken(MonitorSettings(**KEYS), False, drifting, None) == ()
    assert broken(MonitorSettings(**KEYS, limits={"drifting_columns": 1}), True, drifting, None) == ()
    assert broken(MonitorSettings(**KEYS, limits={"drifting_columns": None}), True, drifting, None) == ()


def test_the_examples_config_files_can_be_read():
    monitor = load("configs/flights/monitor.yaml", MonitorSettings)
    audit = load("configs/flights/audit.yaml", AuditSettings)
    assert {monitor.monitor, audit.audit} == {"models:/flight-delay@champion"}


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        ("now-1d/d", "now/d", ("2026-03-07T05:00", "2026-03-08T05:00")),
        ("2026-03-01", "now", ("2026-03-01T00:00", "2026-03-08T05:00")),
    ],
)
def test_a_date_is_now_in_the_windows_own_calendar(start, end, told):
    window = LookBackWindowSettings(start=start, end=end, time_zone="America/New_York")
    span = span_of(window, date(2026, 3, 8), lambda: datetime(2030, 1, 1, tzinfo=UTC))
    assert tuple(f"{it:%Y-%m-%dT%H:%M}" for it in (span.start, span.end)) == told
