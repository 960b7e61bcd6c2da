"""One tensor of the Open Inference Protocol and the column that it becomes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from taxiway.errors import InvalidInput, MalformedRequest
from taxiway.inference import JsonColumn
from taxiway.json_values import accepted_type, json_type, numbers, to_array
from taxiway.protocols import binary_tensors
from taxiway.signature import Array, Column, RejectCode


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input as it came, row-major: JSON, a flat list or one nested like the shape; raw bytes; or flat elements.

    `in_base64` is about JSON strings that go into a column of bytes.
    """

    name: str
    datatype: str
    shape: Sequence[int]
    content: list[Any] | bytes | memoryview | Array
    in_base64: bool = False

    def invalid(self, code: RejectCode, reason: str) -> InvalidInput:
        return InvalidInput(code, self.name[:80], reason)

    def wrong_shape(self, reason: str) -> InvalidInput:
        return self.invalid(RejectCode.WRONG_SHAPE, reason)

    @property
    def shown_shape(self) -> str:
        return str(list(self.shape[:9]))[:80]

    @property
    def rows(self) -> int:
        return self.shape[0]


def from_json(tensor: Any, raw: memoryview | None) -> Tensor:
    """A tensor as REST names it; `raw` are its bytes where it has a `binary_data_size`.

    Raises:
        MalformedRequest: this is no tensor.
        InvalidInput: it has a name, but something else is missing.
    """
    if type(tensor) is not dict:
        raise MalformedRequest(f"each of 'inputs' must be an object, got {json_type(tensor)}")
    fields: list[Any] = [tensor.get(key) for key in ("name", "datatype", "shape", "data")]
    name, datatype, shape, data = fields
    if type(name) is not str:
        raise MalformedRequest(f"each of 'inputs' needs a 'name', got {json_type(name)}")
    found = Tensor(name, datatype, shape, data if raw is None else raw, _is_base64(tensor))
    if type(datatype) is not str:
        raise found.invalid(RejectCode.WRONG_TYPE, f"'datatype' must be a string, got {json_type(datatype)}")
    if type(shape) is not list or not shape or not all(type(size) is int and size >= 0 for size in shape):
        raise found.wrong_shape("'shape' must be a list of sizes, the rows first")
    if raw is None and datatype == "BF16":
        raise found.invalid(RejectCode.WRONG_TYPE, "BF16 has no form in JSON; send it as binary data, or as FP32")
    if type(data) is not (list if raw is None else type(None)):
        raise found.invalid(RejectCode.WRONG_TYPE, _wrong_data(tensor, raw))
    return found


def _is_base64(tensor: dict[str, Any]) -> bool:
    """As MLServer's codec for bytes declares it."""
    parameters = tensor.get("parameters")
    return type(parameters) is dict and parameters.get("content_type") == "base64"


def _wrong_data(tensor: dict[str, Any], raw: memoryview | None) -> str:
    parameters = tensor.get("parameters")
    given = parameters if isinstance(parameters, dict) else {}
    if raw is not None:
        return "has both 'data' and 'binary_data_size'; send one of them"
    if "binary_data_size" in given:
        return "has 'binary_data_size', which needs the header Inference-Header-Content-Length"
    if "shared_memory_region" in given:
        return "shared memory is not supported; send the data in the request"
    return f"'data' must be a list, got {json_type(tensor.get('data'))}"


def has_shape(tensor: Tensor, column: Column) -> bool:
    """Whether it is [rows, ...], or [rows] or [rows, 1] of single values."""
    rest = tuple(tensor.shape[1:])
    return len(tensor.shape) > 0 and (column.takes_shape(rest) or (rest == (1,) and not column.shape))


def check_shape(tensor: Tensor, column: Column) -> None:
    if has_shape(tensor, column):
        return
    expected = f"[rows, {', '.join(map(str, column.shape))}]" if column.shape else "[rows] or [rows, 1]"
    raise tensor.wrong_shape(f"expected the shape {expected}, got {tensor.shown_shape}")


def to_column(tensor: Tensor, column: Column) -> Array | JsonColumn:
    """The values of a tensor of the column's shape; single values from JSON stay as they are until a batch is whole.

    Raises:
        MalformedRequest: raw bytes are not what datatype and shape say.
        InvalidInput: the column does not take the datatype or a value, or the data is not of this shape.
    """
    shape = tuple(tensor.shape) if column.shape else (tensor.rows,)
    if isinstance(tensor.content, list):
        accepted_type(column, tensor.datatype)
        values = flat(tensor, tensor.content, shape if column.shape else (tensor.rows, 1))
        if tensor.in_base64 and column.dtype == "bytes":
            values = [{"b64": value} if isinstance(value, str) else value for value in values]
        if column.shape:
            return to_array(column, values, tensor.datatype).reshape(shape)
        return JsonColumn(values, tensor.datatype)
    known = known_datatype(tensor.datatype) if column.dtype.startswith("float") else tensor.datatype
    declared = accepted_type(column, known)
    found = elements(tensor).reshape(shape)
    return binary_tensors.objects(column, found) if column.is_object else numbers(column, found, declared)


def known_datatype(datatype: str) -> str:
    """BF16 is float32 as soon as its bytes are read."""
    return "FP32" if datatype == "BF16" else datatype


def elements(tensor: Tensor) -> Array:
    """The flat elements of a tensor that is not JSON."""
    if isinstance(tensor.content, np.ndarray):
        return tensor.content
    if isinstance(tensor.content, list):
        raise TypeError("a JSON tensor has no elements yet")
    return binary_tensors.elements(tensor.name, tensor.datatype, prod(tensor.shape), tensor.content)


def flat(tensor: Tensor, data: list[Any], shape: Sequence[int]) -> list[Any]:
    """The elements of JSON data that is flat or nested as `shape` says."""
    depth = 1
    while data and type(data[0]) is list:
        if depth == len(shape):
            raise tensor.wrong_shape(f"'data' is nested deeper than the shape {tensor.shown_shape}")
        size = shape[depth]
        if not all(type(row) is list and len(row) == size for row in data):
            raise tensor.wrong_shape(f"nested 'data' must have the shape {tensor.shown_shape} at every level")
        data = list(chain.from_iterable(data))
        depth += 1
    if len(data) != prod(shape):
        found = f"the shape {tensor.shown_shape} means {prod(shape)} values, 'data' has {len(data)}"
        raise tensor.wrong_shape(found)
    return data
