"""Rows and columns, as clients that declare no types nest them in JSON, to the columns of a request.

The model's own columns say how to read them. They come out in the model's order: requests whose keys
stand in another order still make one batch.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

from taxiway.errors import InvalidInput, PayloadTooLarge
from taxiway.inference import InferRequest, JsonColumn, ModelInterface
from taxiway.json_values import json_type, to_array
from taxiway.signature import Array, Column, RejectCode, missing_values

ColumnValues = Mapping[str, list[Any]]
"""One JSON value a row for each column; all of one length."""


def sole_input(model: ModelInterface) -> Column | None:
    """The input that a bare value means: the only required one, or the only one."""
    required = [column for column in model.inputs.values() if column.is_required]
    candidates = required or list(model.inputs.values())
    return candidates[0] if len(candidates) == 1 else None


def from_rows(rows: Any, model: ModelInterface, where: str) -> ColumnValues:
    """Columns of a list of rows: objects by name, lists by position, or the bare values of a sole input.

    In an object a single value may come as a list of one, as a tensor of shape [1] is written.

    Raises:
        InvalidInput: the rows don't fit the model's inputs; `where` is the key that holds them.
        PayloadTooLarge: too many rows.
    """
    if not isinstance(rows, list):
        raise InvalidInput(RejectCode.WRONG_TYPE, where, f"expected a list of rows, got {json_type(rows)}")
    check_row_count(len(rows), model, where)
    kinds = set(map(type, rows))
    if kinds == {dict} and not _are_base64_of_sole(rows, model):
        return _from_records(rows, model)
    sole = sole_input(model)
    if sole is not None and (sole.shape or list not in kinds):
        return {sole.name: rows}
    if kinds == {list}:
        return from_matrix(rows, positional_names(len(rows[0]), model, where), where)
    odd = next((row for row in rows if not isinstance(row, type(rows[0]))), rows[0])
    reason = f"expected each row as an object {{column: value}}, or each as a list, got {json_type(odd)}"
    raise InvalidInput(RejectCode.WRONG_TYPE, where, reason)


def check_row_count(rows: int, model: ModelInterface, where: str) -> None:
    if rows == 0:
        raise InvalidInput(RejectCode.WRONG_SHAPE, where, "expected at least one row, got none")
    if rows > model.max_rows:
        raise PayloadTooLarge(f"the request has {rows} rows, at most {model.max_rows} are taken; send several requests")


def _are_base64_of_sole(rows: list[dict[str, Any]], model: ModelInterface) -> bool:
    if not all(row.keys() == {"b64"} for row in rows):
        return False
    sole = sole_input(model)
    return sole is not None and sole.is_object and "b64" not in model.inputs


def _from_records(rows: list[dict[str, Any]], model: ModelInterface) -> ColumnValues:
    found: set[str] = set().union(*rows)
    check_names(found, model)
    columns = {name: [row.get(name) for row in rows] for name in model.inputs if name in found}
    for name, values in columns.items():
        if type(values[0]) is list:
            columns[name] = _unnested(model.inputs[name], values)
    return columns


def check_names(names: Collection[str], model: ModelInterface) -> None:
    for name in names:
        if name not in model.inputs:
            reason = f"this model has no such input; it takes {', '.join(model.inputs)}"
            raise InvalidInput(RejectCode.UNKNOWN_COLUMN, name[:80], reason)


def from_matrix(rows: list[list[Any]], names: Sequence[str], where: str) -> ColumnValues:
    """Columns of rows that hold one value for each of `names`."""
    for position, row in enumerate(rows):
        if len(row) != len(names):
            reason = f"row {position} has {len(row)} values, expected {len(names)}: {', '.join(names)}"
            raise InvalidInput(RejectCode.WRONG_SHAPE, where, reason)
    return {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def positional_names(width: int, model: ModelInterface, where: str) -> tuple[str, ...]:
    """Which inputs the values of a row without names are: the required ones, or all of them."""
    for names in model.positional:
        if width == len(names):
            return names
    required, _ = model.positional
    both = f"{len(required)} or {len(model.inputs)}" if len(required) < len(model.inputs) else str(len(required))
    reason = f"row 0 has {width} values, this model takes {both}: {', '.join(model.inputs)}"
    raise InvalidInput(RejectCode.WRONG_SHAPE, where, reason)


def from_columns(columns: Any, model: ModelInterface, where: str) -> ColumnValues:
    """Columns that come as such: an object of lists, or the bare list of a sole input's values.

    A column of single values may come as [n, 1].

    Raises:
        InvalidInput: the columns don't fit the model's inputs; `where` is the key that holds them.
        PayloadTooLarge: too many rows.
    """
    if not isinstance(columns, dict):
        sole = sole_input(model)
        if sole is None or not isinstance(columns, list):
            reason = f"expected an object {{column: [values]}}, got {json_type(columns)}"
            raise InvalidInput(RejectCode.WRONG_TYPE, where, reason)
        columns = {sole.name: columns}
    check_names(columns, model)
    rows = -1
    for name, values in columns.items():
        if not isinstance(values, list):
            reason = f"expected a list with one value for each row, got {json_type(values)}"
            raise InvalidInput(RejectCode.WRONG_TYPE, name, reason)
        if rows not in (-1, len(values)):
            first = next(iter(columns))
            reason = f"has {len(values)} rows where {first!r} has {rows}; every input needs the same number"
            raise InvalidInput(RejectCode.WRONG_SHAPE, name, reason)
        rows = len(values)
    check_row_count(max(rows, 0), model, where)
    return {name: _unnested(column, columns[name]) for name, column in model.inputs.items() if name in columns}


def _unnested(column: Column, values: list[Any]) -> list[Any]:
    if column.shape or not isinstance(values[0], list):
        return values
    if not all(isinstance(value, list) and len(value) == 1 for value in values):
        raise InvalidInput(RejectCode.WRONG_SHAPE, column.name, "expected one value for each row, got lists of values")
    return [value[0] for value in values]


def to_request(columns: ColumnValues, model: ModelInterface, answer_form: Any = None) -> InferRequest:
    """Single values stay as JSON gave them until their batch is made; tensors become arrays now.

    Raises:
        InvalidInput: no column at all, or a tensor with a wrong shape or value.
    """
    if not columns:
        first = next(iter(model.inputs), "inputs")
        reason = f"the rows name no input at all; this model takes {', '.join(model.inputs)}"
        raise InvalidInput(RejectCode.MISSING_COLUMN, first, reason)
    rows = len(next(iter(columns.values())))
    return InferRequest(
        id=None,
        columns={
            name: to_tensor(column, columns[name]) if column.shape else JsonColumn(columns[name])
            for name, column in model.inputs.items()
            if name in columns
        },
        rows=rows,
        answer_form=answer_form,
    )


def to_tensor(column: Column, values: list[Any]) -> Array:
    """An array [rows, *shape] of one nested list a row; null is a missing tensor, or a missing number in one.

    Raises:
        InvalidInput: a row has another shape, or a value another type.
    """
    present = [value for value in values if value is not None]
    if len(present) == len(values):
        return _dense(column, values)
    if not column.nullable or -1 in column.shape:
        reason = f"got nothing, expected a {column.dtype} tensor of shape {list(column.shape)}"
        raise InvalidInput(RejectCode.MISSING_VALUE, column.name, reason)
    spread = missing_values(column, len(values))
    spread[[value is not None for value in values]] = _dense(column, present)
    return spread


def _dense(column: Column, values: list[Any]) -> Array:
    flat = values
    shape: list[int] = []
    for wanted in column.shape:
        if not {list}.issuperset(map(type, flat)):
            odd = next(value for value in flat if not isinstance(value, list))
            raise _wrong_shape(column, f"got {json_type(odd)} where a list must be")
        sizes = set(map(len, flat)) or {max(wanted, 0)}
        if len(sizes) > 1:
            raise _wrong_shape(column, f"got lists of {min(sizes)} and of {max(sizes)} values side by side")
        size = sizes.pop()
        if wanted not in (-1, size):
            raise _wrong_shape(column, f"got a list of {size} values")
        shape.append(size)
        flat = list(chain.from_iterable(flat))
    if list in set(map(type, flat)):
        raise _wrong_shape(column, "got lists that are nested deeper")
    return to_array(column, flat, None).reshape(len(values), *shape)


def _wrong_shape(column: Column, found: str) -> InvalidInput:
    return InvalidInput(
        RejectCode.WRONG_SHAPE, column.name, f"expected tensors of shape {list(column.shape)} in each row, {found}"
    )
