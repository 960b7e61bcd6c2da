import json
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from retrain.compare import Comparison, Estimate, compare, facts, measure_latency
from retrain.evaluate import auc_interval, calibration_bins, calibration_error
from retrain.samples import Ranked
from taxiway.errors import JobError
from taxiway.signature import Columns, row_count


def two_models(rows: int = 4_000, seed: int = 1, noise: float = 0.4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, honest probabilities of a challenger, and a champion's that see less of the truth."""
    random = np.random.default_rng(seed)
    logit = random.normal(-1.2, 1.2, rows)
    labels = (random.random(rows) < _sigmoid(logit)).astype(np.int64)
    return labels, _sigmoid(logit), _sigmoid(logit + random.normal(0, noise, rows))


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def difference(found: Comparison) -> Estimate:
    assert found.auc.difference is not None
    return found.auc.difference


def delong_standard_error(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Of the difference of two AUCs on the same rows (DeLong, DeLong and Clarke-Pearson 1988; Sun and Xu 2014)."""
    up, down = labels == 1, labels == 0
    positives, negatives = up.sum(), down.sum()
    by_positive, by_negative = [], []
    for scores in (first, second):
        ranks = rankdata(scores)
        by_positive.append((ranks[up] - rankdata(scores[up])) / negatives)
        by_negative.append(1 - (ranks[down] - rankdata(scores[down])) / positives)
    covariance = np.cov(by_positive) / positives + np.cov(by_negative) / negatives
    return float(np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]))


def test_the_points_are_scikit_learns() -> None:
    labels, challenger, champion = two_models()
    found = compare(labels, challenger, champion, {}, samples=100)
    for metric, known in zip(found.metrics, (roc_auc_score, average_precision_score, log_loss), strict=True):
        mine, theirs = known(labels, challenger), known(labels, champion)
        assert metric.challenger.value == pytest.approx(mine, abs=1e-12)
        assert metric.champion is not None
        assert metric.difference is not None
        assert metric.champion.value == pytest.approx(theirs, abs=1e-12)
        assert metric.difference.value == pytest.approx(mine - theirs, abs=1e-12)


@given(
    rows=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 3)), min_size=2, max_size=40).filter(
        lambda rows: {0, 1} <= {label for label, _, times in rows if times}
    )
)
def test_a_sample_counts_as_its_repeated_rows_do_with_ties(rows: list[tuple[int, int, int]]) -> None:
    labels = np.array([label for label, _, _ in rows])
    probabilities = np.array([score / 6 for _, score, _ in rows])
    times = np.array([times for _, _, times in rows])
    repeated = np.repeat(labels, times), np.repeat(probabilities, times)
    known = [roc_auc_score(*repeated), average_precision_score(*repeated), log_loss(*repeated, labels=[0, 1])]
    found = Ranked(labels, probabilities).figures(times[labels == 1], times[labels == 0])
    assert found == pytest.approx(known, abs=1e-9)


def test_the_interval_of_the_difference_is_as_wide_as_delong_says() -> None:
    labels, challenger, champion = two_models()
    found = difference(compare(labels, challenger, champion, {}))
    error = delong_standard_error(labels, challenger, champion)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert found.low < found.value < found.high


def test_pairing_makes_the_difference_narrower_than_either_model() -> None:
    labels, challenger, champion = two_models(noise=0.1)
    found = compare(labels, challenger, champion, {}, samples=200)
    own = found.auc.challenger
    assert difference(found).high - difference(found).low < (own.high - own.low) / 3


def test_the_interval_covers_no_difference_as_often_as_it_promises() -> None:
    """Two models of equal worth: about 54 of 60 intervals of 90% hold 0 (three standard deviations)."""
    covered = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        logit = random.normal(-1, 1, 400)
        labels = (random.random(400) < _sigmoid(logit)).astype(np.int64)
        first, second = (_sigmoid(logit + random.normal(0, 0.7, 400)) for _ in range(2))
        found = difference(compare(labels, first, second, {}, samples=200, confidence=0.9, seed=seed))
        covered += found.low <= 0 <= found.high
    assert 47 <= covered <= 59


def test_the_interval_of_a_model_is_that_of_the_evaluation() -> None:
    labels, challenger, _ = two_models()
    own = compare(labels, challenger, None, {}).auc.challenger
    low, high = auc_interval(labels, challenger, np.random.default_rng(3), samples=1_000)
    assert (own.low, own.high) == pytest.approx((low, high), abs=0.002)


def test_a_model_beside_itself_differs_in_nothing() -> None:
    labels, challenger, _ = two_models()
    found = compare(labels, challenger, challenger, {"x": np.arange(4_000) % 2}, samples=100)
    for metric in found.metrics:
        assert metric.difference == Estimate(0.0, 0.0, 0.0)
    assert [it.difference for it in found.slices] == [Estimate(0.0, 0.0, 0.0)] * 2


def test_changing_sides_changes_the_sign() -> None:
    labels, challenger, champion = two_models()
    one, other = (
        difference(compare(labels, *pair, {}, samples=100)) for pair in ((challenger, champion), (champion, challenger))
    )
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))


def test_the_same_seed_gives_the_same_intervals_and_another_one_others() -> None:
    labels, challenger, champion = two_models(1_000)
    first, again, other = (compare(labels, challenger, champion, {}, seed=seed, samples=100) for seed in (1, 1, 2))
    assert first == again
    assert first.auc != other.auc


def test_without_a_champion_nothing_is_compared() -> None:
    labels, challenger, _ = two_models(2_000)
    found = compare(labels, challenger, None, {"x": np.arange(2_000) % 2}, samples=100)
    assert found.champion is None
    assert [(it.champion, it.difference) for it in found.metrics] == [(None, None)] * 3
    assert [(it.champion, it.difference, it.loss_difference) for it in found.slices] == [(None, None, None)] * 2
    assert found.largest_loss is None
    assert found.worst_slice is not None


def test_the_calibration_of_both_is_the_evaluations() -> None:
    labels, challenger, champion = two_models()
    found = compare(labels, challenger, champion, {}, samples=100)
    assert found.champion is not None
    assert found.challenger.calibration_error == calibration_error(calibration_bins(labels, challenger))
    assert found.champion.calibration_error == calibration_error(calibration_bins(labels, champion))


def test_a_slice_that_got_worse_is_found_and_the_interval_shows_it() -> None:
    labels, challenger, champion = two_models(9_000)
    carriers = np.array(["AA", "DL", "UA"] * 3_000)
    hurt = carriers == "DL"
    challenger = challenger.copy()
    challenger[hurt] = np.random.default_rng(5).permutation(challenger[hurt])
    found = compare(labels, challenger, champion, {"carrier": carriers}, samples=100)
    worst, lost = found.worst_slice, found.largest_loss
    assert worst is not None
    assert lost is not None
    assert worst.name == lost.name == "carrier DL"
    assert lost.champion is not None
    assert lost.difference is not None
    own, others = (roc_auc_score(labels[hurt], guess[hurt]) for guess in (challenger, champion))
    assert lost.difference.value == pytest.approx(own - others)
    assert lost.difference.high < -0.05
    assert lost.loss_difference == pytest.approx(
        log_loss(labels[hurt], challenger[hurt]) - log_loss(labels[hurt], champion[hurt])
    )


def test_a_small_slice_is_shown_and_not_compared() -> None:
    labels, challenger, champion = two_models(4_000)
    values = np.array(["many"] * 3_900 + [None] * 100, dtype=np.object_)
    found = compare(labels, challenger, champion, {"size": values}, samples=100)
    many, few = found.slices
    assert (few.name, few.challenger.small, few.difference) == ("size (missing)", True, None)
    assert many.difference is not None
    assert found.largest_loss == many


def test_a_worst_slice_may_have_an_auc_of_nought() -> None:
    labels = np.array([0, 1] * 1_000)
    values = np.array(["bad"] * 1_000 + ["good"] * 1_000)
    challenger = np.where(values == "bad", 1 - labels, labels) * 0.8 + 0.1
    found = compare(labels, challenger, None, {"x": values}, samples=100)
    assert found.worst_slice is not None
    assert (found.worst_slice.name, found.worst_slice.challenger.auc) == ("x bad", 0.0)


def test_a_comparison_is_strict_json() -> None:
    labels, challenger, champion = two_models(1_500)
    values = np.where(np.arange(1_500) < 2, "rare", "common")
    labels[:2] = 0
    found = compare(labels, challenger, champion, {"x": values}, samples=100)
    told = json.loads(json.dumps(facts(found), allow_nan=False))
    assert told["auc"]["difference"]["low"] == difference(found).low


@pytest.mark.parametrize("wrong", [np.nan, 1.5, -0.1, np.inf])
def test_answers_that_are_no_probabilities_are_refused_with_whose_they_are(wrong: float) -> None:
    labels, challenger, champion = two_models(100)
    champion[:3] = wrong
    with pytest.raises(JobError, match="the champion answered no probability between 0 and 1 for 3 of 100"):
        compare(labels, challenger, champion, {})


def test_another_number_of_answers_is_refused() -> None:
    labels, challenger, champion = two_models(100)
    with pytest.raises(JobError, match=r"the champion answered \[99\] for 100 held-out rows"):
        compare(labels, challenger, champion[:99], {})


def test_rows_of_one_class_are_refused() -> None:
    with pytest.raises(JobError, match="all of one class"):
        compare(np.zeros(10, np.int64), np.full(10, 0.5), None, {})


def test_latency_is_what_the_clock_says() -> None:
    """Each reading of the clock is 2 ms later: every call takes 2 ms."""
    moments = count()
    found = measure_latency(
        lambda columns: columns, {"x": np.arange(10)}, calls=50, batch_rows=8, clock=lambda: next(moments) * 0.002
    )
    assert (found.p50_ms, found.p99_ms) == pytest.approx((2.0, 2.0))
    assert (found.calls, found.batch_rows) == (50, 8)
    assert found.rows_per_s == pytest.approx(8 / 0.002)


def test_the_99th_percentile_shows_rare_slow_calls_and_the_median_does_not() -> None:
    now, calls = 0.0, 0

    def predict(columns: Columns) -> None:
        nonlocal now, calls
        calls += 1
        now += 0.100 if calls % 20 == 0 else 0.001

    found = measure_latency(predict, {"x": np.arange(3)}, calls=200, warm_up=0, batches=1, clock=lambda: now)
    assert found.p50_ms == pytest.approx(1.0)
    assert found.p99_ms == pytest.approx(100.0)


def test_latency_asks_for_one_row_at_a_time_and_for_no_more_rows_than_there_are() -> None:
    asked: list[int] = []
    seen: set[int] = set()

    def predict(columns: Columns) -> None:
        asked.append(row_count(columns))
        seen.update(columns["x"].tolist())

    found = measure_latency(predict, {"x": np.arange(5), "y": np.arange(5)}, calls=7, warm_up=2, batches=3)
    assert asked == [1] * 9 + [5] * 3
    assert seen == set(range(5))
    assert found.batch_rows == 5


def test_latency_without_a_row_is_an_error() -> None:
    with pytest.raises(JobError, match="without a row"):
        measure_latency(lambda columns: columns, {"x": np.arange(0)})
