"""A small history in memory, sorted once, in which every row's features are found by two binary searches."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from taxiway.signature import Array

Ints = NDArray[np.int64]
ArrowArray = Any
# Doubles hold every integer below.
_EXACT = 2**53


@dataclass(frozen=True)
class KeyCodes:
    """Numbers for the different keys of a history; -1 for a key that it does not have.

    Args:
        values: the different values of each key column.
        pairs: for each column but the first, the different (code of the columns before, code of this one),
            as one number each, ascending; a pair's place is its code.
    """

    values: tuple[ArrowArray, ...]
    pairs: tuple[Ints, ...]

    @classmethod
    def of(cls, columns: Sequence[ArrowArray]) -> tuple["KeyCodes", Ints]:
        """The codes of a history's keys, and the code of each row."""
        values = tuple(pc.unique(column).drop_null() for column in columns)
        codes, pairs = _places(columns[0], values[0]), []
        for column, known in zip(columns[1:], values[1:], strict=True):
            paired = _paired(codes, _places(column, known), len(known))
            pairs.append(np.unique(paired[paired >= 0]))
            codes = _found(pairs[-1], paired)
        return cls(values, tuple(pairs)), codes

    def codes(self, columns: Sequence[ArrowArray]) -> Ints:
        """The code of each asked key; columns as `comparable` makes them."""
        codes = _places(columns[0], self.values[0])
        for column, known, pairs in zip(columns[1:], self.values[1:], self.pairs, strict=True):
            codes = _found(pairs, _paired(codes, _places(column, known), len(known)))
        return codes


class SortedHistory:
    """A view's history in the order of key and moment; of one key and moment the last created stands last.

    Args:
        table: `key_0`..., `moment` (int64, microseconds), perhaps `created`, then `feature_0`... (doubles), in the
            order of the file. Memory in the end: 16 bytes a row and 8 more for each feature.
    """

    def __init__(self, table: pa.Table, keys: int) -> None:
        columns = [comparable(table.column(f"key_{place}").combine_chunks()) for place in range(keys)]
        self._keys, codes = KeyCodes.of(columns)
        moments = table.column("moment").to_numpy()
        order = _order(table, codes, moments)
        self._moments = moments[order]
        self._places = codes[order] * self._width + np.searchsorted(self._times, self._moments) + 1
        names = [name for name in table.column_names if name.startswith("feature_")]
        self._features = [table.column(name).to_numpy()[order] for name in names]

    @cached_property
    def _times(self) -> Ints:
        return np.unique(self._moments)

    @cached_property
    def _width(self) -> int:
        return len(self._times) + 1

    def join(self, keys: Sequence[ArrowArray], moments: Ints, ttl_us: int | None) -> list[Array]:
        """Every feature as of `moments` (microseconds); NaN where there is none, or it is older than `ttl_us`."""
        if not len(self._moments):
            return [np.full(len(moments), np.nan) for _ in self._features]
        codes = self._keys.codes(keys)
        asked = codes * self._width + np.searchsorted(self._times, moments, side="right")
        at = np.searchsorted(self._places, asked, side="right") - 1
        known = (codes >= 0) & (at >= 0)
        # The entry before may be another key's: a place below this key's first.
        known[known] = self._places[at[known]] > codes[known] * self._width
        if ttl_us is not None:
            known[known] = moments[known] - self._moments[at[known]] <= ttl_us
        return [np.where(known, values.take(at, mode="clip"), np.nan) for values in self._features]


def comparable(keys: ArrowArray) -> ArrowArray | None:
    """Keys as text or int64; None where equality of those could differ from DuckDB's between the two types."""
    kind = keys.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return keys.cast(pa.string())
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return keys.cast(pa.int64())
    if kind != pa.float64():
        return None
    values = keys.to_numpy(zero_copy_only=False)
    if bool((np.abs(values) >= _EXACT).any()):
        return None
    whole = values == np.floor(values)
    return pa.array(np.where(whole, values, 0).astype(np.int64), mask=~whole)


def _order(table: pa.Table, codes: Ints, moments: Ints) -> NDArray[np.intp]:
    """Sorts by key, moment, time of creation (none first) and place in the file, without the rows that lack a key."""
    columns = [moments, codes]
    if "created" in table.column_names:
        created: ArrowArray = table.column("created")
        columns.insert(0, created.fill_null(np.iinfo(np.int64).min).to_numpy())
    order = np.lexsort(columns)
    return order[np.searchsorted(codes[order], 0) :]


def _places(column: ArrowArray, known: ArrowArray) -> Ints:
    found: ArrowArray = pc.index_in(column, value_set=known, skip_nulls=True)
    return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)


def _paired(first: Ints, second: Ints, width: int) -> Ints:
    return np.where((first >= 0) & (second >= 0), first * width + second, -1)


def _found(ascending: Ints, values: Ints) -> Ints:
    """The place of each value, -1 for a stranger."""
    if not len(ascending):
        return np.full(len(values), -1, np.int64)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return np.where(ascending[at] == values, at, -1)
