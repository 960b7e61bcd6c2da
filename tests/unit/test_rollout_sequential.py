"""Confidence sequences against closed forms, scipy and simulation with a look after every observation."""

from itertools import pairwise
from math import inf, isfinite, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from taxiway.rollout import evidence
from taxiway.rollout.observations import Counts, Histogram, Moments
from taxiway.rollout.sequential import (
    Interval,
    Split,
    edge,
    log_evidence_of_difference,
    log_evidence_of_ratio,
    p_value,
    proportion,
    proportion_difference,
    quantile,
    quantile_difference,
    rate_ratio,
)
from taxiway.rollout.sequential_means import (
    FIRST_LOOK,
    bounded_mean,
    bounded_mean_difference,
    log_evidence_of_bounded_mean,
    log_evidence_of_mean_difference,
    mean,
    mean_difference,
)

ALPHA = 0.1


@st.composite
def counts(draw: st.DrawFn) -> Counts:
    n = draw(st.integers(0, 5_000))
    return Counts(n, draw(st.integers(0, n)))


splits = st.builds(Split, st.integers(0, 200), st.integers(0, 200), st.floats(0.01, 0.99))
unit_values = st.lists(st.floats(0, 1), max_size=60)


def holds(interval: Interval) -> bool:
    """No NaN, in order, with the estimate inside."""
    inside = interval.estimate is None or interval.low <= interval.estimate <= interval.high
    return interval.low <= interval.high and inside


def within(inner: Interval, outer: Interval) -> bool:
    slack = 1e-9
    return outer.low - slack <= inner.low and inner.high <= outer.high + slack


def share_of_alarms(log_evidence: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", alpha: float = ALPHA) -> float:
    """Of paths (first axis) that ever reach 1/alpha."""
    return float((log_evidence.max(axis=1) >= -log(alpha)).mean())


def test_beta_binomial_evidence_is_the_integral_of_the_likelihood_over_the_prior() -> None:
    prior = stats.beta(0.5, 0.5)
    mixed, _ = integrate.quad(lambda p: stats.binom.pmf(7, 20, p) * prior.pdf(p), 0, 1)
    found = float(evidence.proportion(7, 20, 0.2))
    assert found == pytest.approx(log(mixed / stats.binom.pmf(7, 20, 0.2)), abs=1e-6)


@pytest.mark.parametrize("null", [0.05, 0.5, 0.8])
def test_beta_binomial_evidence_has_the_mean_1_under_its_hypothesis(null: float) -> None:
    hits = np.arange(41)
    weights = stats.binom.pmf(hits, 40, null)
    assert float((weights * np.exp(evidence.proportion(hits, 40, null))).sum()) == pytest.approx(1)


def test_evidence_against_a_pair_of_rates_has_the_mean_1_under_its_hypothesis() -> None:
    one, other = np.arange(21)[:, None], np.arange(31)[None, :]
    weights = stats.binom.pmf(one, 20, 0.1) * stats.binom.pmf(other, 30, 0.4)
    found = evidence.pair_of_proportions(one, 20, 0.1, other, 30, 0.4)
    assert float((weights * np.exp(found)).sum()) == pytest.approx(1)


@pytest.mark.parametrize("null", [0.05, 0.3, 0.5, 0.8])
def test_bounded_evidence_of_coin_flips_has_a_mean_of_at_most_1(null: float) -> None:
    hits = np.arange(41.0)
    weights = stats.binom.pmf(hits, 40, null)
    mean_of_both = float((weights * np.exp(evidence.bounded_mean(40, hits, hits, null))).sum())
    assert 0.3 < mean_of_both <= 1


def test_bounded_evidence_is_the_mean_of_the_integrals_over_its_five_priors() -> None:
    n, null, s, v = 60, 0.5, 4.0, 15.0
    total = n * null + s / 2
    squares = v / 4 + 2 * null * total - n * null**2
    x = np.linspace(0, 1, 400_001)[:-1]
    growth = np.exp(x * s - (-np.log1p(-x) - x) * v)
    priors = [stats.gamma(scale, scale=1 / scale) for scale in (1, 10, 100, 1e3, 1e4)]
    each = [np.trapezoid(growth * prior.pdf(1 - x) / prior.cdf(1), x) for prior in priors]
    assert float(evidence.bounded_mean(n, total, squares, null)) == pytest.approx(log(np.mean(each) / 2), abs=1e-6)


def test_normal_mixture_equals_the_integral_over_its_prior() -> None:
    n, z, tuning = 50.0, 2.5, 20.0
    score = z * np.sqrt(n)
    mixed, _ = integrate.quad(
        lambda d: np.exp(d * score - d * d * n / 2) * stats.norm.pdf(d, scale=tuning**-0.5), -3, 3
    )
    assert float(evidence.normal_mean(z, n, tuning)) == pytest.approx(log(mixed), abs=1e-6)


def test_a_tuned_normal_mixture_is_tightest_at_its_rows() -> None:
    moments, widths = Moments(1_000, 0.0, 1_000.0), {}
    for rows in (250.0, 900.0, 1_000.0, 1_100.0, 4_000.0):
        found = mean(moments, 0.05, tuned_for=rows)
        widths[rows] = found.high - found.low
    assert min(widths, key=widths.__getitem__) == 1_000.0


def test_an_interval_ends_where_the_evidence_reaches_1_over_alpha() -> None:
    one = Counts(1_000, 30)
    found = proportion(one, 0.05)
    for end in (found.low, found.high):
        assert float(evidence.proportion(one.hits, one.n, end)) == pytest.approx(log(20), abs=1e-6)
    difference = proportion_difference(one, Counts(5_000, 100), 0.05)
    for end in (difference.low, difference.high):
        assert log_evidence_of_difference(one, Counts(5_000, 100), end) == pytest.approx(log(20), abs=1e-6)
    bounded = bounded_mean(Moments(500, 100.0, 60.0), -1, 1, 0.05)
    for end in (bounded.low, bounded.high):
        assert log_evidence_of_bounded_mean(Moments(500, 100.0, 60.0), -1, 1, end) == pytest.approx(log(20), abs=1e-5)
    one_side, other_side = Moments(400, 10.0, 500.0), Moments(900, 50.0, 700.0)
    apart = mean_difference(one_side, other_side, 0.05)
    for end in (apart.low, apart.high):
        assert log_evidence_of_mean_difference(one_side, other_side, end, 0.05) == pytest.approx(log(20), abs=1e-6)


@pytest.mark.parametrize("difference", [-0.6, -0.01, 0.0, 0.004, 0.3])
def test_evidence_of_a_difference_is_the_smallest_over_all_pairs(difference: float) -> None:
    one, other = Counts(300, 12), Counts(2_000, 60)

    def of_pair(rate: float) -> float:
        pair = (one.hits, one.n, rate + difference, other.hits, other.n, rate)
        return float(evidence.pair_of_proportions(*pair))

    bounds = (max(0.0, -difference), min(1.0, 1 - difference))
    best = optimize.minimize_scalar(of_pair, bounds=bounds, method="bounded", options={"xatol": 1e-12})
    assert log_evidence_of_difference(one, other, difference) == pytest.approx(best.fun, abs=1e-6)


def test_a_difference_of_rates_is_about_as_tight_as_two_intervals_or_tighter() -> None:
    for one, other in ((Counts(1_000, 10), Counts(1_000, 12)), (Counts(1_000, 10), Counts(9_000, 9))):
        joint = proportion_difference(one, other, 0.05)
        first, second = (proportion(side, 0.025) for side in (one, other))
        assert joint.high - joint.low < 1.02 * ((first.high - second.low) - (first.low - second.high))


@pytest.mark.parametrize("rate", [0.02, 0.5])
def test_a_rate_watched_all_the_time_is_rarely_missed(rate: float) -> None:
    random = np.random.default_rng(1)
    n = np.arange(1, 2_001)
    hits = (random.random((400, 2_000)) < rate).cumsum(axis=1)
    assert share_of_alarms(evidence.proportion(hits, n, rate)) <= ALPHA


def test_a_bounded_mean_watched_all_the_time_is_rarely_missed() -> None:
    random = np.random.default_rng(2)
    values = random.beta(0.5, 4.5, (100, 1_500))
    n = np.arange(1, 1_501)
    found = evidence.bounded_mean(n, values.cumsum(axis=1), (values**2).cumsum(axis=1), 0.1)
    assert share_of_alarms(found) <= ALPHA


def test_equal_rates_watched_all_the_time_rarely_differ() -> None:
    random = np.random.default_rng(3)
    n = np.arange(1, 1_501)
    one, other = ((random.random((300, 1_500)) < 0.05).cumsum(axis=1) for _ in range(2))
    pooled = (one + other) / (2 * n)
    # The truth is one of the pairs, so this is what the smallest over all pairs can't exceed.
    assert share_of_alarms(evidence.pair_of_proportions(one, n, 0.05, other, n, 0.05)) <= ALPHA
    assert share_of_alarms(evidence.pair_of_proportions(one, n, pooled, other, n, pooled)) <= ALPHA


def test_means_of_unbounded_values_watched_from_the_first_look_are_rarely_missed() -> None:
    random = np.random.default_rng(4)
    values = random.exponential(1.0, (300, 3_000))
    n = np.arange(1, 3_001)
    averages = values.cumsum(axis=1) / n
    deviations = np.sqrt((values**2).cumsum(axis=1) / n - averages**2)[:, FIRST_LOOK:]
    z = (averages[:, FIRST_LOOK:] - 1) / deviations * np.sqrt(n[FIRST_LOOK:])
    assert share_of_alarms(evidence.normal_mean(z, n[FIRST_LOOK:], evidence.tuned(10_000, ALPHA))) <= ALPHA


def test_a_ratio_holds_while_the_rate_of_both_rises_and_falls() -> None:
    random = np.random.default_rng(5)
    day = 1 + np.sin(np.linspace(0, 12, 500))
    challenger = random.poisson(0.2 * 0.3 * day, (400, 500)).cumsum(axis=1)
    champion = random.poisson(0.8 * 0.1 * day, (400, 500)).cumsum(axis=1)
    true_part = 0.2 * 3 / (0.2 * 3 + 0.8)
    assert share_of_alarms(evidence.proportion(challenger, challenger + champion, true_part)) <= ALPHA
    wrong_part = 0.2 / (0.2 + 0.8)
    assert share_of_alarms(evidence.proportion(challenger, challenger + champion, wrong_part)) > 0.9
    found = rate_ratio([Split(int(challenger[0, -1]), int(champion[0, -1]), 0.2)], ALPHA)
    assert found.low < 3 < found.high


def test_steps_with_other_shares_tell_of_one_ratio() -> None:
    steps = [Split(30, 270, 0.05), Split(120, 180, 0.25)]
    found = rate_ratio(steps, 0.05)
    assert found.low < 2 < found.high
    for end in (found.low, found.high):
        assert log_evidence_of_ratio(steps, log(end)) == pytest.approx(log(20), abs=1e-5)
    assert found.high / found.low < rate_ratio(steps[:1], 0.05).high / rate_ratio(steps[:1], 0.05).low


def test_steps_that_contradict_each_other_bound_nothing() -> None:
    found = rate_ratio([Split(5, 500, 0.5), Split(500, 5, 0.5)], 0.05)
    assert (found.low, found.high, found.estimate) == (0, inf, pytest.approx(1))


def test_quantiles_watched_all_the_time_are_rarely_missed() -> None:
    random = np.random.default_rng(6)
    edges = np.linspace(0.01, 1, 100)
    values, misses = random.random((200, 3_000)), 0
    for path in values:
        looks = [quantile(Histogram.of(path[:n], edges.tolist()), 0.9, ALPHA) for n in (100, 300, 1_000, 3_000)]
        misses += any(not found.low <= 0.9 <= found.high for found in looks)
    assert misses / len(values) <= ALPHA
    assert isfinite(looks[-1].high)
    assert looks[-1].low > 0.8


def test_a_quantile_among_equal_values_is_found() -> None:
    found = quantile(Histogram.of([5.0] * 5_000, [1, 4.9, 5, 6]), 0.99, 0.05)
    assert (found.estimate, found.low) == (5.0, 4.9)
    slower = quantile_difference(
        Histogram.of([8.0] * 5_000, [1, 4.9, 5, 7.9, 8]), Histogram.of([5.0] * 5_000, [1, 4.9, 5, 7.9, 8]), 0.5, 0.05
    )
    assert slower == Interval(3.0, pytest.approx(2.9), pytest.approx(3.1), 5_000)


def test_a_worse_rate_is_found_and_an_equal_one_is_not() -> None:
    assert proportion_difference(Counts(2_000, 200), Counts(18_000, 180), 0.01).low > 0.05
    assert proportion_difference(Counts(2_000, 2), Counts(18_000, 18), 0.01).low < 0
    assert rate_ratio([Split(200, 180, 0.1)], 0.01).low > 5
    assert bounded_mean(Moments.of([0.1, 0.2] * 2_000), -2, 2, 0.01).low > 0.13
    assert bounded_mean_difference(Moments.of([0.5, 0.7] * 900), Moments.of([0.1, 0.3] * 900), 0, 1, 0.05).low > 0.3


@given(counts(), counts())
@settings(deadline=None, max_examples=30)
def test_intervals_of_rates_hold_the_estimate_and_grow_with_confidence(one: Counts, other: Counts) -> None:
    for make in (
        lambda alpha: proportion(one, alpha),
        lambda alpha: proportion_difference(one, other, alpha),
        lambda alpha: rate_ratio([Split(one.hits, other.hits, 0.3)], alpha),
    ):
        found = [make(alpha) for alpha in (0.001, 0.05, 0.3)]
        assert all(map(holds, found))
        assert all(within(inner, outer) for outer, inner in pairwise(found))


@given(unit_values, unit_values)
@settings(deadline=None, max_examples=30)
def test_intervals_of_means_hold_the_estimate_and_grow_with_confidence(one: list[float], other: list[float]) -> None:
    first, second = Moments.of(one), Moments.of(other)
    for make in (
        lambda alpha: bounded_mean(first, 0, 1, alpha),
        lambda alpha: bounded_mean_difference(first, second, 0, 1, alpha),
        lambda alpha: mean(Moments.of(one * 20), alpha),
        lambda alpha: mean_difference(Moments.of(one * 20), Moments.of(other * 20), alpha),
    ):
        found = [make(alpha) for alpha in (0.001, 0.05, 0.3)]
        assert all(map(holds, found))
        assert all(within(inner, outer) for outer, inner in pairwise(found))


@given(unit_values.filter(len))
@settings(deadline=None, max_examples=40)
def test_bounded_evidence_grows_with_the_distance_from_the_mean(values: list[float]) -> None:
    moments = Moments.of(values * 10)
    center = moments.total / moments.n
    for end in (0.0, 1.0):
        found = evidence.bounded_mean(moments.n, moments.total, moments.squares, np.linspace(center, end, 60)[1:])
        assert (np.diff(found) >= -1e-6).all()


@given(st.lists(st.floats(-1, 11), max_size=300), st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=30)
def test_intervals_of_quantiles_hold_the_estimate_and_grow_with_confidence(values: list[float], q: float) -> None:
    histogram = Histogram.of(values, list(range(11)))
    found = [quantile(histogram, q, alpha, tuned_for=100) for alpha in (0.001, 0.05, 0.3)]
    assert all(map(holds, found))


@given(st.lists(splits, max_size=3))
@settings(deadline=None, max_examples=30)
def test_ratios_over_steps_hold_the_estimate(steps: list[Split]) -> None:
    assert holds(rate_ratio(steps, 0.05))


def test_nothing_is_known_of_nothing() -> None:
    assert proportion(Counts(), 0.05) == Interval(None, 0, 1, 0)
    assert proportion_difference(Counts(), Counts(), 0.05) == Interval(None, -1, 1, 0)
    assert rate_ratio([], 0.05) == Interval(None, 0, inf, 0)
    assert bounded_mean(Moments(), -3, 3, 0.05) == Interval(None, -3, 3, 0)
    assert mean(Moments(), 0.05) == Interval(None, -inf, inf, 0)
    assert quantile(Histogram.of([], [1, 2]), 0.5, 0.05) == Interval(None, -inf, inf, 0)


def test_equal_values_leave_an_asymptotic_mean_without_bound() -> None:
    same = Moments.of([0.1] * 1_000)
    assert mean(same, 0.05) == Interval(pytest.approx(0.1), -inf, inf, 1_000)
    assert bounded_mean(same, 0, 1, 0.05).high < 0.12


def test_one_side_without_events_bounds_the_ratio_on_one_side() -> None:
    none_of_the_challenger = rate_ratio([Split(0, 90, 0.1)], 0.05)
    assert (none_of_the_challenger.estimate, none_of_the_challenger.low) == (0, 0)
    assert none_of_the_challenger.high < 1
    none_of_the_champion = rate_ratio([Split(9, 0, 0.1)], 0.05)
    assert (none_of_the_champion.estimate, none_of_the_champion.high) == (None, inf)
    assert none_of_the_champion.low > 1


def test_a_p_value_is_the_inverse_of_the_evidence() -> None:
    assert p_value(log(20)) == pytest.approx(0.05)
    assert (p_value(-5), p_value(inf)) == (1, 0)


def test_the_edge_errs_outwards() -> None:
    found = edge(lambda x: x - 0.3, 0.0, 1.0)
    assert 0.3 < found < 0.3 + 1e-10
    assert edge(lambda x: -1.0, 0.0, 1.0) == 1.0


@pytest.mark.parametrize("alpha", [0, 1, -0.1])
def test_an_alpha_outside_of_0_to_1_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        proportion(Counts(3, 1), alpha)


def test_values_outside_of_the_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="widen the bounds"):
        bounded_mean(Moments.of([0.5, 3.0]), 0, 1, 0.05)
    with pytest.raises(ValueError, match="no range"):
        bounded_mean(Moments.of([1.0]), 1, 1, 0.05)
    with pytest.raises(ValueError, match="share"):
        Split(1, 1, 1.0)
