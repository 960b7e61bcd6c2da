"""Confidence sequences of means, looked at whenever one likes: exact for bounded values, asymptotic for others."""

from math import inf, log, sqrt

import numpy as np

from taxiway.rollout import evidence
from taxiway.rollout.observations import Moments
from taxiway.rollout.sequential import Interval, difference_of, edge

FIRST_LOOK = 100
"""Rows of each side below which an asymptotic sequence says nothing."""


def bounded_mean(moments: Moments, low: float, high: float, alpha: float) -> Interval:
    """The mean of values in [low, high]; exact for every n, and tight when they vary less than the bounds allow.

    See `evidence.bounded_mean`. For rates `sequential.proportion` is tighter.

    Raises:
        ValueError: the bounds don't hold the values.
    """
    scaled = _scaled(moments, low, high)
    limit = -log(alpha)

    def excess(mean: float) -> float:
        return float(evidence.bounded_mean(scaled.n, scaled.total, scaled.squares, mean)) - limit

    inside = 0.5 if scaled.mean is None else min(max(scaled.mean, 0.0), 1.0)
    ends = [low + (high - low) * edge(excess, inside, end) for end in (0.0, 1.0)]
    return _around(moments, *ends)


def bounded_mean_difference(challenger: Moments, champion: Moments, low: float, high: float, alpha: float) -> Interval:
    """The challenger's mean minus the champion's, of different requests, values in [low, high].

    Two sequences of level alpha/2: exact, and wider than what is possible.
    """
    one, other = (bounded_mean(side, low, high, alpha / 2) for side in (challenger, champion))
    return difference_of(one, other)


def log_evidence_of_bounded_mean(moments: Moments, low: float, high: float, mean: float) -> float:
    """Against "the mean is `mean`" of values in [low, high].

    Raises:
        ValueError: the bounds don't hold the values or the mean.
    """
    if not low <= mean <= high:
        raise ValueError(f"a mean of {mean:g} is outside of the bounds {low:g} to {high:g}")
    scaled = _scaled(moments, low, high)
    return float(evidence.bounded_mean(scaled.n, scaled.total, scaled.squares, (mean - low) / (high - low)))


def mean(moments: Moments, alpha: float, tuned_for: float = 10_000) -> Interval:
    """The mean of values without known bounds, asymptotically; tightest at `tuned_for` rows.

    Waudby-Smith et al. 2024. Without bound below `FIRST_LOOK` rows, and while all values are equal: then
    nothing is known of how they vary.
    """
    if moments.n < FIRST_LOOK or not moments.variance:
        return Interval(moments.mean, -inf, inf, moments.n)
    half = _half_width(moments.variance / moments.n, moments.n, alpha, tuned_for)
    center = moments.total / moments.n
    return Interval(center, center - half, center + half, moments.n)


def mean_difference(challenger: Moments, champion: Moments, alpha: float, tuned_for: float = 10_000) -> Interval:
    """The challenger's mean minus the champion's, of different requests, asymptotically.

    The difference over its variance moves like a Brownian motion in the information 1/variance, also when the
    split changes on the way (Jennison and Turnbull 2000, chapter 11); the normal mixture runs on that clock.
    `tuned_for` is in rows of each side.
    """
    n = min(challenger.n, champion.n)
    estimate = None if challenger.mean is None or champion.mean is None else challenger.mean - champion.mean
    variance = _variance_of_difference(challenger, champion)
    if estimate is None or n < FIRST_LOOK or not variance:
        return Interval(estimate, -inf, inf, n)
    half = _half_width(variance, _clock(challenger, champion), alpha, tuned_for / 2)
    return Interval(estimate, estimate - half, estimate + half, n)


def log_evidence_of_mean_difference(
    challenger: Moments, champion: Moments, difference: float, alpha: float, tuned_for: float = 10_000
) -> float:
    """Against "the challenger's mean minus the champion's is `difference`"; alpha only tunes the mixture."""
    variance = _variance_of_difference(challenger, champion)
    if min(challenger.n, champion.n) < FIRST_LOOK or not variance:
        return 0.0
    z = (challenger.total / challenger.n - champion.total / champion.n - difference) / sqrt(variance)
    tuning = evidence.tuned(tuned_for / 2, alpha)
    return float(evidence.normal_mean(z, _clock(challenger, champion), tuning))


def _half_width(variance: float, clock: float, alpha: float, tuned_for: float) -> float:
    """Solves `evidence.normal_mean` = log(1/alpha) for the distance from the estimate."""
    tuning = evidence.tuned(tuned_for, alpha)
    total = clock + tuning
    return sqrt(variance * total / clock * (np.log(total / tuning) - 2 * log(alpha)))


def _variance_of_difference(challenger: Moments, champion: Moments) -> float:
    return sum(side.variance / side.n for side in (challenger, champion) if side.n)


def _clock(challenger: Moments, champion: Moments) -> float:
    """The information in units of rows: n/2 when both sides have n rows. Does not depend on the split but by it."""
    spread = (challenger.variance + champion.variance) / 2
    return spread / _variance_of_difference(challenger, champion)


def _scaled(moments: Moments, low: float, high: float) -> Moments:
    """The sums of (value - low) / (high - low)."""
    if not low < high:
        raise ValueError(f"the bounds {low:g} and {high:g} are no range; the first must be lower")
    width, n = high - low, moments.n
    total = (moments.total - n * low) / width
    squares = (moments.squares - 2 * low * moments.total + n * low**2) / width**2
    slack = 1e-9 * max(n, 1)
    if not (-slack <= total <= n + slack and squares <= total + slack):
        raise ValueError(f"some values lie outside of {low:g} to {high:g}; widen the bounds or clip the values")
    return Moments(n, total, max(squares, 0.0))


def _around(moments: Moments, low: float, high: float) -> Interval:
    """Rounding must not put the mean outside."""
    if moments.mean is None:
        return Interval(None, low, high, 0)
    return Interval(moments.mean, min(low, moments.mean), max(high, moments.mean), moments.n)
