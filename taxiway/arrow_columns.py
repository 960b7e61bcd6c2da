"""Arrow columns of a file to the numpy columns that a signature describes."""

from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from taxiway.arrow_tensors import Flattened, element_type, flattened, holds_tensors
from taxiway.signature import Array, Column, ColumnType, Reject, RejectCode

Values: TypeAlias = "pa.Array[Any] | pa.ChunkedArray[Any]"
_ARROW_TYPE: dict[str, Any] = {
    "bool": pa.bool_(),
    **{f"{sign}int{bits}": getattr(pa, f"{sign}int{bits}")() for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def plain_type(found: pa.DataType) -> pa.DataType:
    """The type of the values: a dictionary encoding says nothing about them."""
    return found.value_type if pa.types.is_dictionary(found) else found


def is_convertible(found: pa.DataType, dtype: ColumnType, shape: Sequence[int] = ()) -> bool:
    """Whether values of an Arrow type can be a signature's column at all; single rows may still fail."""
    values = plain_type(found)
    if pa.types.is_null(values):
        return True
    if shape:
        return holds_tensors(values, shape) and is_convertible(element_type(values), dtype)
    if dtype == "string":
        return natural_dtype(values) == "string"
    if dtype == "bytes":
        return _is_bytes(values) or natural_dtype(values) == "string"
    if dtype == "bool":
        return bool(pa.types.is_boolean(values))
    is_number = pa.types.is_integer(values) or pa.types.is_floating(values)
    return bool(is_number or (dtype.startswith("float") and pa.types.is_decimal(values)))


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

    A refused row holds a placeholder. Rows of a tensor may be nested lists or flat ones.
    """
    values = _plain(found)
    return _tensors(column, values) if column.shape else _scalars(column, values)


def _scalars(column: Column, values: "pa.Array[Any]") -> tuple[Array, list[Reject]]:
    if column.is_object:
        target = pa.large_string() if column.dtype == "string" else pa.large_binary()
        return values.cast(target).to_numpy(zero_copy_only=False).astype(np.object_, copy=False), []
    if column.dtype.startswith("float"):
        with np.errstate(over="ignore"):
            return _floats(values).astype(column.numpy_dtype, copy=False), []
    target = _ARROW_TYPE[column.dtype]
    whole: pa.Array[Any] = values.cast(target, safe=False)
    inexact = _inexact(column, values) + _too_large(column, values)
    if column.stored_dtype == "float64":
        return np.where(_is_missing(values), np.nan, _floats(whole)), inexact
    missing = missing_rows(column.name, column.dtype, values)
    return whole.fill_null(pa.scalar(0).cast(target)).to_numpy(zero_copy_only=False), missing + inexact


def _tensors(column: Column, values: "pa.Array[Any]") -> tuple[Array, list[Reject]]:
    """All elements are converted as one long column of single values; what is refused among them refuses its row."""
    flat = flattened(values, column.shape)
    leaves = flat.elements.cast(plain_type(flat.elements.type))
    elements, refused = _scalars(column.model_copy(update={"shape": ()}), leaves)
    blank = None if column.is_object else np.nan if column.numpy_dtype.kind == "f" else 0
    tensors = np.full((len(values), *flat.shape), blank, column.numpy_dtype)
    tensors[flat.rows] = elements.reshape(len(flat.rows), *flat.shape)
    rejects = [_of_rows(reject, flat.rows, prod(flat.shape)) for reject in refused]
    if column.numpy_dtype.kind not in "fO":
        rejects += _refused(column.name, flat.missing, RejectCode.MISSING_VALUE, values, column.dtype)
    return tensors, rejects + _odd_rows(column, flat)


def _odd_rows(column: Column, flat: Flattened) -> list[Reject]:
    rows = np.flatnonzero(flat.odd)
    if not len(rows):
        return []
    same = f", here {list(flat.shape)} as in the rows beside it" if -1 in column.shape else ""
    reason = f"expected a tensor of shape {list(column.shape)}{same}"
    return [Reject(rows, RejectCode.WRONG_SHAPE, column.name, [reason] * len(rows))]


def _of_rows(refused: Reject, rows: Array, size: int) -> Reject:
    """A refusal of elements as one of the rows that hold them, with the first element's reason."""
    positions, first = np.unique(refused.rows // size, return_index=True)
    reasons = [refused.reasons[place] for place in first]
    return Reject(rows[positions], refused.code, refused.field, reasons)


def moments(name: str, found: "pa.ChunkedArray[Any]") -> tuple[Array, list[Reject]]:
    """Timestamps as datetime64[us] in UTC (a timestamp without a zone is UTC), and the rows without one."""
    values = _plain(found).cast(pa.timestamp("us"), safe=False)
    return values.to_numpy(zero_copy_only=False), missing_rows(name, "timestamp", values)


def missing_rows(name: str, expected: str, values: Values) -> list[Reject]:
    """The rows that are null or NaN."""
    return _refused(name, _is_missing(values), RejectCode.MISSING_VALUE, values, expected)


def _is_bytes(found: pa.DataType) -> bool:
    is_binary = pa.types.is_binary(found) or pa.types.is_large_binary(found) or pa.types.is_binary_view(found)
    return bool(is_binary or pa.types.is_fixed_size_binary(found))


def _plain(found: "pa.ChunkedArray[Any]") -> "pa.Array[Any]":
    return found.cast(plain_type(found.type)).combine_chunks()


def _is_missing(values: Values) -> Array:
    return values.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)


def _floats(values: "pa.Array[Any]") -> Array:
    numbers = values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
    return numbers.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _inexact(column: Column, values: "pa.Array[Any]") -> list[Reject]:
    """Rows whose number is not the same as a 64-bit integer: 2.5, infinity, 2**63."""
    if column.dtype == "bool" or not (pa.types.is_floating(values.type) or pa.types.is_uint64(values.type)):
        return []
    wide = pa.uint64() if column.dtype == "uint64" else pa.int64()
    if values.type == wide:
        return []
    filled = values.fill_null(0)
    cast = filled.cast(wide, safe=False)
    known, whole, back = (side.to_numpy() for side in (filled, cast, cast.cast(values.type, safe=False)))
    # 2**63 as uint64 comes back unchanged, by way of a negative number.
    differs = (back != known) | ((whole < 0) != (known < 0))
    return _refused(
        column.name, differs & ~_is_missing(values), RejectCode.WRONG_TYPE, values, "whole number of 64 bits"
    )


def _too_large(column: Column, values: "pa.Array[Any]") -> list[Reject]:
    """Rows whose whole number needs more bits than the column has, or a sign."""
    if column.dtype in ("bool", "int64") or pa.types.is_null(values.type):
        return []
    limits = np.iinfo(column.dtype)
    known = values.fill_null(0).to_numpy(zero_copy_only=False)
    beyond = (known < limits.min) | (known > limits.max)
    return _refused(column.name, beyond, RejectCode.OUT_OF_RANGE, values, f"number of {limits.min} to {limits.max}")


def _refused(name: str, mask: Array, code: RejectCode, values: Values, expected: str) -> list[Reject]:
    rows = np.flatnonzero(mask)
    if not len(rows):
        return []
    shown = ("nothing" if value is None or value != value else value for value in values.take(rows).to_pylist())
    return [Reject(rows, code, name, [f"got {value}, expected a {expected}" for value in shown])]
