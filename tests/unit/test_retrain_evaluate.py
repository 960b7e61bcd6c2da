import json
from dataclasses import asdict

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from retrain.compare import compare
from retrain.evaluate import auc_interval, calibration_bins, calibration_error, evaluate, slices
from retrain.importance import Importance
from retrain.plots import draw


def sample(rows: int = 20_000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn with exactly the probabilities that are said."""
    random = np.random.default_rng(seed)
    probabilities = random.beta(1.0, 4.0, rows)
    return (random.random(rows) < probabilities).astype(np.int64), probabilities


def test_hand_made_values_come_out() -> None:
    labels, probabilities = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    found = evaluate(labels, probabilities, {})
    assert found.auc == 0.75
    assert found.average_precision == pytest.approx(0.5 * 1.0 + 0.5 * 2 / 3)
    assert found.brier == pytest.approx((0.01 + 0.16 + 0.4225 + 0.04) / 4)
    assert found.log_loss == pytest.approx(-np.log([0.9, 0.6, 0.35, 0.8]).mean())
    assert found.base_rate == 0.5


def test_honest_probabilities_have_almost_no_calibration_error() -> None:
    assert calibration_error(calibration_bins(*sample())) < 0.01


def test_probabilities_that_are_too_high_by_a_tenth_are_a_tenth_off() -> None:
    labels, probabilities = sample()
    assert calibration_error(calibration_bins(labels, probabilities + 0.1)) == pytest.approx(0.1, abs=0.01)


def test_bins_are_equally_full() -> None:
    bins = calibration_bins(*sample())
    assert len(bins) == 10
    assert {it.rows for it in bins} == {2_000}


def test_equal_probabilities_share_a_bin_whatever_the_order_of_the_rows() -> None:
    labels = np.array([0, 0, 0, 1] * 100)
    bins = calibration_bins(labels, np.full(400, 0.25))
    assert [(it.rows, it.predicted, it.observed) for it in bins] == [(400, 0.25, 0.25)]


def test_the_interval_holds_the_auc_and_narrows_with_more_rows() -> None:
    widths = []
    for rows in (500, 20_000):
        labels, probabilities = sample(rows)
        low, high = auc_interval(labels, probabilities, np.random.default_rng(0))
        assert low < roc_auc_score(labels, probabilities) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_the_interval_is_as_wide_as_theory_says() -> None:
    labels, probabilities = sample(4_000)
    low, high = auc_interval(labels, probabilities, np.random.default_rng(0), samples=400)
    area, positive = roc_auc_score(labels, probabilities), labels.sum()
    # Hanley and McNeil 1982
    q1, q2, negative = area / (2 - area), 2 * area**2 / (1 + area), len(labels) - positive
    variance = area * (1 - area) + (positive - 1) * (q1 - area**2) + (negative - 1) * (q2 - area**2)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(variance / (positive * negative)), rel=0.2)


def test_tied_probabilities_count_half_in_the_interval() -> None:
    low, high = auc_interval(np.array([0, 1] * 50), np.full(100, 0.5), np.random.default_rng(0))
    assert (low, high) == (0.5, 0.5)


def test_slices_agree_with_the_rows_they_name() -> None:
    labels, probabilities = sample(4_000)
    values = np.array(["big", "big", "big", None] * 1_000, dtype=np.object_)
    big, missing = slices("size", values, labels, probabilities)
    assert (big.value, big.rows, missing.value, missing.rows) == ("big", 3_000, "(missing)", 1_000)
    chosen = values == "big"
    assert big.auc == roc_auc_score(labels[chosen], probabilities[chosen])
    assert big.base_rate == labels[chosen].mean()


def test_a_small_slice_is_marked_and_never_the_worst() -> None:
    labels, probabilities = sample(4_000)
    values = np.array(["many"] * 3_900 + ["few"] * 100)
    probabilities[3_900:] = 1 - labels[3_900:]
    found = evaluate(labels, np.clip(probabilities, 0.01, 0.99), {"size": values})
    assert [(it.value, it.small) for it in found.slices] == [("many", False), ("few", True)]
    assert found.worst_slice is not None
    assert found.worst_slice.value == "many"


def test_a_slice_of_one_class_has_no_auc() -> None:
    [found] = slices("x", np.array([1, 1]), np.array([0, 0]), np.array([0.2, 0.4]))
    assert found.auc is None
    assert found.log_loss == pytest.approx(-np.log([0.8, 0.6]).mean())


def test_an_evaluation_is_strict_json() -> None:
    labels, probabilities = sample(1_000)
    found = evaluate(labels, probabilities, {"x": np.arange(1_000) % 2})
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["rows"] == 1_000
    assert set(found.metrics) >= {"evaluate_auc", "evaluate_average_precision", "evaluate_calibration_error"}


def test_the_pictures_are_drawn() -> None:
    labels, probabilities = sample(4_000)
    slice_columns = {"x": np.arange(4_000) % 2}
    found = [Importance("x", 0.1, 0.05, 0.15), Importance("y", -0.001, -0.002, 0.0)]
    for champion, columns in ((None, {}), (1 - probabilities, slice_columns)):
        comparison = compare(labels, probabilities, champion, columns, samples=100)
        figures = draw(labels, probabilities, comparison, found, "m")
        assert set(figures) == {"roc", "pr", "calibration", "importance", *(["slices"] if columns else [])}
