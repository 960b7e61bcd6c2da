"""How far a window lies from the reference: population stability index, Jensen-Shannon, Kolmogorov-Smirnov."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taxiway.drift.counts import ColumnCounts, paired
from taxiway.profile import Group, Profile

_PSI_OF_A_BIT = 8 * math.log(2)
"""Close to no drift, the index is so many times the Jensen-Shannon divergence in bits."""


@dataclass(frozen=True)
class Distance:
    """How far a column of the current window lies from the reference; rows are those with a value.

    `psi_by_chance` is what the index comes to on average without any drift. The distances are None where one of
    the windows has no value or the column is opaque; `kolmogorov_smirnov` is for numbers only.
    """

    group: Group
    column: str
    reference_rows: int
    current_rows: int
    missing_difference: float | None
    psi: float | None = None
    psi_by_chance: float | None = None
    jensen_shannon: float | None = None
    kolmogorov_smirnov: float | None = None

    @property
    def psi_above_chance(self) -> float | None:
        return None if self.psi is None or self.psi_by_chance is None else max(self.psi - self.psi_by_chance, 0.0)

    @property
    def jensen_shannon_above_chance(self) -> float | None:
        """The root of the divergence less what chance brings of it."""
        if self.jensen_shannon is None or self.psi_by_chance is None:
            return None
        return math.sqrt(max(self.jensen_shannon**2 - self.psi_by_chance / _PSI_OF_A_BIT, 0.0))


def distances(reference: Profile, current: Profile) -> tuple[Distance, ...]:
    """The distance of every column.

    Raises:
        JobError: the bins differ.
    """
    return tuple(distance(before, after) for before, after in paired(reference, current))


def distance(reference: ColumnCounts, current: ColumnCounts) -> Distance:
    """The distance of one column; both have the same bins."""
    group, name, rows = reference.group, reference.column, (reference.present, current.present)
    missing = None
    if reference.rows and current.rows:
        missing = current.missing / current.rows - reference.missing / reference.rows
    if not reference.bins or not all(rows):
        return Distance(group, name, *rows, missing)
    bins = reference.bins, current.bins
    return Distance(
        group,
        name,
        *rows,
        missing,
        psi=population_stability_index(*bins),
        psi_by_chance=psi_by_chance(*bins),
        jensen_shannon=jensen_shannon_distance(*bins),
        kolmogorov_smirnov=kolmogorov_smirnov_statistic(*bins) if reference.numeric else None,
    )


def population_stability_index(reference: Sequence[int], current: Sequence[int]) -> float:
    """The sum of (c - r) ln(c / r) over the bins' shares c and r (Siddiqi, "Credit Risk Scorecards", 2006).

    Where only one of the two counts is 0, half a row stands for it.
    """
    left, right = np.asarray(reference, np.float64), np.asarray(current, np.float64)
    used = (left > 0) | (right > 0)
    before, after = np.maximum(left[used], 0.5) / left.sum(), np.maximum(right[used], 0.5) / right.sum()
    return float(((after - before) * np.log(after / before)).sum())


def psi_by_chance(reference: Sequence[int], current: Sequence[int]) -> float:
    """The mean of the index when both windows come from one distribution: (bins - 1) (1 / rows + 1 / rows).

    Yurdakul and Naranjo, "Statistical properties of the population stability index", 2020.
    """
    used = sum(1 for one, another in zip(reference, current, strict=True) if one or another)
    return (used - 1) * (1 / sum(reference) + 1 / sum(current))


def jensen_shannon_distance(reference: Sequence[int], current: Sequence[int]) -> float:
    """The root of the Jensen-Shannon divergence in bits, between 0 and 1 (Endres and Schindelin 2003)."""
    before, after = _shares(reference), _shares(current)
    middle = (before + after) / 2
    divergence = sum(
        float((part[part > 0] * np.log2(part[part > 0] / middle[part > 0])).sum()) for part in (before, after)
    )
    return math.sqrt(min(max(divergence / 2, 0.0), 1.0))


def kolmogorov_smirnov_statistic(reference: Sequence[int], current: Sequence[int]) -> float:
    """The largest difference of the two cumulated shares at the bins' edges; between them it may be larger."""
    return float(np.abs(np.cumsum(_shares(reference)) - np.cumsum(_shares(current))).max())


def _shares(counts: Sequence[int]) -> NDArray[np.float64]:
    found = np.asarray(counts, np.float64)
    shares: NDArray[np.float64] = found / found.sum()
    return shares
