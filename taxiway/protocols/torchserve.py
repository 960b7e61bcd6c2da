"""TorchServe's inference API, `POST /predictions/NAME`: https://docs.pytorch.org/serve/inference_api.html.

TorchServe hands a body to the model's own handler and knows no columns. Ours: an object is one row, a list
is many, and `{"data": …}` and `{"instances": […]}` are the envelopes of its handlers. For a model of a single
string or bytes input any body that is not declared as JSON is the value itself, as with `curl -T image.png`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from taxiway.errors import InvalidInput, TaxiwayError
from taxiway.inference import InferRequest, InferResponse, ModelInterface
from taxiway.protocols.form_data import by_name, content_type, multipart_fields, urlencoded_fields
from taxiway.protocols.plain_json import JSON_CONTENT, answers_by_row, as_base64, dump_json, load_json
from taxiway.protocols.rows import check_names, from_rows, sole_input, to_request
from taxiway.protocols.text_values import from_text
from taxiway.signature import Column, RejectCode

_WRAPPERS = ("data", "body")
_ONE, _MANY, _ENVELOPE = "one", "many", "envelope"
_ERROR_TYPES = {
    404: "ModelNotFoundException",
    405: "MethodNotAllowedException",
    408: "RequestTimeoutException",
    429: "ServiceUnavailableException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
    504: "RequestTimeoutException",
}


def decode(body: bytes, headers: Mapping[bytes, bytes], model: ModelInterface) -> InferRequest:
    """Reads JSON, a form (`curl -F data=@file`), or the raw value of a single string or bytes input.

    Raises:
        MalformedRequest: the body is neither.
        InvalidInput: a row or column does not fit the model's inputs.
        PayloadTooLarge: too many rows.
    """
    kind, parameters = content_type(headers.get(b"content-type", b""))
    if kind == "multipart/form-data":
        return _from_fields(by_name(multipart_fields(body, parameters.get("boundary", ""))), model)
    if kind == "application/x-www-form-urlencoded":
        fields = urlencoded_fields(body)
        if any(name in _WRAPPERS or name in model.inputs for name, _ in fields):
            return _from_fields(by_name(fields), model)
    if kind == "application/json" or kind.endswith("+json"):
        return _from_json(load_json(body), model)
    return _from_value(body, model)


def _from_fields(fields: Mapping[str, bytes], model: ModelInterface) -> InferRequest:
    wrapper = next((name for name in _WRAPPERS if name in fields and name not in model.inputs), None)
    if wrapper is not None:
        return _from_value(fields[wrapper], model)
    check_names(fields, model)
    columns = {name: [_field_value(model.inputs[name], value)] for name, value in fields.items()}
    return to_request(columns, model, answer_form=_ONE)


def _field_value(column: Column, value: bytes) -> Any:
    if column.shape:
        return load_json(value)
    return as_base64(value) if column.dtype == "bytes" else from_text(column, _text(column, value))


def _from_value(value: bytes, model: ModelInterface) -> InferRequest:
    """The one value of a string or bytes input; JSON for every other model."""
    sole = sole_input(model)
    if sole is None or not sole.is_object or sole.shape:
        return _from_json(load_json(value), model)
    values = np.empty(1, dtype=np.object_)
    values[0] = value if sole.dtype == "bytes" else _text(sole, value)
    return InferRequest(id=None, columns={sole.name: values}, rows=1, answer_form=_ONE)


def _text(column: Column, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        reason = f"expected text in UTF-8, byte {error.start} is none"
        raise InvalidInput(RejectCode.WRONG_TYPE, column.name, reason) from None


def _from_json(value: Any, model: ModelInterface) -> InferRequest:
    form = None
    if isinstance(value, dict) and "instances" in value and "instances" not in model.inputs:
        value, form = value["instances"], _ENVELOPE
    value = _unwrapped(value, model)
    if form is None:
        form = _ONE if _is_one_row(value, sole_input(model)) else _MANY
    rows = [value] if form == _ONE else value
    if isinstance(rows, list):
        rows = [_unwrapped(row, model) for row in rows]
    return to_request(from_rows(rows, model, "instances" if form == _ENVELOPE else "data"), model, answer_form=form)


def _unwrapped(value: Any, model: ModelInterface) -> Any:
    if isinstance(value, dict) and len(value) == 1:
        (name,) = value
        if name in _WRAPPERS and name not in model.inputs:
            return value[name]
    return value


def _is_one_row(value: Any, sole: Column | None) -> bool:
    """A list is one row where it is one tensor of the sole input, or holds one row's values by position."""
    if not isinstance(value, list):
        return True
    leaf: Any = value
    depth = 0
    while isinstance(leaf, list) and leaf:
        leaf, depth = leaf[0], depth + 1
    if leaf == [] or (isinstance(leaf, dict) and leaf.keys() != {"b64"}):
        return False
    return depth == (len(sole.shape) if sole is not None else 1)


def encode(request: InferRequest, response: InferResponse) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    """One row's answer as it is, many as a list, those of `instances` as `{"predictions": […]}`."""
    answers = answers_by_row(response)
    if request.answer_form == _ENVELOPE:
        return dump_json({"predictions": answers}), JSON_CONTENT
    return dump_json(answers[0] if request.answer_form == _ONE else answers), JSON_CONTENT


def encode_error(error: TaxiwayError) -> bytes:
    kind = _ERROR_TYPES.get(error.status, "BadRequestException")
    return orjson.dumps({"code": error.status, "type": kind, "message": str(error)})


def ping(ready: bool = True) -> bytes:
    return orjson.dumps({"status": "Healthy" if ready else "Unhealthy"})


def describe(model: ModelInterface, ready: bool) -> bytes:
    """What `GET /models/NAME` answers, of which clients read the workers' status."""
    worker = {"id": "0", "status": "READY" if ready else "UNLOADING"}
    return orjson.dumps([{"modelName": model.name, "modelVersion": model.version, "workers": [worker]}])
