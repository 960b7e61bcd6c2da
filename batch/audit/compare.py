"""How two columns of the same rows differ: what was served, and what offline says."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taxiway.settings import Settings
from taxiway.signature import Array, Columns, take

Mask = NDArray[np.bool_]


class Quantiles(Settings):
    """Of some numbers."""

    median: float
    p90: float
    p99: float
    maximum: float


class StaleValues(Settings):
    """Served values that differ and that the feature's history held at an earlier moment.

    `age_s` is how old the served value was when it was served, `behind_s` since when it had no longer been the right
    one: by so much the online store lags behind.
    """

    rows: int
    age_s: Quantiles
    behind_s: Quantiles


class ColumnSkew(Settings):
    """One column of the audited rows. Of the rows that differ each is missing online, missing offline or unequal.

    `differing` counts what the tolerance does not cover, `not_bit_equal` all that is not the same to the last bit.
    `difference` is of |served - offline| over the unequal rows of numbers; `stale` is None where nothing is stale,
    and where the history can't be asked.
    """

    column: str
    rows: int
    differing: int
    not_bit_equal: int
    missing_online: int
    missing_offline: int
    unequal: int
    difference: Quantiles | None = None
    stale: StaleValues | None = None

    @property
    def share(self) -> float:
        return self.differing / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Compared:
    """One column of n rows.

    Args:
        differs: rows of which only one side has a value, or that lie further apart than the tolerance.
        online, offline: rows that have a value there.
        difference: |served - offline|, the largest of a tensor's; NaN where it means nothing.
    """

    column: str
    differs: Mask
    bits_differ: Mask
    online: Mask
    offline: Mask
    difference: NDArray[np.float64]

    def skew(self, stale: StaleValues | None = None) -> ColumnSkew:
        unequal = self.differs & self.online & self.offline
        return ColumnSkew(
            column=self.column,
            rows=len(self.differs),
            differing=int(self.differs.sum()),
            not_bit_equal=int(self.bits_differ.sum()),
            missing_online=int((self.differs & ~self.online).sum()),
            missing_offline=int((self.differs & self.online & ~self.offline).sum()),
            unequal=int(unequal.sum()),
            difference=quantiles(self.difference[unequal]),
            stale=stale,
        )


@dataclass(frozen=True)
class Served:
    """One feature of n rows as it was served.

    Args:
        moments: of the answers, datetime64[us] in UTC.
        keys: the request's columns.
    """

    column: str
    values: Array
    moments: NDArray[np.datetime64]
    keys: Columns

    def take(self, rows: Mask) -> "Served":
        return Served(self.column, self.values[rows], self.moments[rows], take(self.keys, rows))


def compare(column: str, served: Array, offline: Array, tolerance: float, stand_in: float | None = None) -> Compared:
    """Compares row by row; a missing value equals a missing one.

    Args:
        served, offline: [rows] or, of tensors, [rows, ...] of one shape.
        tolerance: share of the larger of two numbers.
        stand_in: what stands for a missing value: an unknown entity's default.
    """
    if served.dtype == np.object_ or offline.dtype == np.object_:
        return _texts(column, served, offline)
    left, right = _wide(served), _wide(offline)
    is_missing, should_miss = np.isnan(left), np.isnan(right)
    both_missing = is_missing & should_miss
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.where(left == right, 0.0, np.abs(left - right))
        far = apart > tolerance * np.maximum(np.abs(left), np.abs(right))
    far |= is_missing != should_miss
    far |= np.isinf(apart)
    apart[is_missing | should_miss] = 0.0
    return Compared(
        column=column,
        differs=_any(far),
        bits_differ=_any(~both_missing & (left.view(np.int64) != right.view(np.int64))),
        online=~_any(is_missing | _is(left, stand_in)),
        offline=~_any(should_miss | _is(right, stand_in)),
        difference=apart.max(axis=1, initial=0.0),
    )


def quantiles(values: NDArray[np.float64]) -> Quantiles | None:
    """None where no value is finite."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    median, p90, p99, maximum = np.quantile(finite, (0.5, 0.9, 0.99, 1.0)).tolist()
    return Quantiles(median=median, p90=p90, p99=p99, maximum=maximum)


def _wide(values: Array) -> NDArray[np.float64]:
    """[rows, elements] as doubles."""
    return np.ascontiguousarray(values.reshape(len(values), int(np.prod(values.shape[1:]))), np.float64)


def _any(elements: Mask) -> Mask:
    return np.asarray(elements.any(axis=1), np.bool_)


def _is(values: NDArray[np.float64], stand_in: float | None) -> Mask:
    return np.zeros(values.shape, np.bool_) if stand_in is None else values == stand_in


def _texts(column: str, served: Array, offline: Array) -> Compared:
    left, right = served.tolist(), offline.tolist()
    differs = np.array([one != another for one, another in zip(left, right, strict=True)], np.bool_)
    online, present = (np.array([it is not None for it in values], np.bool_) for values in (left, right))
    return Compared(column, differs, differs, online, present, np.full(len(left), np.nan))
