"""Open Inference Protocol v2, REST with JSON tensors: https://github.com/kserve/open-inference-protocol.

A JSON null in `data` is a missing value; the protocol knows none, JSON does. Where the protocol
contradicts itself: live and ready answer `{"live": bool}` and `{"ready": bool}`, `/v2` and `/v2/` are
the same, and a response always names the model and its version.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from taxiway.errors import InvalidInput, MalformedRequest, PayloadTooLarge
from taxiway.signature import Array, Column, RejectCode

DATATYPE = {"bool": "BOOL", "int64": "INT64", "float64": "FP64", "string": "BYTES"}
_INTEGERS: dict[str, np.dtype[Any]] = {
    f"{sign}INT{bits}": np.dtype(f"{sign.lower()}int{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64)
}
_FLOATS: dict[str, np.dtype[Any]] = {
    "FP16": np.dtype("float16"),
    "FP32": np.dtype("float32"),
    "FP64": np.dtype("float64"),
}
_ACCEPTED: dict[str, Mapping[str, np.dtype[Any]]] = {
    "bool": {"BOOL": np.dtype("bool")},
    "int64": _INTEGERS,
    "float64": _FLOATS | _INTEGERS,
    "string": {"BYTES": np.dtype("object")},
}
_JSON_NUMBERS: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}


@dataclass(frozen=True, slots=True)
class InferRequest:
    """One inference request: columns of `rows` values each, and which outputs are wanted (None: all)."""

    id: str | None
    columns: dict[str, Array]
    rows: int
    outputs: tuple[str, ...] | None


def decode_request(body: bytes, inputs: Mapping[str, Column], outputs: Sequence[str], max_rows: int) -> InferRequest:
    """Reads the body of `POST …/infer`.

    Args:
        inputs: every column that a request may bring.
        outputs: the model's outputs.

    Raises:
        MalformedRequest: the body is no inference request.
        InvalidInput: a tensor has an unknown name, or a datatype, shape or value that its column forbids.
        PayloadTooLarge: more than `max_rows` rows.
    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise MalformedRequest(f"the body must be an object with 'inputs', got {_json_type(request)}")
    identifier = request.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise MalformedRequest(f"'id' must be a string, got {_json_type(identifier)}")
    tensors = request.get("inputs")
    if not isinstance(tensors, list) or not tensors:
        raise MalformedRequest("'inputs' must be a list with at least one tensor")
    columns: dict[str, Array] = {}
    rows = -1
    for tensor in tensors:
        name, values = _decode_tensor(tensor, inputs)
        if name in columns:
            raise InvalidInput(RejectCode.UNKNOWN_COLUMN, name, "this input is given twice")
        if rows not in (-1, len(values)):
            first = next(iter(columns))
            reason = f"has {len(values)} rows where {first!r} has {rows}; every input needs the same number"
            raise InvalidInput(RejectCode.WRONG_SHAPE, name, reason)
        columns[name], rows = values, len(values)
    if rows == 0:
        raise InvalidInput(RejectCode.WRONG_SHAPE, next(iter(columns)), "expected at least one row, got none")
    if rows > max_rows:
        raise PayloadTooLarge(f"the request has {rows} rows, at most {max_rows} are taken; send several requests")
    return InferRequest(identifier, columns, rows, _wanted(request.get("outputs"), outputs))


def _decode_tensor(tensor: Any, inputs: Mapping[str, Column]) -> tuple[str, Array]:
    if not isinstance(tensor, dict):
        raise MalformedRequest(f"each of 'inputs' must be an object, got {_json_type(tensor)}")
    name = tensor.get("name")
    if not isinstance(name, str):
        raise MalformedRequest("each of 'inputs' needs a 'name'")
    column = inputs.get(name)
    if column is None:
        raise InvalidInput(
            RejectCode.UNKNOWN_COLUMN, name[:80], f"this model has no such input; it takes {', '.join(inputs)}"
        )
    accepted = _ACCEPTED[column.dtype]
    datatype = tensor.get("datatype")
    dtype = accepted.get(datatype) if isinstance(datatype, str) else None
    if dtype is None:
        shown = datatype if isinstance(datatype, str) else _json_type(datatype)
        reason = f"expected the datatype {DATATYPE[column.dtype]}, got {shown[:20]}"
        raise InvalidInput(RejectCode.WRONG_TYPE, name, reason)
    data = tensor.get("data")
    if not isinstance(data, list):
        raise InvalidInput(RejectCode.WRONG_TYPE, name, f"'data' must be a list, got {_json_type(data)}")
    rows = _rows(name, tensor.get("shape"))
    if data and isinstance(data[0], list):
        data = _flat(name, data)
    if len(data) != rows:
        reason = f"the shape {tensor['shape']} means {rows} values, 'data' has {len(data)}"
        raise InvalidInput(RejectCode.WRONG_SHAPE, name, reason)
    if column.dtype == "string":
        return name, _strings(name, data)
    return name, _numbers(column, data, dtype, str(datatype))


def _rows(name: str, shape: Any) -> int:
    """[n] or [n, 1]."""
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise InvalidInput(RejectCode.WRONG_SHAPE, name, "'shape' must be a list of numbers, [rows] or [rows, 1]")
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        reason = f"expected the shape [rows] or [rows, 1], got {str(shape)[:40]}"
        raise InvalidInput(RejectCode.WRONG_SHAPE, name, reason)
    return int(shape[0])


def _flat(name: str, data: list[Any]) -> list[Any]:
    if not all(isinstance(row, list) and len(row) == 1 for row in data):
        raise InvalidInput(RejectCode.WRONG_SHAPE, name, "nested 'data' must hold one value in each row")
    return [row[0] for row in data]


def _strings(name: str, data: list[Any]) -> Array:
    for value in data:
        if not (type(value) is str or value is None):
            raise InvalidInput(RejectCode.WRONG_TYPE, name, f"expected strings, got {_json_type(value)}")
    values = np.empty(len(data), dtype=np.object_)
    values[:] = data
    return values


def _numbers(column: Column, data: list[Any], dtype: np.dtype[Any], datatype: str) -> Array:
    accepted = _JSON_NUMBERS[dtype.kind]
    present = data
    if None in data:
        if not column.nullable:
            raise InvalidInput(RejectCode.MISSING_VALUE, column.name, f"got nothing, expected a {column.dtype}")
        present = [value for value in data if value is not None]
    if strange := set(map(type, present)) - accepted:
        odd = next(value for value in present if type(value) in strange)
        raise InvalidInput(RejectCode.WRONG_TYPE, column.name, f"expected values of {datatype}, got {_shown(odd)}")
    try:
        with np.errstate(over="ignore"):
            # Through the tensor's own datatype: a value means the same in JSON as in binary.
            values = np.array(present, dtype=dtype)
    except OverflowError:
        limits = np.iinfo(dtype)
        odd = next(value for value in present if not limits.min <= value <= limits.max)
        raise InvalidInput(RejectCode.OUT_OF_RANGE, column.name, f"{odd} does not fit into {datatype}") from None
    if dtype == np.uint64 and column.dtype == "int64" and (values > np.iinfo(np.int64).max).any():
        raise InvalidInput(RejectCode.OUT_OF_RANGE, column.name, f"{values.max()} does not fit into INT64")
    values = values.astype(column.stored_dtype, copy=False)
    if len(present) == len(data):
        return values
    spread = np.full(len(data), np.nan)
    spread[[value is not None for value in data]] = values
    return spread


def _shown(value: Any) -> str:
    """A value for an error text: never a long one, and no container, which may be too deep to print."""
    if isinstance(value, str | bool | int | float):
        return f"{_json_type(value)} {str(value)[:40]!r}"
    return _json_type(value)


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _wanted(requested: Any, outputs: Sequence[str]) -> tuple[str, ...] | None:
    if not requested:
        return None
    if not isinstance(requested, list) or not all(isinstance(output, dict) for output in requested):
        raise MalformedRequest("'outputs' must be a list of objects with a 'name'")
    names = tuple(output.get("name") for output in requested)
    for position, name in enumerate(names):
        if not isinstance(name, str):
            raise MalformedRequest("each of 'outputs' needs a 'name'")
        if name not in outputs:
            reason = f"this model has no such output; it gives {', '.join(outputs)}"
            raise InvalidInput(RejectCode.UNKNOWN_COLUMN, name[:80], reason)
        if name in names[:position]:
            raise InvalidInput(RejectCode.UNKNOWN_COLUMN, name, "this output is requested twice")
    return names


def encode_response(
    model_name: str,
    model_version: str,
    identifier: str,
    prediction_id: str,
    outputs: Mapping[str, Array],
    wanted: tuple[str, ...] | None,
) -> bytes:
    """The body of an answer; `prediction_id` stands in its parameters."""
    return orjson.dumps(
        {
            "model_name": model_name,
            "model_version": model_version,
            "id": identifier,
            "parameters": {"prediction_id": prediction_id},
            "outputs": [
                {
                    "name": name,
                    "shape": [len(outputs[name])],
                    "datatype": _datatype(outputs[name]),
                    "data": outputs[name].tolist(),
                }
                for name in (wanted or outputs)
            ],
        }
    )


def _datatype(values: Array) -> str:
    return {"b": "BOOL", "i": "INT64", "f": "FP64"}.get(values.dtype.kind, "BYTES")


def encode_error(message: str) -> bytes:
    return orjson.dumps({"error": message})


def server_metadata(version: str) -> bytes:
    return orjson.dumps({"name": "taxiway", "version": version, "extensions": []})


def model_metadata(
    name: str, version: str, platform: str, inputs: Sequence[Column], outputs: Sequence[Column]
) -> bytes:
    """What `GET /v2/models/NAME` answers; every dimension is variable."""
    return orjson.dumps(
        {
            "name": name,
            "versions": [version],
            "platform": platform,
            "inputs": [_tensor_metadata(column) for column in inputs],
            "outputs": [_tensor_metadata(column) for column in outputs],
        }
    )


def _tensor_metadata(column: Column) -> dict[str, Any]:
    return {"name": column.name, "datatype": DATATYPE[column.dtype], "shape": [-1]}


def model_ready(name: str, ready: bool) -> bytes:
    return orjson.dumps({"name": name, "ready": ready})
