"""Whether copies put rows into the same order as live answers: Spearman's rank correlation of pairs in cells.

In cells all values of a bin have the same midrank (the grade correlation of a table: Stuart 1963; Agresti 2010,
Analysis of Ordinal Categorical Data, 7.1). What that can be away from the coefficient of the values themselves has
exact ends: of all orders within the bins, the ones in which the ranks rise together as far as the cells allow, and
apart. The sampling error is Hoeffding's (1948): the variance of the influence of a row (Borkowf 2002).
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from taxiway.rollout.joint import WIDEST, Cells, has_cells, read_cells
from taxiway.rollout.observations import Moments, Values
from taxiway.rollout.sequential import Interval
from taxiway.rollout.sequential_means import mean
from taxiway.rollout.tally import Tally

_UPSIDE_DOWN = 6.0
"""How much one row counts that is first on one side and last on the other, where all others agree."""


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's, midranks where values are equal.

    Attributes:
        low: together with `high` holds the coefficient of the values themselves, whatever they are within their cells.
        coarse: how far the coefficient of the cells is from that of cells twice as wide. For smooth distributions a
            third of it is the bias of the cells, which falls with the square of their width: so much is taken off
            the estimate (Richardson 1911).
        variance: of what one row adds to the estimate; over n it is that of the estimate.
    """

    estimate: float
    low: float
    high: float
    coarse: float
    n: int
    variance: float


def rank_correlation(tally: Tally, output: str) -> RankCorrelation | None:
    """Of a shadow's answers and the live ones; None where either never varies, and for what is no number."""
    cells = read_cells(tally.numbers, f"difference/{output}")
    return None if cells is None else ranks_of(cells)


def has_order(tally: Tally, output: str) -> bool:
    """Whether an output is one number a row, so that its rows have an order."""
    return has_cells(tally.numbers, f"difference/{output}")


def ranks_of(cells: Cells) -> RankCorrelation | None:
    """As `rank_correlation`."""
    x, y = _axes(cells)
    estimate = _estimate(cells, x, y)
    if estimate is None:
        return None
    variance = _variance(cells, x, y, estimate)
    if cells.shift == 0:
        return RankCorrelation(estimate, estimate, estimate, 0.0, cells.n, variance)
    wider = cells.widened(min(cells.shift + 1, WIDEST))
    coarse = _estimate(wider, *_axes(wider))
    low, high = _ends(cells, x, y)
    if coarse is None:
        return RankCorrelation(min(max(estimate, low), high), low, high, 2.0, cells.n, variance)
    found = min(max(estimate + (estimate - coarse) / 3, low), high)
    return RankCorrelation(found, low, high, abs(estimate - coarse), cells.n, variance)


def _axes(cells: Cells) -> tuple["_Axis", "_Axis"]:
    return _Axis.of(cells.x, cells.counts), _Axis.of(cells.y, cells.counts)


def _estimate(cells: Cells, x: "_Axis", y: "_Axis") -> float | None:
    spread = sqrt(x.spread * y.spread)
    if cells.n < 2 or not spread:
        return None
    covariance = float(cells.counts @ (x.centered * y.centered)) / cells.n
    return min(max(covariance / spread, -1.0), 1.0)


def _ends(cells: Cells, x: "_Axis", y: "_Axis") -> tuple[float, float]:
    """Ties make the spread of ranks smaller, and in cells as much is tied as can be."""
    spread, untied = sqrt(x.spread * y.spread), (1 - 1 / cells.n**2) / 12
    low, high = (_extreme(cells, x, y, sign) for sign in (-1, 1))
    return max(low / (spread if low < 0 else untied), -1.0), min(high / (spread if high > 0 else untied), 1.0)


def disorder(found: RankCorrelation, alpha: float) -> Interval:
    """How much is missing to a rank correlation of 1, as a confidence sequence; asymptotic.

    It is widened by what the cells leave open. While all rows agree nothing is known of how they vary: then the
    variance is that of one row among them that stands upside down.
    """
    variance = max(found.variance, _UPSIDE_DOWN**2 / found.n)
    known = mean(Moments(found.n, 0.0, found.n * variance), alpha)
    low, high = max(found.low, found.estimate - found.coarse), min(found.high, found.estimate + found.coarse)
    return Interval(1 - found.estimate, 1 - high + known.low, 1 - low + known.high, found.n)


@dataclass(frozen=True)
class _Axis:
    """One side: for each cell its bin, and its centered midrank over n; `spread` is the variance of the latter."""

    bins: Any
    counts: Values
    levels: Values
    centered: Values
    spread: float

    @classmethod
    def of(cls, places: Any, counts: Values) -> "_Axis":
        _, bins = np.unique(places, return_inverse=True)
        inside: Values = np.bincount(bins, counts).astype(np.float64)
        n = inside.sum()
        levels = (np.cumsum(inside) - inside / 2) / n - 0.5
        return cls(bins, inside, levels, levels[bins], float(inside @ levels**2) / n)

    def passed_on(self, weights: Values) -> Values:
        """For each cell the weight of what lies above its bin, and half of what lies in it."""
        inside = np.bincount(self.bins, weights)
        found: Values = (inside.sum() - np.cumsum(inside) + inside / 2)[self.bins]
        return found


def _variance(cells: Cells, x: _Axis, y: _Axis, estimate: float) -> float:
    """Of the influence of a row on the estimate: on the covariance of both ranks, and on either's own variance."""
    share = cells.counts / cells.n
    both = x.centered * y.centered + x.passed_on(share * y.centered) + y.passed_on(share * x.centered)
    own = [it.centered**2 + 2 * it.passed_on(share * it.centered) for it in (x, y)]
    influence = both / sqrt(x.spread * y.spread) - estimate / 2 * (own[0] / x.spread + own[1] / y.spread)
    found = float(share @ influence**2 - (share @ influence) ** 2)
    return max(found, 0.0)


def _extreme(cells: Cells, x: _Axis, y: _Axis, sign: int) -> float:
    """The largest (`sign` 1) or smallest covariance of ranks over n that any order within the bins has.

    By the rearrangement inequality it is reached when each bin is ordered by the other side's bin, and each cell by
    both sides alike, or in opposite directions.
    """
    counts, n = cells.counts, cells.n
    ranks = []
    for mine, other in ((x, y), (y, x)):
        order = np.lexsort((sign * other.bins, mine.bins))
        middle = np.empty(len(counts))
        middle[order] = np.cumsum(counts[order]) - counts[order] / 2
        ranks.append(middle / n - 0.5)
    within = float((counts * (counts**2 - 1)).sum()) / 12 / n**3
    return float(counts @ (ranks[0] * ranks[1])) / n + sign * within
