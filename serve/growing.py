"""Columns that grow: rows of many small batches, copied side by side as they come."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from taxiway.signature import Array, Columns

_FIRST_BYTES = 16_384


class _Block:
    """Columns of one table with the same type and shape, as one array [columns, rows, ...]: one copy serves all."""

    def __init__(self, table: int, names: Sequence[str], like: Array, room: int) -> None:
        self.table = table
        self.names = names
        self._shape, self._dtype = like.shape[1:], like.dtype
        self._of = itemgetter(*names) if len(names) > 1 else lambda columns: (columns[names[0]],)
        self._values = self._empty(room)

    def _empty(self, room: int) -> Array:
        return np.empty((len(self.names), room, *self._shape), self._dtype)

    def put(self, tables: Sequence[Columns], begin: int, end: int) -> None:
        """Raises KeyError, TypeError or ValueError for another layout."""
        # Of another type nothing is converted: that would be another value in the log.
        joined: Any = np.concatenate(self._of(tables[self.table]), dtype=self._dtype, casting="no")
        if joined.shape[1:] != self._shape:
            raise ValueError("another shape")
        self._values[:, begin:end] = joined.reshape(len(self.names), end - begin, *self._shape)

    def grow(self, room: int, rows: int) -> None:
        before, self._values = self._values, self._empty(room)
        self._values[:, :rows] = before[:, :rows]

    def column(self, name: str, rows: int) -> Array:
        found: Array = self._values[self.names.index(name), :rows]
        return found


class GrowingColumns:
    """Rows of some tables that grow together, all of one layout: the same names, types and shapes.

    A row that is copied at once costs less than one whose array is kept: what it came in is freed while the cache
    still holds it, and nobody has to join thousands of arrays later.

    Args:
        like: the tables, with the layout that all rows have.
    """

    def __init__(self, like: Sequence[Columns]) -> None:
        self.rows = 0
        self._names = [list(columns) for columns in like]
        arrays = [values for columns in like for values in columns.values()]
        row_bytes = sum(values.dtype.itemsize * int(np.prod(values.shape[1:])) for values in arrays)
        self._room = 1 + _FIRST_BYTES // max(row_bytes, 1)
        self._blocks = [block for table, columns in enumerate(like) for block in _blocks(table, columns, self._room)]

    def append(self, tables: Sequence[Columns], rows: int) -> bool:
        """Copies `rows` rows; False, and nothing is there, where the layout is another one."""
        for columns, names in zip(tables, self._names, strict=True):
            if len(columns) != len(names):
                return False
        begin, end = self.rows, self.rows + rows
        if end > self._room:
            self._grow(end)
        try:
            for block in self._blocks:
                block.put(tables, begin, end)
        except (KeyError, TypeError, ValueError):
            return False
        self.rows = end
        return True

    def _grow(self, rows: int) -> None:
        self._room = max(rows, 2 * self._room)
        for block in self._blocks:
            block.grow(self._room, self.rows)

    def tables(self) -> tuple[Columns, ...]:
        """All rows, not copied: nothing may be appended afterwards."""
        found: list[Columns] = []
        for table, names in enumerate(self._names):
            of_name = {name: block for block in self._blocks if block.table == table for name in block.names}
            found.append({name: of_name[name].column(name, self.rows) for name in names})
        return tuple(found)


def _blocks(table: int, columns: Columns, room: int) -> list[_Block]:
    alike: dict[Any, list[str]] = {}
    for name, values in columns.items():
        alike.setdefault((values.dtype, values.shape[1:]), []).append(name)
    return [_Block(table, names, columns[names[0]], room) for names in alike.values()]
