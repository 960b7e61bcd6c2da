"""The tensors of a request to a model's columns, however they came: JSON, bytes or gRPC.

A model of single values takes one tensor for each column, [rows] or [rows, 1], or one [rows, columns] tensor
of any other name (taxiway/protocols/tensor_table.py). A tensor column takes [rows, ...]. The only input of a model
may have any name if it is a tensor of the right shape (MLServer's clients call theirs `input-0`), or if the model's
own name for it is `input`, which stands for none in MLflow.
"""

import struct
from collections.abc import Sequence
from math import prod

from taxiway.errors import MalformedRequest
from taxiway.inference import JsonColumn, ModelInterface
from taxiway.json_values import DATATYPE, NUMPY_TYPE
from taxiway.protocols import tensor_table
from taxiway.protocols.rows import check_names, check_row_count, sole_input
from taxiway.protocols.tensor import Tensor, check_shape, has_shape, to_column
from taxiway.signature import Array, Column, RejectCode

UNNAMED = "input"
_BODY = "(the body)"

Columns = dict[str, Array | JsonColumn]


def to_columns(tensors: Sequence[Tensor], model: ModelInterface) -> tuple[Columns, int]:
    """The columns of a request and its number of rows, at least one.

    Raises:
        MalformedRequest: raw bytes are not what datatype and shape say.
        InvalidInput: a tensor has an unknown name, or a datatype, shape or value that its column forbids.
        PayloadTooLarge: more rows than the model takes.
    """
    first = tensors[0]
    if len(tensors) == 1 and first.name not in model.inputs:
        return _of_another_name(first, model), first.rows
    columns: Columns = {}
    for tensor in tensors:
        check_names((tensor.name,), model)
        if tensor.name in columns:
            raise tensor.invalid(RejectCode.UNKNOWN_COLUMN, "this input is given twice")
        columns[tensor.name] = _column(tensor, model.inputs[tensor.name], model)
        if tensor.rows != first.rows:
            found = f"has {tensor.rows} rows where {first.name!r} has {first.rows}"
            raise tensor.wrong_shape(f"{found}; every input needs the same number")
    return columns, first.rows


def _column(tensor: Tensor, column: Column, model: ModelInterface) -> Array | JsonColumn:
    check_shape(tensor, column)
    check_row_count(tensor.rows, model, tensor.name[:80])
    return to_column(tensor, column)


def _of_another_name(tensor: Tensor, model: ModelInterface) -> Columns:
    if tensor_table.is_table(tensor, model):
        check_row_count(tensor.rows, model, tensor.name[:80])
        return tensor_table.split(tensor, model)
    only = next(iter(model.inputs.values())) if len(model.inputs) == 1 else None
    if only is None or not (only.name == UNNAMED or (only.shape and has_shape(tensor, only))):
        check_names((tensor.name,), model)
    return {column.name: _column(tensor, column, model) for column in model.inputs.values()}


def raw_tensor(body: bytes, model: ModelInterface) -> Tensor:
    """A body that is nothing but a tensor's bytes: its name, datatype and shape are inferred.

    They belong to the model's only input (or only required one), or are rows of all required columns when
    these are numbers of one type. A single string or bytes value has no length in front.

    Raises:
        MalformedRequest: the model's inputs leave open what the bytes are.
    """
    sole = sole_input(model)
    if sole is not None:
        return _raw_column(body, sole)
    columns = [column for column in model.inputs.values() if column.is_required]
    types = {column.dtype for column in columns}
    if len(types) != 1 or columns[0].is_object or len(model.scalar_datatypes) != len(model.inputs):
        raise MalformedRequest(
            "a body without JSON (Inference-Header-Content-Length: 0) needs a model with one input, or with columns "
            "that are numbers of one type; send JSON that names the inputs"
        )
    datatype = DATATYPE[columns[0].dtype]
    rows = _quotient(len(body), len(columns) * NUMPY_TYPE[datatype].itemsize, "a row")
    return Tensor(_BODY, datatype, (rows, len(columns)), body)


def _raw_column(body: bytes, column: Column) -> Tensor:
    datatype = DATATYPE[column.dtype]
    if column.is_object:
        if any(size not in (-1, 1) for size in column.shape):
            raise MalformedRequest(f"{column.name}: a body without JSON can only be a single element of BYTES")
        return Tensor(column.name, datatype, (1,) * (1 + len(column.shape)), struct.pack("<I", len(body)) + body)
    item, unknown = NUMPY_TYPE[datatype].itemsize, column.shape.count(-1)
    known = item * prod(size for size in column.shape if size != -1)
    if unknown > 1 or not known:
        reason = f"the shape [rows, {', '.join(map(str, column.shape))}] can't be inferred from a body without JSON"
        raise MalformedRequest(f"{column.name}: {reason}; send JSON with the shape")
    if not unknown:
        return Tensor(column.name, datatype, (_quotient(len(body), known, "a row"), *column.shape), body)
    size = _quotient(len(body), known, "a step of the dimension -1")
    return Tensor(column.name, datatype, (1, *(size if wanted == -1 else wanted for wanted in column.shape)), body)


def _quotient(size: int, unit: int, what: str) -> int:
    if size % unit:
        raise MalformedRequest(f"the body has {size} bytes, which is no multiple of the {unit} bytes of {what}")
    return size // unit
