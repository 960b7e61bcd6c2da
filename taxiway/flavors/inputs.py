"""Named columns in the form in which MLflow hands them to a model, and as one matrix where that says the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike

from taxiway.signature import Array, Column, Columns

InputForm = Literal["frame", "numbered_frame", "tensor", "tensors"]
"""A DataFrame with names or with positions, one array, or a dict of arrays."""


@dataclass(frozen=True)
class Inputs:
    """The columns that a model takes and the form that it takes them in."""

    columns: tuple[Column, ...]
    form: InputForm

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def is_frame(self) -> bool:
        return self.form in ("frame", "numbered_frame")

    @property
    def is_numeric_frame(self) -> bool:
        return self.is_frame and all(column.numpy_dtype.kind in "fiu" for column in self.columns)

    def present(self, columns: Columns) -> Any:
        """What MLflow passes to the model."""
        if self.form == "tensor":
            return columns[self.columns[0].name]
        named = {name: columns[name] for name in self.names}
        if self.form == "tensors":
            return named
        return pd.DataFrame(named if self.form == "frame" else dict(enumerate(named.values())))

    def matrix(self, columns: Columns, dtype: DTypeLike) -> Array:
        """Columns side by side. They are adjacent in memory, as a DataFrame's are: sums must not round otherwise."""
        names = self.names
        matrix = np.empty((len(names), len(columns[names[0]])), dtype)
        for position, name in enumerate(names):
            matrix[position] = columns[name]
        return matrix.T


def inputs_of(columns: Sequence[Column]) -> Inputs:
    """How a model of our own package takes its columns: a DataFrame, unless one of them holds tensors."""
    if not any(column.shape for column in columns):
        return Inputs(tuple(columns), "frame")
    return Inputs(tuple(columns), "tensor" if len(columns) == 1 else "tensors")


def empty_values(column: Column, rows: int) -> Array:
    """Plausible values; a size of -1 becomes 1."""
    shape = (rows, *(max(size, 1) for size in column.shape))
    if not column.is_object:
        return np.zeros(shape, column.numpy_dtype)
    text = column.categories[0] if column.categories else ""
    return np.full(shape, text if column.dtype == "string" else b"", dtype=np.object_)
