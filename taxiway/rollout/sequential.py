"""Confidence sequences of rates, differences and ratios of rates, and quantiles: looked at whenever one likes.

A sequence of intervals of level `alpha` misses the truth at any time at all with a probability of at most alpha.
Each interval is the set of hypotheses against which the evidence (`taxiway.rollout.evidence`) is below 1/alpha.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import copysign, exp, inf, log, log1p

import numpy as np
from scipy.optimize import brentq

from taxiway.rollout import evidence
from taxiway.rollout.observations import Counts, Histogram

_HALVINGS = 60
_EXACT = 1e-12
_CLOSE = 1e-6
_NEXT_TO = 1e-16
_FARTHEST = 40.0
"""Ratios beyond exp(40) count as without bound."""


@dataclass(frozen=True)
class Interval:
    """What is known of a figure after `n` rows, of the smaller side where two are compared.

    `estimate` is None while nothing is known; an end is infinite while it is without bound. Never NaN.
    """

    estimate: float | None
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Split:
    """Events of both sides while the challenger got the share `share` of the requests (not percent)."""

    challenger: int
    champion: int
    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"a share of {self.share:g} compares nothing; the challenger's share lies between 0 and 1")
        if self.challenger < 0 or self.champion < 0:
            raise ValueError("a number of events is negative; count from 0")

    @property
    def n(self) -> int:
        return self.challenger + self.champion


def p_value(log_evidence: float) -> float:
    """The always-valid p-value of some evidence: at most alpha with a probability of at most alpha, at any time."""
    return min(1.0, exp(-log_evidence)) if log_evidence > 0 else 1.0


def proportion(counts: Counts, alpha: float) -> Interval:
    """A rate, by the beta-binomial mixture (`evidence.proportion`)."""
    limit = _limit(alpha)

    def excess(rate: float) -> float:
        return float(evidence.proportion(counts.hits, counts.n, rate)) - limit

    inside = 0.5 if counts.rate is None else counts.rate
    return Interval(counts.rate, edge(excess, inside, 0.0), edge(excess, inside, 1.0), counts.n)


def proportion_difference(challenger: Counts, champion: Counts, alpha: float) -> Interval:
    """The challenger's rate minus the champion's, of different requests.

    The pairs of rates that `evidence.pair_of_proportions` does not reject, seen along their difference: tighter
    than two intervals of level alpha/2, or about as tight where one side has far more rows. Exact whatever the
    allocation was, while both rates stay as they are.
    """
    limit = _limit(alpha)

    def excess(difference: float) -> float:
        return log_evidence_of_difference(challenger, champion, difference) - limit

    rates = challenger.rate, champion.rate
    inside = (0.5 if rates[0] is None else rates[0]) - (0.5 if rates[1] is None else rates[1])
    estimate = None if rates[0] is None or rates[1] is None else inside
    n = min(challenger.n, champion.n)
    return Interval(estimate, edge(excess, inside, -1.0), edge(excess, inside, 1.0), n)


def log_evidence_of_difference(challenger: Counts, champion: Counts, difference: float) -> float:
    """Against "the challenger's rate minus the champion's is `difference`", the worst case over both rates."""
    pair = _Pair(challenger, champion)
    low, high = max(0.0, -difference), min(1.0, 1.0 - difference)
    while high - low > _CLOSE * (high + low) + _NEXT_TO:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (low, middle) if pair.rises(middle + difference, middle) else (middle, high)
    return min(pair.evidence(rate + difference, rate) for rate in (low, high))


def rate_ratio(steps: Sequence[Split], alpha: float) -> Interval:
    """The challenger's rate of events over the champion's, from the events alone.

    Given that an event happens, it is the challenger's with the probability w r / (w r + 1 - w): w is the
    challenger's share of the requests, r the ratio. So a rate that rises and falls with the day harms nothing
    while the ratio stays (Lindon and Malek 2022, time-inhomogeneous counts).
    Steps of other shares multiply their evidence; when they contradict each other there is no one ratio, and it is
    left without bounds. Requests must be assigned at random, one by one.
    """
    limit = _limit(alpha)

    def excess(log_ratio: float) -> float:
        return log_evidence_of_ratio(steps, log_ratio) - limit

    best = _best_log_ratio(steps)
    challenger, champion = sum(one.challenger for one in steps), sum(one.champion for one in steps)
    estimate = (exp(best) if challenger else 0.0) if champion else None
    if excess(best) > 0:
        return Interval(estimate, 0.0, inf, challenger + champion)
    low, high = edge(excess, best, -_FARTHEST), edge(excess, best, _FARTHEST)
    return Interval(
        estimate,
        exp(low) if low > -_FARTHEST else 0.0,
        exp(high) if high < _FARTHEST else inf,
        challenger + champion,
    )


def log_evidence_of_ratio(steps: Sequence[Split], log_ratio: float) -> float:
    """Against "the ratio of both rates is exp(log_ratio)"."""
    return sum(float(evidence.proportion(it.challenger, it.n, _challengers_part(it, log_ratio))) for it in steps)


def quantile(histogram: Histogram, q: float, alpha: float, tuned_for: float = 10_000) -> Interval:
    """The q-quantile of values in a histogram, such as the p99 of latency; its ends are edges.

    Howard and Ramdas 2022, "Sequential estimation of quantiles": an edge below the quantile has at most the
    share q of the values at or below it, which the beta-binomial mixture around q tests, sharpest at
    `tuned_for` rows. All edges together cost one alpha. The estimate is the upper edge of the quantile's bin,
    None above the last edge.
    """
    _check_share("q", q)
    n = histogram.n
    below = np.cumsum(histogram.counts)[:-1].astype(np.float64)
    weight = evidence.tuned(tuned_for, alpha)
    rejected = evidence.proportion(below, n, q, (weight * q, weight * (1 - q))) > _limit(alpha)
    edges = np.asarray(histogram.edges)
    low, high = edges[rejected & (below < q * n)], edges[rejected & (below > q * n)]
    reached = edges[below >= q * n]
    return Interval(
        float(reached[0]) if n and reached.size else None,
        float(low[-1]) if low.size else -inf,
        float(high[0]) if high.size else inf,
        n,
    )


def quantile_difference(
    challenger: Histogram, champion: Histogram, q: float, alpha: float, tuned_for: float = 10_000
) -> Interval:
    """The challenger's q-quantile minus the champion's: two sequences of level alpha/2."""
    one, other = (quantile(side, q, alpha / 2, tuned_for) for side in (challenger, champion))
    return difference_of(one, other)


def difference_of(one: Interval, other: Interval) -> Interval:
    """Of two figures that each have an interval; its level is the sum of both."""
    estimate = None if one.estimate is None or other.estimate is None else one.estimate - other.estimate
    return Interval(estimate, one.low - other.high, one.high - other.low, min(one.n, other.n))


def edge(excess: Callable[[float], float], inside: float, outside: float) -> float:
    """Where `excess` becomes positive on the way from `inside`, where it is not, to `outside`; that when it never does.

    Errs outwards, by about 1e-12.
    """
    if excess(outside) <= 0:
        return outside
    near, far = inside, outside
    while excess(far) == inf and near != (middle := (near + far) / 2) != far:
        near, far = (near, middle) if excess(middle) > 0 else (middle, far)
    if excess(far) == inf or near == far:
        return far
    found = float(brentq(excess, near, far, xtol=_EXACT, rtol=_EXACT))
    outwards = copysign(2 * _EXACT * (1 + abs(found)), outside - inside)
    return min(outside, found + outwards) if outside > inside else max(outside, found + outwards)


def _limit(alpha: float) -> float:
    _check_share("alpha", alpha)
    return -log(alpha)


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value:g}; it must lie between 0 and 1")


class _Pair:
    """The evidence against a pair of rates, `evidence.pair_of_proportions`, on plain floats."""

    def __init__(self, challenger: Counts, champion: Counts) -> None:
        self.sides = challenger, champion
        own, others = (float(evidence.mixture(it.hits, it.n)) for it in self.sides)
        both = challenger.merge(champion)
        self.mixtures = float(np.logaddexp(own + others, evidence.mixture(both.hits, both.n))), own, others

    def terms(self, rates: tuple[float, float]) -> tuple[float, float, float]:
        """Against both rates together, and against each alone; their mean is the evidence, but for a quarter."""
        own, others = (_log_likelihood(side, rate) for side, rate in zip(self.sides, rates, strict=True))
        together, one, other = self.mixtures
        return together - own - others, one - own, other - others

    def evidence(self, challengers: float, champions: float) -> float:
        terms = self.terms((min(max(challengers, 0.0), 1.0), champions))
        largest = max(terms)
        return inf if largest == inf else largest + log(sum(exp(term - largest) for term in terms) / 4)

    def rises(self, challengers: float, champions: float) -> bool:
        """Whether it grows when both rates do. As a function of them it is convex."""
        rates = _inside(challengers), _inside(champions)
        terms = self.terms(rates)
        largest = max(terms)
        together, one, other = (exp(term - largest) for term in terms)
        slopes = [-_slope(side, rate) for side, rate in zip(self.sides, rates, strict=True)]
        return (together + one) * slopes[0] + (together + other) * slopes[1] > 0


def _log_likelihood(counts: Counts, rate: float) -> float:
    hits, misses = counts.hits, counts.n - counts.hits
    if (hits and rate <= 0) or (misses and rate >= 1):
        return -inf
    return (hits * log(rate) if hits else 0.0) + (misses * log1p(-rate) if misses else 0.0)


def _slope(counts: Counts, rate: float) -> float:
    """Of the log-likelihood, at a rate inside of 0 .. 1."""
    hits, misses = counts.hits, counts.n - counts.hits
    return (hits / rate if hits else 0.0) - (misses / (1 - rate) if misses else 0.0)


def _inside(rate: float) -> float:
    """Rounding may have put it on a border, where the likelihood has no slope."""
    return min(max(rate, _NEXT_TO), 1 - 2 * _NEXT_TO)


def _challengers_part(step: Split, log_ratio: float) -> float:
    odds = log_ratio + log(step.share) - log1p(-step.share)
    return 1 / (1 + exp(-odds)) if odds > -700 else 0.0


def _best_log_ratio(steps: Sequence[Split]) -> float:
    """The likeliest ratio; at the end of the range when one side has no events."""
    low, high = -_FARTHEST, _FARTHEST
    events = sum(one.challenger for one in steps)
    if not any(one.n for one in steps):
        return 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected: float = sum(one.n * _challengers_part(one, middle) for one in steps)
        low, high = (middle, high) if expected < events else (low, middle)
    return (low + high) / 2
