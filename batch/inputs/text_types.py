"""Values of text files in their column's type: what can't be one is refused by itself, its neighbours stay."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from taxiway.signature import Column, Reject, RejectCode

TEXT_TYPES: Mapping[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
}
_MISSING = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None")


def type_of(column: Column) -> pa.DataType:
    """In which type a text file's values of a signature's column are read."""
    if column.shape:
        return pa.list_(type_of(column.model_copy(update={"shape": ()})))
    if column.is_object:
        return pa.string()
    if column.dtype == "bool":
        return pa.bool_()
    return pa.float64() if column.dtype.startswith("float") else pa.int64()


def natural_type(values: Sequence[Any]) -> pa.DataType:
    """Of JSON values; texts where they do not agree."""
    try:
        found = pa.array([value for value in values if value is not None]).type
    except (pa.ArrowException, TypeError, OverflowError):
        return pa.string()
    return pa.string() if pa.types.is_null(found) else found


def typed(name: str, raw: Any, rows: int, kind: pa.DataType) -> tuple["pa.Array[Any]", list[Reject]]:
    """A column of `kind`, null where a value is refused.

    Args:
        raw: texts of CSV as an Arrow array, values of JSON as a list, None for a column that is not there.
    """
    if raw is None:
        return _nulls(rows, kind), []
    if isinstance(raw, list):
        values, bad = _of_json(raw, kind)
    else:
        texts = raw.combine_chunks() if isinstance(raw, pa.ChunkedArray) else raw
        values, bad = _of_texts(texts, kind)
    if not bad:
        return values, []
    shown = raw if isinstance(raw, list) else raw.to_pylist()
    reasons = [f"got {str(shown[row])[:80]!r}, expected a {kind}" for row in bad]
    return values, [Reject(np.array(bad, np.intp), RejectCode.WRONG_TYPE, name, reasons)]


def _of_json(values: list[Any], kind: pa.DataType) -> tuple["pa.Array[Any]", list[int]]:
    if not _confused(values, kind):
        try:
            return _array(values, kind), []
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass
    return _one_by_one(values, lambda value: None if _confused([value], kind) else _array([value], kind), kind)


def _array(values: list[Any], kind: pa.DataType) -> "pa.Array[Any]":
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.string()).cast(kind)
    return pa.array(values, kind)


def _confused(values: list[Any], kind: pa.DataType) -> bool:
    """Whether Arrow would take a truth value for a number, or cut a fraction off."""
    if pa.types.is_integer(kind):
        return any(type(value) is bool or (type(value) is float and not value.is_integer()) for value in values)
    return pa.types.is_floating(kind) and any(type(value) is bool for value in values)


def _of_texts(texts: "pa.Array[Any]", kind: pa.DataType) -> tuple["pa.Array[Any]", list[int]]:
    if pa.types.is_string(kind):
        return texts, []
    trimmed = pc.utf8_trim_whitespace(texts)
    cleaned = pc.if_else(pc.is_in(trimmed, value_set=pa.array(_MISSING)), pa.scalar(None, pa.string()), trimmed)
    try:
        return _parsed(cleaned, kind), []
    except pa.ArrowException:
        return _one_by_one(cleaned.to_pylist(), lambda value: _parsed(pa.array([value], pa.string()), kind), kind)


def _parsed(texts: "pa.Array[Any]", kind: pa.DataType) -> "pa.Array[Any]":
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            return texts.cast(pa.timestamp(kind.unit)).cast(kind)
    return texts.cast(kind)


def _one_by_one(
    values: list[Any], convert: Callable[[Any], Any], kind: pa.DataType
) -> tuple["pa.Array[Any]", list[int]]:
    converted, bad = [], []
    for row, value in enumerate(values):
        try:
            one = convert(value)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            one = None
        if one is None:
            bad.append(row)
        converted.append(one)
    return pa.concat_arrays([_nulls(1, kind) if one is None else one for one in converted]), bad


def _nulls(rows: int, kind: pa.DataType) -> "pa.Array[Any]":
    return pa.array([None] * rows, kind)
