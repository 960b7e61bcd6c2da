"""Whether chance explains a difference of two windows: p-values of counts, and many of them at once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, kolmogorov
from scipy.stats import fisher_exact

from taxiway.drift.distances import kolmogorov_smirnov_statistic

_EXPECTED_ROWS = 5.0
"""Bins in which chance alone puts fewer rows are joined: below, chi-square is no good approximation (Cochran 1954)."""


def chi_square_p(reference: Sequence[int], current: Sequence[int], in_order: bool = True) -> float:
    """Of Pearson's test that two samples have one distribution over the bins.

    Bins are joined by the sums of both windows, which say nothing about their difference: neighbours where the bins
    are `in_order`, the small ones with each other where they are not.
    """
    table = np.array((reference, current), np.float64)
    if not table.sum(axis=1).all():
        return 1.0
    if not in_order:
        table = table[:, np.argsort(table.sum(axis=0), kind="stable")]
    table = _joined(table)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return float(chdtrc(table.shape[1] - 1, statistic)) if table.shape[1] > 1 else 1.0


def kolmogorov_smirnov_p(reference: Sequence[int], current: Sequence[int]) -> float:
    """Of the two-sample test, by its limit (Smirnov 1939). Too large rather than too small: only the bins' edges are
    compared, values may occur twice, and for few rows the limit lies above."""
    rows = sum(reference), sum(current)
    if not all(rows):
        return 1.0
    statistic = kolmogorov_smirnov_statistic(reference, current)
    return float(kolmogorov(statistic * np.sqrt(rows[0] * rows[1] / (rows[0] + rows[1]))))


def missing_p(reference: tuple[int, int], current: tuple[int, int]) -> float:
    """Of the test that values are missing as often; pairs are (rows, missing). Fisher's exact one where few are."""
    table = np.array([(missing, rows - missing) for rows, missing in (reference, current)], np.float64)
    if not table.sum(axis=1).all() or not table.sum(axis=0).all():
        return 1.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    if expected.min() < _EXPECTED_ROWS:
        return float(fisher_exact(table.astype(np.int64))[1])
    return chi_square_p(*table.astype(np.int64).tolist())


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: the chance that any of those at or below alpha is wrong is at most alpha, whatever depends
    on what (Holm, "A simple sequentially rejective multiple test procedure", 1979)."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(np.asarray(p_values, np.float64)[order] * factors), 1.0)
    found = np.empty(len(p_values))
    found[order] = adjusted
    return [float(it) for it in found]


def _joined(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """[2, bins] with as many rows expected in each bin of the smaller window; what is left joins the last one."""
    needed = _EXPECTED_ROWS * table.sum() / table.sum(axis=1).min()
    edges, gathered = [0], 0.0
    for place, rows in enumerate(table.sum(axis=0), start=1):
        gathered += rows
        if gathered >= needed:
            edges.append(place)
            gathered = 0.0
    starts = edges[:-1] or [0]
    return np.add.reduceat(table, starts, axis=1)
