"""What goes into a model and what comes out: named columns, their types and their rules.

A column of n rows is a numpy array of shape [n] or, where a row is a tensor, [n, ...]: numbers (NaN is a
missing value of a float) or object (str or bytes, None is a missing value). A nullable bool or integer
column is float64, always: what a value becomes must not depend on whether a neighbour is missing. The
same rules hold for a request and for a row of a scoring job.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from taxiway.errors import InvalidInput
from taxiway.settings import Settings

ColumnType = Literal[
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "string",
    "bytes",
]
Array = NDArray[Any]
Columns = Mapping[str, Array]


class RejectCode(StrEnum):
    """Why a row can't be predicted; the codes of the quarantine and of 400 answers."""

    MISSING_COLUMN = "missing_column"
    UNKNOWN_COLUMN = "unknown_column"
    WRONG_TYPE = "wrong_type"
    WRONG_SHAPE = "wrong_shape"
    MISSING_VALUE = "missing_value"
    NOT_FINITE = "not_finite"
    UNKNOWN_CATEGORY = "unknown_category"
    OUT_OF_RANGE = "out_of_range"
    UNKNOWN_ENTITY = "unknown_entity"
    MODEL_FAILED = "model_failed"
    MALFORMED_ROW = "malformed_row"


@dataclass(frozen=True)
class Reject:
    """Rows that one rule refuses: their positions, the code, the column, and for each row a sentence."""

    rows: NDArray[np.intp]
    code: RejectCode
    field: str
    reasons: Sequence[str]


class Column(Settings):
    """One named column. `minimum` and `maximum` are inclusive; `categories` closes the set of strings."""

    name: str
    dtype: ColumnType
    shape: tuple[int, ...] = Field(default=(), description="of one row's value; -1 is any size")
    nullable: bool = Field(default=False, description="values may be missing")
    required: bool | None = Field(default=None, description="must be there; null: unless it is nullable")
    finite: bool = Field(default=True, description="refuses infinite numbers")
    categories: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    description: str = ""

    @model_validator(mode="after")
    def _rules_that_apply(self) -> "Column":
        if self.categories is not None and self.dtype != "string":
            raise ValueError(f"{self.name}: categories are for strings, not for {self.dtype}")
        if (self.minimum, self.maximum) != (None, None) and self.dtype in ("string", "bytes", "bool"):
            raise ValueError(f"{self.name}: minimum and maximum are for numbers, not for {self.dtype}")
        if self.shape and (self.minimum, self.maximum, self.categories) != (None, None, None):
            raise ValueError(f"{self.name}: minimum, maximum and categories are for single values, not for tensors")
        return self

    @property
    def is_required(self) -> bool:
        return not self.nullable if self.required is None else self.required

    @property
    def is_object(self) -> bool:
        """Strings and bytes: Python objects in the array, None is missing."""
        return self.dtype in ("string", "bytes")

    @cached_property
    def stored_dtype(self) -> ColumnType:
        """The type of the values in memory: only floats, strings and bytes can be missing."""
        can_be_missing = self.is_object or self.dtype.startswith("float")
        return self.dtype if can_be_missing or not self.nullable else "float64"

    @cached_property
    def numpy_dtype(self) -> np.dtype[Any]:
        return np.dtype(np.object_ if self.is_object else self.stored_dtype)

    def takes_shape(self, shape: Sequence[int]) -> bool:
        """Whether a row's value may have this shape."""
        return len(shape) == len(self.shape) and all(
            wanted in (-1, size) for wanted, size in zip(self.shape, shape, strict=True)
        )

    @cached_property
    def category_index(self) -> dict[str, int]:
        """The position of each category: the code under which the model knows it."""
        return {category: code for code, category in enumerate(self.categories or ())}

    def rejects(self, values: Array) -> list[Reject]:
        """The rules that some of `values` (of this column's own numpy type) break, the first one first."""
        found = []
        if self.shape:
            missing = _rows_with(self._missing(values))
            if self.finite and values.dtype.kind == "f":
                found += self._reject(_rows_with(np.isinf(values)), RejectCode.NOT_FINITE, values, "finite numbers")
        elif self.is_object:
            missing = self._missing(values)
            if self.categories is not None:
                known = self.category_index
                unknown = np.fromiter((value not in known for value in values), np.bool_, len(values)) & ~missing
                found += self._reject(unknown, RejectCode.UNKNOWN_CATEGORY, values, f"one of {', '.join(known)}")
        else:
            missing = self._missing(values)
            if self.finite and values.dtype.kind == "f":
                found += self._reject(np.isinf(values), RejectCode.NOT_FINITE, values, "a finite number")
        if not self.nullable:
            found += self._reject(missing, RejectCode.MISSING_VALUE, values, f"a {self.dtype}")
        if self.minimum is not None:
            found += self._reject(values < self.minimum, RejectCode.OUT_OF_RANGE, values, f"at least {self.minimum:g}")
        if self.maximum is not None:
            found += self._reject(values > self.maximum, RejectCode.OUT_OF_RANGE, values, f"at most {self.maximum:g}")
        return found

    def _missing(self, values: Array) -> Array:
        if self.is_object:
            return np.asarray(values == None)  # noqa: E711 - element by element
        if values.dtype.kind == "f":
            return np.isnan(values)
        return np.zeros(len(values), np.bool_)

    def _reject(self, broken: Array, code: RejectCode, values: Array, expected: str) -> list[Reject]:
        if not broken.any():
            return []
        rows = np.flatnonzero(broken)
        return [Reject(rows, code, self.name, [f"got {_shown(value)}, expected {expected}" for value in values[rows]])]


def _rows_with(broken: Array) -> Array:
    """Which rows have something true in them."""
    return np.asarray(broken.reshape(len(broken), -1).any(axis=1))


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"a tensor of shape {list(value.shape)}"
    if value is None or value != value:
        return "nothing"
    return repr(value[:80]) if isinstance(value, str | bytes) else str(value)


class Signature(Settings):
    """The columns that a request brings and the columns that an answer holds, in order."""

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]

    @cached_property
    def input_by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.inputs}

    def rejects(self, columns: Columns) -> list[Reject]:
        """Every rule of the inputs that some row of `columns` breaks.

        Raises:
            InvalidInput: a column of the signature is not there at all.
        """
        found = []
        for column in self.inputs:
            if column.name not in columns:
                if not column.is_required:
                    continue
                raise InvalidInput(
                    RejectCode.MISSING_COLUMN, column.name, f"this input is required, a {column.dtype} for each row"
                )
            found += column.rejects(columns[column.name])
        return found


def missing_values(column: Column, rows: int) -> Array:
    """What stands for a column that a request leaves out; a size of -1 becomes 1."""
    shape = (rows, *(max(size, 1) for size in column.shape))
    return np.full(shape, None if column.is_object else np.nan, dtype=column.numpy_dtype)


def row_count(columns: Columns) -> int:
    return len(next(iter(columns.values()))) if columns else 0


def take(columns: Columns, rows: slice | NDArray[Any]) -> dict[str, Array]:
    return {name: values[rows] for name, values in columns.items()}


def concatenate(parts: Sequence[Columns]) -> dict[str, Array]:
    """The rows of all parts, in order; every part has the same columns."""
    if len(parts) == 1:
        return dict(parts[0])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
