"""Open Inference Protocol v2, REST, with JSON and binary tensors: https://github.com/kserve/open-inference-protocol.

A JSON null in `data` is a missing value; the protocol knows none, JSON does. Unknown parameters are ignored.
`timeout` among a request's parameters is Triton's: microseconds. The `content_type` base64 of a tensor is MLServer's.
What is decided where the protocol contradicts itself or its clients stands in docs/protocols.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from taxiway.errors import InvalidInput, MalformedRequest, TaxiwayError
from taxiway.inference import InferRequest, InferResponse, JsonColumn, ModelInterface, datatype_of
from taxiway.json_values import DATATYPE, json_type, shown_value
from taxiway.protocols import binary_tensors
from taxiway.protocols.plain_json import load_object
from taxiway.protocols.rows import check_row_count
from taxiway.protocols.tensor import from_json
from taxiway.protocols.tensor_inputs import Columns, raw_tensor, to_columns
from taxiway.signature import Array, Column, RejectCode

EXTENSIONS = ("binary_tensor_data",)
"""What this codec itself adds to the protocol; who serves a repository index adds `model_repository`."""

Headers = tuple[tuple[bytes, bytes], ...]
_JSON_LENGTH = b"inference-header-content-length"
_JSON: Headers = ((b"content-type", b"application/json"),)
_BINARY = (b"content-type", b"application/octet-stream")
_NONE: frozenset[str] = frozenset()
_REQUEST = "an object with 'inputs'"
_SHORT = 32


def decode(body: bytes, headers: Mapping[bytes, bytes], model: ModelInterface) -> InferRequest:
    """Reads the body of `POST …/infer`; `answer_form` of the result holds the outputs wanted as binary data.

    Args:
        headers: their names in lower case.

    Raises:
        MalformedRequest: the body is no inference request.
        InvalidInput: a tensor has an unknown name, or a datatype, shape or value that its column forbids.
        PayloadTooLarge: more rows than the model takes.
    """
    length = headers.get(_JSON_LENGTH)
    if length is None:
        request = load_object(body, _REQUEST)
        data = None
    else:
        split = binary_tensors.json_length(length, body)
        if split == 0:
            columns, rows = to_columns([raw_tensor(body, model)], model)
            return InferRequest(None, columns, rows, answer_form=_output_names(model))
        view = memoryview(body)
        request, data = load_object(view[:split], _REQUEST), view[split:]
    identifier = request.get("id")
    if identifier is not None and type(identifier) is not str:
        raise MalformedRequest(f"'id' must be a string, got {json_type(identifier)}")
    tensors = request.get("inputs")
    if type(tensors) is not list or not tensors:
        raise MalformedRequest("'inputs' must be a list with at least one tensor")
    found = _plain_json(tensors, model) if data is None else _plain_binary(tensors, data, model)
    if found is None:
        shares = [None] * len(tensors) if data is None else binary_tensors.share_out(tensors, data)
        found = to_columns([from_json(*pair) for pair in zip(tensors, shares, strict=True)], model)
    timeout_s, all_binary = _parameters(request.get("parameters"))
    outputs, binary = _wanted(request.get("outputs"), all_binary, model)
    return InferRequest(identifier, found[0], found[1], outputs, timeout_s, binary)


def _plain_json(tensors: list[Any], model: ModelInterface) -> tuple[Columns, int] | None:
    """The usual JSON request, fast: single values for known columns; None for everything else.

    It never complains: what it does not know, good or bad, `to_columns` looks at again.
    """
    known = model.plain_datatypes
    columns: Columns = {}
    try:
        rows = len(tensors[0]["data"])
        shapes = ([rows], [rows, 1])
        for tensor in tensors:
            name, shape, datatype, data = tensor["name"], tensor["shape"], tensor["datatype"], tensor["data"]
            if type(data[0]) is list:
                data = _unnested(data)
            if (
                datatype not in known[name]
                or type(data) is not list
                or len(data) != rows
                or shape not in shapes
                or type(shape[0]) is not int
                or type(shape[-1]) is not int
            ):
                return None
            columns[name] = JsonColumn(data, datatype)
    except (KeyError, TypeError, IndexError):
        return None
    if len(columns) != len(tensors):
        return None
    check_row_count(rows, model, name)
    return columns, rows


def _unnested(data: list[Any]) -> list[Any] | None:
    """[[x], [y]] as [x, y]; None for any other nesting."""
    if set(map(type, data)) != {list} or set(map(len, data)) != {1}:
        return None
    flat = list(chain.from_iterable(data))
    return None if list in map(type, flat) else flat


def _plain_binary(tensors: list[Any], data: memoryview, model: ModelInterface) -> tuple[Columns, int] | None:
    """The usual binary request, fast: numbers of their columns' own types; None for everything else."""
    known = model.readable_in_place
    columns: Columns = {}
    offset = 0
    try:
        rows = tensors[0]["shape"][0]
        if rows < 1:
            return None
        shapes = ([rows], [rows, 1])
        for tensor in tensors:
            datatype, item = known[tensor["name"]]
            shape, size = tensor["shape"], tensor["parameters"]["binary_data_size"]
            if (
                tensor["datatype"] != datatype
                or shape not in shapes
                or type(shape[0]) is not int
                or type(shape[-1]) is not int
                or type(size) is not int
                or size != rows * item.itemsize
                or "data" in tensor
            ):
                return None
            columns[tensor["name"]] = binary_tensors.in_place(data, item, rows, offset)
            offset += size
    except (KeyError, TypeError, IndexError, ValueError):
        return None
    if len(columns) != len(tensors) or offset != len(data):
        return None
    check_row_count(rows, model, tensors[0]["name"])
    return columns, rows


def _invalid(code: RejectCode, name: str, reason: str) -> InvalidInput:
    return InvalidInput(code, name[:80], reason)


def _parameters(parameters: Any) -> tuple[float | None, bool]:
    """The request's budget of time in seconds, and whether all outputs come back as binary data."""
    if parameters is None:
        return None, False
    if type(parameters) is not dict:
        raise MalformedRequest(f"'parameters' must be an object, got {json_type(parameters)}")
    if "classification" in parameters:
        raise _classification()
    timeout = parameters.get("timeout")
    if timeout is not None and (type(timeout) not in (int, float) or timeout < 0):
        raise MalformedRequest(f"'timeout' must be a number of microseconds, got {shown_value(timeout)}")
    return (timeout / 1e6 if timeout else None), _flag(parameters, "binary_data_output", False)


def _flag(parameters: dict[str, Any], key: str, default: bool) -> bool:
    value = parameters.get(key)
    if value is None:
        return default
    if type(value) is not bool:
        raise MalformedRequest(f"{key!r} must be true or false, got {shown_value(value)}")
    return value


def _classification() -> MalformedRequest:
    return MalformedRequest("'classification' is not supported; ask for the output itself and rank its values")


def _output_names(model: ModelInterface) -> frozenset[str]:
    return frozenset(column.name for column in model.outputs)


def _wanted(requested: Any, all_binary: bool, model: ModelInterface) -> tuple[tuple[str, ...] | None, frozenset[str]]:
    """The requested outputs, None for all of them, and those of them that come back as binary data."""
    if not requested:
        return None, _output_names(model) if all_binary else _NONE
    if type(requested) is not list:
        raise MalformedRequest(f"'outputs' must be a list, got {json_type(requested)}")
    known = _output_names(model)
    wanted = {}
    for output in requested:
        name, binary = _wanted_output(output, all_binary)
        if name not in known:
            gives = ", ".join(column.name for column in model.outputs)
            raise _invalid(RejectCode.UNKNOWN_COLUMN, name, f"this model has no such output; it gives {gives}")
        if name in wanted:
            raise _invalid(RejectCode.UNKNOWN_COLUMN, name, "this output is requested twice")
        wanted[name] = binary
    return tuple(wanted), frozenset(name for name, binary in wanted.items() if binary)


def _wanted_output(output: Any, all_binary: bool) -> tuple[str, bool]:
    if type(output) is not dict or type(output.get("name")) is not str:
        raise MalformedRequest("each of 'outputs' must be an object with a 'name'")
    parameters = output.get("parameters")
    if not parameters:
        return output["name"], all_binary
    if type(parameters) is not dict:
        raise MalformedRequest(f"'parameters' must be an object, got {json_type(parameters)}")
    if "classification" in parameters:
        raise _classification()
    if "shared_memory_region" in parameters:
        raise MalformedRequest("shared memory is not supported; take the output from the response")
    return output["name"], _flag(parameters, "binary_data", all_binary)


def encode(request: InferRequest, response: InferResponse) -> tuple[bytes, Headers]:
    """The body of an answer and the headers that describe it.

    Raises:
        InvalidInput: an output can't be sent as JSON, but as binary data.
    """
    binary = request.answer_form or _NONE
    outputs: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, values in response.outputs.items():
        output: dict[str, Any] = {"name": name, "datatype": datatype_of(values), "shape": values.shape}
        if name in binary:
            parts.append(binary_tensors.from_array(values))
            output["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            output["data"] = _json_data(name, values)
        outputs.append(output)
    head = {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "id": response.prediction_id if request.id is None else request.id,
        "parameters": {"prediction_id": response.prediction_id, "variant": response.variant},
        "outputs": outputs,
    }
    body = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    if not parts:
        return body, _JSON
    return b"".join((body, *parts)), (_BINARY, (_JSON_LENGTH, str(len(body)).encode()))


def _json_data(name: str, values: Array) -> Any:
    """The flat values of an output, for orjson: it writes NaN and infinity as null."""
    if values.dtype.kind not in "biuf":
        return [_text(name, value) for value in values.ravel().tolist()]
    if values.size <= _SHORT:
        return values.ravel().tolist()
    # orjson gives a float32 the fewest digits that name it, which are another number to who reads doubles.
    return values.ravel().astype(np.float64 if values.dtype.kind == "f" else values.dtype, copy=False)


def _text(name: str, value: Any) -> str | None:
    if value is None or (type(value) is str and value.isascii()):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            reason = "this output holds bytes that are not UTF-8, which JSON can't carry; ask for binary_data"
            raise _invalid(RejectCode.WRONG_TYPE, name, reason) from None
    return str(value).encode(errors="replace").decode()


def encode_error(error: TaxiwayError) -> bytes:
    return orjson.dumps({"error": str(error).encode(errors="replace").decode()})


def server_live(live: bool) -> bytes:
    return orjson.dumps({"live": live})


def server_ready(ready: bool) -> bytes:
    return orjson.dumps({"ready": ready})


def server_metadata(version: str, extensions: Sequence[str] = EXTENSIONS) -> bytes:
    return orjson.dumps({"name": "taxiway", "version": version, "extensions": extensions})


def model_metadata(model: ModelInterface, versions: Sequence[str]) -> bytes:
    """What `GET /v2/models/NAME` answers; the number of rows, -1, comes first in every shape."""
    return orjson.dumps(
        {
            "name": model.name,
            "versions": versions,
            "platform": model.platform,
            "inputs": [_tensor_metadata(column) for column in model.inputs.values()],
            "outputs": [_tensor_metadata(column) for column in model.outputs],
        }
    )


def _tensor_metadata(column: Column) -> dict[str, Any]:
    return {"name": column.name, "datatype": DATATYPE[column.dtype], "shape": [-1, *column.shape]}


def model_ready(name: str, ready: bool) -> bytes:
    return orjson.dumps({"name": name, "ready": ready})


def repository_index(entries: Iterable[tuple[str, str, str, str]]) -> bytes:
    """What `POST /v2/repository/index` answers.

    Args:
        entries: name, version, state (READY, LOADING, UNLOADING or UNAVAILABLE) and the reason for the state.
    """
    keys = ("name", "version", "state", "reason")
    return orjson.dumps([dict(zip(keys, entry, strict=True)) for entry in entries])


def wants_only_ready(body: bytes) -> bool:
    """Whether the body of `POST /v2/repository/index`, which may be empty, asks for READY versions only."""
    return bool(body) and _flag(load_object(body, "an object"), "ready", False)
