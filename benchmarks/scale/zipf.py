"""How often models are asked for when few are popular, and what a least-recently-used list then hits."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Shares = NDArray[np.float64]


def zipf(models: int, exponent: float) -> Shares:
    """Shares that sum to 1: the k-th most popular model has one that is proportional to k ** -exponent."""
    weights = np.arange(1, models + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum())


def hit_rate(shares: Shares, kept: int) -> float:
    """Of independent requests to a least-recently-used list of `kept` models.

    Che's approximation (Che, Tung and Wang, Hierarchical Web Caching Systems, IEEE JSAC 20(7), 2002): a model is there
    when it was asked for within a time t, the same for all, in which `kept` different ones are asked for.
    """
    if kept >= len(shares):
        return 1.0

    def here(t: float) -> Shares:
        return np.asarray(-np.expm1(-shares * t))

    t = brentq(lambda t: float(here(t).sum()) - kept, 1e-9, 1e3 / float(shares.min()))
    return float((shares * here(float(t))).sum())
