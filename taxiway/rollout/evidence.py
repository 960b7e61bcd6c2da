"""Evidence against a hypothesis: logarithms of e-values, as functions of sums that merge.

Each is the logarithm of a process that is a nonnegative supermartingale with mean at most 1 while its
hypothesis holds. By Ville's inequality it ever exceeds log(1/alpha) with a probability of at most alpha, so
it may be looked at after every observation (Ramdas, Grünwald, Vovk and Shafer 2023, "Game-theoretic
statistics and safe anytime-valid inference"). None depends on the order of the observations: a snapshot of
merged counts is enough. Arguments are arrays that broadcast.
"""

from math import e, log

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln, gammainc, gammaln, lambertw, logsumexp, xlog1py, xlogy

from taxiway.rollout.observations import Values

JEFFREYS = (0.5, 0.5)
"""Beta prior of a rate about which nothing is known; good for rare errors too."""

_SCALES = np.array([1.0, 10.0, 100.0, 1e3, 1e4])
"""Sums of squares, in units of the squared range, around which the bounded mean's evidence is sharpest."""


def proportion(hits: ArrayLike, n: ArrayLike, null: ArrayLike, prior: tuple[float, float] = JEFFREYS) -> Values:
    """Against "each hit has the probability `null`": the beta-binomial mixture over that likelihood.

    Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon 2021, proposition 7. Exact, also while the allocation
    of requests depends on what was seen.
    """
    hits, n = np.asarray(hits, dtype=np.float64), np.asarray(n, dtype=np.float64)
    return mixture(hits, n, prior) - _log_likelihood(hits, n, null)


def pair_of_proportions(
    hits: ArrayLike, n: ArrayLike, null: ArrayLike, other_hits: ArrayLike, other_n: ArrayLike, other_null: ArrayLike
) -> Values:
    """Against "one has the rate `null`, the other the rate `other_null`": the mean of four mixtures.

    Two rates that are unknown; one unknown rate of both, which pays only once for not knowing it and so shows
    soonest that equal variants are not as far apart as a margin; and either side alone, which is best when the
    other has far more rows. A mean of e-processes is one (Vovk and Wang 2021); so is its smallest value over all
    pairs of a hypothesis, such as "both are equal" (Turner, Ly and Grünwald 2024).
    """
    hits, n, other_hits, other_n = (np.asarray(it, dtype=np.float64) for it in (hits, n, other_hits, other_n))
    own, others = proportion(hits, n, null), proportion(other_hits, other_n, other_null)
    mixtures = mixture(hits, n), mixture(other_hits, other_n)
    common = mixture(hits + other_hits, n + other_n) - sum(mixtures) + own + others
    found: Values = np.logaddexp(np.logaddexp(own + others, common), np.logaddexp(own, others)) - log(4)
    return found


def shares(counts: ArrayLike, weights: ArrayLike, concentration: float) -> Values:
    """Against "each request goes to variant i with the probability `weights[i]`": Dirichlet-multinomial mixture.

    Lindon and Malek 2022, "Anytime-valid inference for multinomial count data". The last axis is the variant;
    the weights are above 0 and sum to 1. The prior is centred at them; with a larger `concentration` smaller
    deviations are found, and later.
    """
    counts, weights = np.asarray(counts, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    prior = concentration * weights
    total = counts.sum(axis=-1)
    found: Values = (gammaln(prior + counts) - gammaln(prior)).sum(axis=-1)
    found = found + gammaln(concentration) - gammaln(concentration + total)
    likelihood: Values = xlogy(counts, weights).sum(axis=-1)
    return found - likelihood


def bounded_mean(n: ArrayLike, total: ArrayLike, squares: ArrayLike, null: ArrayLike) -> Values:
    """Against "values in [0, 1] have the mean `null`", from their number, sum and sum of squares.

    Fan, Grama and Liu 2015: exp(x y - psi(x) y^2) <= 1 + x y for y >= -1, psi(x) = -log(1-x) - x, mixed over x
    as Howard et al. 2021, proposition 9 (gamma-exponential). y is the distance from the hypothesis, not from a
    running mean as in the empirical Bernstein bounds: that is what makes the order of the values irrelevant.
    Both directions have half of the weight.
    """
    n, null = np.asarray(n, dtype=np.float64), np.asarray(null, dtype=np.float64)
    away = np.asarray(total, dtype=np.float64) - n * null
    spread = np.maximum(np.asarray(squares) - 2 * null * np.asarray(total) + n * null**2, 0.0)
    upwards, downwards = np.maximum(null, 0.5), np.maximum(1 - null, 0.5)
    scale = np.where(away >= 0, upwards, downwards)
    return _gamma_exponential(np.abs(away) / scale, spread / scale**2) - log(2)


def normal_mean(z: ArrayLike, clock: ArrayLike, tuning: float) -> Values:
    """Against a mean `z` standard errors away: the normal mixture (Robbins 1970), asymptotic for other values.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, "Time-uniform central limit theory and asymptotic
    confidence sequences". `clock` grows with the information, n for a single mean; `tuning` is the prior's
    share in it (see `tuned`).
    """
    z, clock = np.asarray(z, dtype=np.float64), np.asarray(clock, dtype=np.float64)
    found: Values = 0.5 * (np.log(tuning / (clock + tuning)) + z**2 * clock / (clock + tuning))
    return found


def tuned(rows: float, alpha: float) -> float:
    """The prior's weight, in rows, that makes a normal mixture tightest at so many rows.

    Howard et al. 2021, section 3.5: the boundary's minimum, by the lower branch of Lambert's W.
    """
    return rows / (-float(lambertw(-(alpha**2) / e, -1).real) - 1)


def mixture(hits: ArrayLike, n: ArrayLike, prior: tuple[float, float] = JEFFREYS) -> Values:
    """The logarithm of the likelihood of `hits` among `n`, averaged over the prior."""
    a, b = prior
    hits, n = np.asarray(hits, dtype=np.float64), np.asarray(n, dtype=np.float64)
    found: Values = betaln(a + hits, b + n - hits) - betaln(a, b)
    return found


def _log_likelihood(hits: Values, n: Values, rate: ArrayLike) -> Values:
    found: Values = xlogy(hits, rate) + xlog1py(n - hits, -np.asarray(rate))
    return found


def _gamma_exponential(distance: Values, spread: Values) -> Values:
    """The mean, over the scales, of the integral of exp(x s - psi(x) v); 1 - x has a truncated gamma density."""
    s, v = distance[..., None], spread[..., None]
    shape, rate = v + _SCALES, s + v + _SCALES
    constant = xlogy(_SCALES, _SCALES) - gammaln(_SCALES) - np.log(gammainc(_SCALES, _SCALES))
    integral = gammaln(shape) + np.log(gammainc(shape, rate)) - shape * np.log(rate)
    found: Values = logsumexp(s + v + constant + integral, axis=-1) - log(_SCALES.size)
    return found
