"""Arrow columns of a file to the numpy columns that a signature describes."""

from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from taxiway.signature import Array, Column, ColumnType, Reject, RejectCode

Values: TypeAlias = "pa.Array[Any] | pa.ChunkedArray[Any]"


def plain_type(found: pa.DataType) -> pa.DataType:
    """The type of the values: a dictionary encoding says nothing about them."""
    return found.value_type if pa.types.is_dictionary(found) else found


def is_convertible(found: pa.DataType, dtype: ColumnType) -> bool:
    """Whether values of an Arrow type can be a signature's column at all; single rows may still fail."""
    values = plain_type(found)
    if pa.types.is_null(values):
        return True
    if dtype == "string":
        return natural_dtype(values) == "string"
    if dtype == "bool":
        return bool(pa.types.is_boolean(values))
    is_number = pa.types.is_integer(values) or pa.types.is_floating(values)
    return bool(is_number or (dtype == "float64" and pa.types.is_decimal(values)))


def is_moment(found: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(found) or pa.types.is_date(found) or pa.types.is_null(found))


def natural_dtype(found: pa.DataType) -> ColumnType | None:
    """The column type of a key that the signature does not describe; None for what can't be a key."""
    values = plain_type(found)
    if pa.types.is_string(values) or pa.types.is_large_string(values) or pa.types.is_string_view(values):
        return "string"
    if pa.types.is_boolean(values):
        return "bool"
    return "int64" if pa.types.is_integer(values) else None


def convert(column: Column, found: "pa.ChunkedArray[Any]") -> tuple[Array, list[Reject]]:
    """The values in the column's numpy form, and the rows that have none there.

    A refused row holds a placeholder.
    """
    values = _plain(found)
    if column.dtype == "string":
        return values.cast(pa.large_string()).to_numpy(zero_copy_only=False).astype(np.object_, copy=False), []
    if column.dtype == "float64":
        return _floats(values), []
    target = pa.bool_() if column.dtype == "bool" else pa.int64()
    whole: pa.Array[Any] = values.cast(target, safe=False)
    inexact = _inexact(column, values)
    if column.stored_dtype == "float64":
        return np.where(_is_missing(values), np.nan, _floats(whole)), inexact
    missing = missing_rows(column.name, column.dtype, values)
    return whole.fill_null(pa.scalar(0).cast(target)).to_numpy(zero_copy_only=False), missing + inexact


def moments(name: str, found: "pa.ChunkedArray[Any]") -> tuple[Array, list[Reject]]:
    """Timestamps as datetime64[us] in UTC (a timestamp without a zone is UTC), and the rows without one."""
    values = _plain(found).cast(pa.timestamp("us"), safe=False)
    return values.to_numpy(zero_copy_only=False), missing_rows(name, "timestamp", values)


def missing_rows(name: str, expected: str, values: Values) -> list[Reject]:
    """The rows that are null or NaN."""
    return _refused(name, _is_missing(values), RejectCode.MISSING_VALUE, values, expected)


def _plain(found: "pa.ChunkedArray[Any]") -> "pa.Array[Any]":
    return found.cast(plain_type(found.type)).combine_chunks()


def _is_missing(values: Values) -> Array:
    return values.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)


def _floats(values: "pa.Array[Any]") -> Array:
    numbers = values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
    return numbers.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _inexact(column: Column, values: "pa.Array[Any]") -> list[Reject]:
    """Rows whose number is not the same as an int64: 2.5, infinity, 2**63."""
    if column.dtype != "int64" or not (pa.types.is_floating(values.type) or pa.types.is_uint64(values.type)):
        return []
    filled = values.fill_null(0)
    cast = filled.cast(pa.int64(), safe=False)
    known, whole, back = (side.to_numpy() for side in (filled, cast, cast.cast(values.type, safe=False)))
    # 2**63 as uint64 comes back unchanged, by way of a negative number.
    differs = (back != known) | ((whole < 0) != (known < 0))
    return _refused(
        column.name, differs & ~_is_missing(values), RejectCode.WRONG_TYPE, values, "whole number of 64 bits"
    )


def _refused(name: str, mask: Array, code: RejectCode, values: Values, expected: str) -> list[Reject]:
    rows = np.flatnonzero(mask)
    if not len(rows):
        return []
    shown = ("nothing" if value is None or value != value else value for value in values.take(rows).to_pylist())
    return [Reject(rows, code, name, [f"got {value}, expected a {expected}" for value in shown])]
