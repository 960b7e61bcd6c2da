"""TensorFlow Serving's REST predict, which KServe calls its v1 protocol: https://www.tensorflow.org/tfx/serving/api_rest.

TensorFlow Serving and KServe differ in what `GET /v1/models/NAME` answers; ours is one object with both.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from taxiway.errors import MalformedRequest, TaxiwayError
from taxiway.inference import InferRequest, InferResponse, ModelInterface
from taxiway.json_values import json_type
from taxiway.protocols.plain_json import JSON_CONTENT, answers_by_row, dump_json, load_object, only_key
from taxiway.protocols.rows import from_columns, from_rows, to_request
from taxiway.signature import Column

SIGNATURE_NAME = "serving_default"
_TENSORFLOW_TYPE = {
    "bool": "DT_BOOL",
    **{f"{sign}int{bits}": f"DT_{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float16": "DT_HALF",
    "float32": "DT_FLOAT",
    "float64": "DT_DOUBLE",
    "string": "DT_STRING",
    "bytes": "DT_STRING",
}


def decode(body: bytes, headers: Mapping[bytes, bytes], model: ModelInterface) -> InferRequest:
    """Reads the body of `POST /v1/models/NAME:predict`: `instances` row by row, or `inputs` by column.

    Raises:
        MalformedRequest: the body is no predict request.
        InvalidInput: a row or column does not fit the model's inputs.
        PayloadTooLarge: too many rows.
    """
    request = load_object(body, "an object with 'instances' or 'inputs'")
    _check_signature_name(request.get("signature_name"))
    form = only_key(request, ("instances", "inputs"))
    read = from_rows if form == "instances" else from_columns
    return to_request(read(request[form], model, form), model, answer_form=form)


def _check_signature_name(name: Any) -> None:
    if name in (None, "", SIGNATURE_NAME):
        return
    shown = repr(name[:80]) if isinstance(name, str) else json_type(name)
    raise MalformedRequest(f"'signature_name' must be '{SIGNATURE_NAME}', the only one of this model, got {shown}")


def encode(request: InferRequest, response: InferResponse) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    """The answer in the form of the request: `predictions` by row or `outputs` by column."""
    if request.answer_form == "instances":
        return dump_json({"predictions": answers_by_row(response)}), JSON_CONTENT
    outputs = response.outputs
    columns = next(iter(outputs.values())) if len(outputs) == 1 else dict(outputs)
    return dump_json({"outputs": columns}), JSON_CONTENT


def encode_error(error: TaxiwayError) -> bytes:
    return orjson.dumps({"error": str(error)})


def model_status(name: str, versions: Sequence[str], ready: bool) -> bytes:
    """What `GET /v1/models/NAME` answers."""
    state: dict[str, Any] = {
        "state": "AVAILABLE" if ready else "LOADING",
        "status": {"error_code": "OK", "error_message": ""},
    }
    statuses = [{"version": version, **state} for version in versions]
    return orjson.dumps({"name": name, "ready": ready, "model_version_status": statuses})


def model_metadata(model: ModelInterface) -> bytes:
    """What `GET /v1/models/NAME/metadata` answers; the first dimension is the rows."""
    signature = {
        "inputs": {column.name: _tensor_info(column) for column in model.inputs.values()},
        "outputs": {column.name: _tensor_info(column) for column in model.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return orjson.dumps(
        {
            "model_spec": {"name": model.name, "signature_name": "", "version": model.version},
            "metadata": {"signature_def": {"signature_def": {SIGNATURE_NAME: signature}}},
        }
    )


def _tensor_info(column: Column) -> dict[str, Any]:
    """As protobuf's JSON writes it: 64-bit numbers are strings."""
    sizes = [{"size": str(size), "name": ""} for size in (-1, *column.shape)]
    return {
        "dtype": _TENSORFLOW_TYPE[column.dtype],
        "tensor_shape": {"dim": sizes, "unknown_rank": False},
        "name": column.name,
    }
