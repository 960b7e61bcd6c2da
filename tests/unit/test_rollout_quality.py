"""Mergeable statistics of quality: equal to scikit-learn's on all rows, in whatever order parts are merged."""

import json
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from taxiway.rollout.observations import Counts, Histogram, Mergeable, Moments
from taxiway.rollout.quality import BinaryQuality, ClassQuality, PairedLoss, RegressionQuality, log_losses
from taxiway.rollout.sequential_means import bounded_mean

RANDOM = np.random.default_rng(0)
SCORES = RANDOM.beta(2, 3, 4_000)
LABELS = (RANDOM.random(4_000) < SCORES**1.3).astype(int)
THREE = RANDOM.dirichlet([2, 1, 1], 500)
TRUE_OF_THREE = RANDOM.integers(0, 3, 500)


def approximately(one: Mergeable, other: Mergeable) -> bool:
    """Equal up to the rounding of sums of floats."""
    return bool(np.allclose(_flat(one.to_dict()), _flat(other.to_dict()), rtol=1e-9, atol=1e-9))


def _flat(data: Any) -> list[float]:
    if isinstance(data, dict):
        return [number for value in data.values() for number in _flat(value)]
    return [number for value in data for number in _flat(value)] if isinstance(data, list) else [float(data)]


numbers = st.lists(st.floats(-1e6, 1e6), max_size=20)
rows = st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), max_size=20)
counts = st.integers(0, 10**9).flatmap(lambda n: st.builds(Counts, st.just(n), st.integers(0, n)))


def binary(pairs: list[tuple[int, float]]) -> BinaryQuality:
    return BinaryQuality.of([label for label, _ in pairs], [score for _, score in pairs])


def of_two_classes(pairs: list[tuple[int, float]]) -> ClassQuality:
    scores = np.array([(1 - score, score) for _, score in pairs]).reshape(-1, 2)
    return ClassQuality.of([label for label, _ in pairs], scores)


kinds: list[st.SearchStrategy[Mergeable]] = [
    counts,
    numbers.map(Moments.of),
    numbers.map(lambda values: Histogram.of(values, [-10, 0.0, 3.5])),
    rows.map(binary),
    rows.map(of_two_classes),
    numbers.map(lambda values: RegressionQuality.of(values, [0.0] * len(values))),
    numbers.map(lambda values: PairedLoss.of(values, [1.0] * len(values), 2.0)),
]


@pytest.mark.parametrize("kind", kinds, ids=range(len(kinds)))
@given(data=st.data())
@settings(deadline=None, max_examples=15)
def test_merging_is_associative_and_commutative(kind: st.SearchStrategy[Mergeable], data: st.DataObject) -> None:
    one, two, three = (data.draw(kind) for _ in range(3))
    assert one.merge(two) == two.merge(one)
    assert approximately(one.merge(two).merge(three), one.merge(two.merge(three)))


@pytest.mark.parametrize("kind", kinds, ids=range(len(kinds)))
@given(data=st.data())
@settings(deadline=None, max_examples=15)
def test_json_brings_the_same_back(kind: st.SearchStrategy[Mergeable], data: st.DataObject) -> None:
    one = data.draw(kind)
    assert type(one).from_dict(json.loads(json.dumps(one.to_dict(), allow_nan=False))) == one


def test_parts_merge_to_the_whole() -> None:
    parts = [BinaryQuality.of(LABELS[at : at + 700], SCORES[at : at + 700]) for at in range(0, 4_000, 700)]
    assert approximately(reduce(BinaryQuality.merge, parts), BinaryQuality.of(LABELS, SCORES))


def test_binary_quality_equals_scikit_learn() -> None:
    found = BinaryQuality.of(LABELS, SCORES)
    assert found.n == 4_000
    assert found.log_loss.mean == pytest.approx(metrics.log_loss(LABELS, SCORES))
    assert found.brier.mean == pytest.approx(metrics.brier_score_loss(LABELS, SCORES))
    assert found.right.rate == pytest.approx(metrics.accuracy_score(LABELS, SCORES >= 0.5))
    assert (found.positives.rate, found.predicted.mean) == (pytest.approx(LABELS.mean()), pytest.approx(SCORES.mean()))


def test_auc_of_bins_lies_as_near_as_it_says() -> None:
    found, true = BinaryQuality.of(LABELS, SCORES), metrics.roc_auc_score(LABELS, SCORES)
    assert found.auc() == pytest.approx(true, abs=found.auc_error())
    assert 0 < found.auc_error() < 0.01
    rounded = (np.floor(SCORES * 200) + 0.5) / 200
    assert found.auc() == pytest.approx(metrics.roc_auc_score(LABELS, rounded), abs=1e-12)


def test_calibration_error_equals_the_one_of_the_rows() -> None:
    found = BinaryQuality.of(LABELS, SCORES)
    middles, group = (np.floor(SCORES * 200) + 0.5) / 200, np.floor(SCORES * 10)
    wanted = sum(abs((LABELS - middles)[group == at].sum()) for at in range(10)) / 4_000
    assert found.calibration_error() == pytest.approx(wanted)
    certain = BinaryQuality.of([0] * 50 + [1] * 50, [0.9] * 100)
    assert certain.calibration_error() == pytest.approx(0.9025 - 0.5)
    with pytest.raises(ValueError, match="divisor"):
        found.calibration(7)


def test_several_classes_equal_scikit_learn() -> None:
    found = ClassQuality.of(TRUE_OF_THREE, THREE)
    assert found.log_loss.mean == pytest.approx(metrics.log_loss(TRUE_OF_THREE, THREE))
    answers = THREE.argmax(axis=1)
    assert found.confusion == tuple(metrics.confusion_matrix(TRUE_OF_THREE, answers).ravel())
    assert found.right.rate == pytest.approx(metrics.accuracy_score(TRUE_OF_THREE, answers))


def test_regression_equals_scikit_learn() -> None:
    truth, predictions = RANDOM.normal(size=200), RANDOM.normal(size=200)
    found = RegressionQuality.of(truth, predictions)
    assert found.absolute.mean == pytest.approx(metrics.mean_absolute_error(truth, predictions))
    assert found.squared.mean == pytest.approx(metrics.mean_squared_error(truth, predictions))
    assert found.error.mean == pytest.approx((predictions - truth).mean())


def test_moments_equal_numpy_and_equal_values_have_no_variance() -> None:
    values = RANDOM.normal(3, 2, 1_000)
    found = Moments.of(values)
    assert (found.mean, found.variance) == (pytest.approx(values.mean()), pytest.approx(values.var()))
    assert Moments.of([0.1] * 10_000).variance == 0


def test_a_paired_difference_is_clipped_and_says_how_often() -> None:
    found = PairedLoss.of([1.0, 5.0, 0.2], [0.5, 0.5, 9.0], 2.0)
    assert (found.differences, found.clipped) == (Moments(3, 0.5, 8.25), Counts(3, 2))


def test_pairs_find_what_two_groups_can_not() -> None:
    challenger = log_losses(LABELS, np.clip(SCORES * 0.97, 0, 1)) + 0.02
    champion = log_losses(LABELS, SCORES)
    paired = PairedLoss.of(challenger, champion, 1.0)
    assert bounded_mean(paired.differences, -1, 1, 0.05).low > 0
    alone = [bounded_mean(Moments.of(losses), 0, 14, 0.025) for losses in (challenger, champion)]
    assert alone[0].low < alone[1].high


def test_a_certain_wrong_answer_costs_a_bounded_loss() -> None:
    assert log_losses([1, 0], [0.0, 1.0]) == pytest.approx([13.8155, 13.8155], abs=1e-3)


def test_nothing_has_no_figures_and_no_nan() -> None:
    found = BinaryQuality.of([], [])
    assert (found.auc(), found.calibration_error(), found.log_loss.mean, found.auc_error()) == (None, None, None, 0)
    one = BinaryQuality.of([1], [1.0])
    assert (one.n, one.auc(), one.scores_of_positives[-1]) == (1, None, 1)


def test_a_histogram_counts_what_lies_above_an_edge() -> None:
    found = Histogram.of([0.5, 1.0, 1.5, 2.0, 9.0], [1.0, 2.0])
    assert (found.counts, found.above(1.0), found.above(2.0)) == ((2, 2, 1), Counts(5, 3), Counts(5, 1))
    with pytest.raises(ValueError, match="no edge"):
        found.above(1.7)


def test_what_was_counted_in_other_ways_does_not_merge() -> None:
    with pytest.raises(ValueError, match="edges differ"):
        Histogram.of([1], [1, 2]).merge(Histogram.of([1], [1, 3]))
    with pytest.raises(ValueError, match="bound differ"):
        PairedLoss.of([1], [1], 1.0).merge(PairedLoss.of([1], [1], 2.0))


@pytest.mark.parametrize(
    "data", [{"n": -1, "hits": 0}, {"n": 3, "hits": 2, "more": 1}, {"n": 2, "hits": 3}, {"n": "many", "hits": 0}]
)
def test_json_of_something_else_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"hits|more|n\b"):
        Counts.from_dict(data)


def test_values_that_are_no_numbers_are_refused() -> None:
    for refused in (
        lambda: Moments.of([np.nan]),
        lambda: Moments.from_dict({"n": 1, "total": float("nan"), "squares": 0.0}),
        lambda: Histogram.of([np.nan], [1.0]),
        lambda: Histogram((1.0, 1.0), (0, 0, 0)),
        lambda: BinaryQuality.of([2], [0.5]),
        lambda: BinaryQuality.of([1], [1.5]),
        lambda: BinaryQuality.of([1, 0], [0.5]),
        lambda: ClassQuality.of([3], [[0.5, 0.5]]),
        lambda: RegressionQuality.of([1.0], [1.0, 2.0]),
        lambda: PairedLoss.of([1.0], [1.0], 0.0),
    ):
        with pytest.raises(ValueError, match=r"NaN|finite|increase|label|probabilit|fit|bound"):
            refused()
