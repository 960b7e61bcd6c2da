"""One [rows, columns] tensor for a whole model of single values, as clients with a numpy matrix send it.

Its columns are those that are required, in the model's order, or else all of them. Numbers have one datatype
in a tensor: whole numbers of a floating-point one go into integer columns too, 0 and 1 into bool columns.
"""

from functools import cache

import numpy as np

from taxiway.errors import InvalidInput
from taxiway.inference import JsonColumn, ModelInterface
from taxiway.json_values import DATATYPE, NUMPY_TYPE, numbers, to_array
from taxiway.protocols import binary_tensors
from taxiway.protocols.rows import positional_names, sole_input
from taxiway.protocols.tensor import Tensor, elements, flat, known_datatype
from taxiway.signature import Array, Column, RejectCode


def is_table(tensor: Tensor, model: ModelInterface) -> bool:
    """Whether a tensor may be all columns in one; with a single column, only when the model has no more."""
    if len(tensor.shape) != 2 or len(model.scalar_datatypes) != len(model.inputs):
        return False
    return tensor.shape[1] > 1 or (tensor.shape[1] == 1 and sole_input(model) is not None)


def split(tensor: Tensor, model: ModelInterface) -> dict[str, Array | JsonColumn]:
    """The columns of a table.

    Raises:
        MalformedRequest: raw bytes are not what datatype and shape say.
        InvalidInput: a column does not take the datatype or a value, or the data is not of this shape.
    """
    plain = model.plain_tables.get((tensor.shape[1], tensor.datatype))
    if plain is not None and isinstance(tensor.content, list):
        values = flat(tensor, tensor.content, tensor.shape)
        return {name: JsonColumn(values[place :: len(plain)], tensor.datatype) for place, name in enumerate(plain)}
    names = positional_names(tensor.shape[1], model, tensor.name[:80])
    columns = [model.inputs[name] for name in names]
    for column in columns:
        if not _takes(column, tensor.datatype, model):
            found = f"expected the datatype {DATATYPE[column.dtype]}, got one tensor of {tensor.datatype[:20]}"
            reason = f"{found} for all columns; send a tensor for each column"
            raise InvalidInput(RejectCode.WRONG_TYPE, column.name, reason)
    if isinstance(tensor.content, list):
        values = flat(tensor, tensor.content, tensor.shape)
        parts = (values[position :: len(columns)] for position in range(len(columns)))
        return {
            column.name: _json_column(column, part, tensor.datatype, model)
            for column, part in zip(columns, parts, strict=True)
        }
    matrix = elements(tensor).reshape(tuple(tensor.shape))
    return {
        column.name: _array_column(column, part, tensor.datatype, model)
        for column, part in zip(columns, matrix.T, strict=True)
    }


def _takes(column: Column, datatype: str, model: ModelInterface) -> bool:
    name = known_datatype(datatype)
    if name in model.scalar_datatypes[column.name]:
        return True
    return name in NUMPY_TYPE and NUMPY_TYPE[name].kind in "iuf" and not column.is_object


def _json_column(column: Column, values: list[object], datatype: str, model: ModelInterface) -> Array | JsonColumn:
    if datatype in model.scalar_datatypes[column.name]:
        return JsonColumn(values, datatype)
    return whole(column, to_array(_as_float(column.name, column.nullable), values, datatype))


def _array_column(column: Column, values: Array, datatype: str, model: ModelInterface) -> Array:
    if column.is_object:
        return binary_tensors.objects(column, values)
    if known_datatype(datatype) in model.scalar_datatypes[column.name]:
        return numbers(column, values, values.dtype)
    return whole(column, values.astype(np.float64))


@cache
def _as_float(name: str, nullable: bool) -> Column:
    return Column(name=name, dtype="float64", nullable=nullable)


def whole(column: Column, values: Array) -> Array:
    """Floating-point values in a bool or integer column, NaN for missing ones.

    Raises:
        InvalidInput: a value is no whole number, or none that the column can hold.
    """
    missing = np.isnan(values)
    if missing.any() and not column.nullable:
        raise InvalidInput(RejectCode.MISSING_VALUE, column.name, f"got nothing, expected a {column.dtype}")
    low, high = (0, 1) if column.dtype == "bool" else (np.iinfo(column.dtype).min, np.iinfo(column.dtype).max)
    present = values[~missing]
    # The largest integers of 64 bits are not exact as floats; one past them is.
    odd = present[(np.trunc(present) != present) | (present < float(low)) | (present >= float(high) + 1.0)]
    if odd.size:
        reason = f"expected values of {DATATYPE[column.dtype]}, got the number {float(odd[0])!r}"
        raise InvalidInput(RejectCode.WRONG_TYPE, column.name, reason)
    return values.astype(column.numpy_dtype)
