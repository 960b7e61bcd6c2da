"""A column of the labels file as the signature wants it."""

from typing import Any

import numpy as np
import pyarrow as pa

from taxiway.errors import ConfigError
from taxiway.signature import Array, Column, Reject, RejectCode


def column_values(column: Column, values: "pa.ChunkedArray[Any]") -> tuple[Array, list[Reject]]:
    """A column of a file as the signature wants it, and the rows whose value can't become one.

    Raises:
        ConfigError: the whole column has another type.
    """
    found = values.type
    if pa.types.is_null(found):
        values = values.cast({"string": pa.string(), "bool": pa.bool_()}.get(column.dtype, pa.float64()))
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if column.dtype == "string" and (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return values.to_numpy(), []
    if column.dtype == "bool" and pa.types.is_boolean(values.type):
        return _numbers(column, values.cast(pa.int8()), np.bool_)
    if column.dtype in ("int64", "float64") and (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return _numbers(column, values, np.int64 if column.dtype == "int64" else np.float64)
    raise ConfigError(f"labels: column {column.name} is {found}, expected {column.dtype}")


def _numbers(column: Column, values: "pa.ChunkedArray[Any]", dtype: type[Any]) -> tuple[Array, list[Reject]]:
    if dtype is np.float64:
        return values.cast(pa.float64()).to_numpy(), []
    if not values.null_count and pa.types.is_integer(values.type):
        return values.to_numpy().astype(dtype), []
    numbers = values.cast(pa.float64()).to_numpy()
    missing = np.isnan(numbers)
    with np.errstate(invalid="ignore"):
        broken = ~missing & (numbers % 1 != 0)
    rejects = [_reject(column, broken, RejectCode.WRONG_TYPE, "expected a whole number")]
    if column.nullable:
        return numbers, [reject for reject in rejects if len(reject.rows)]
    rejects.append(_reject(column, missing, RejectCode.MISSING_VALUE, "a value is required"))
    whole = np.where(np.isfinite(numbers), numbers, 0.0).astype(dtype)
    return whole, [reject for reject in rejects if len(reject.rows)]


def _reject(column: Column, bad: Array, code: RejectCode, reason: str) -> Reject:
    rows = np.flatnonzero(bad)
    return Reject(rows, code, column.name, [reason] * len(rows))
