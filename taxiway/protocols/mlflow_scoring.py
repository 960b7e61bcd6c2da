"""MLflow's scoring protocol, `POST /invocations`: https://mlflow.org/docs/latest/ml/deployment/.

Where pandas has been, an integer column with missing values holds floats, and NaN is written as such:
whole floats are integers here, and NaN is missing. As in MLflow, base64 is how bytes travel in a data
frame and in every answer, and further keys of the body are ignored.
"""

import base64
import csv
import io
from collections.abc import Mapping
from itertools import islice
from typing import Any

import orjson

from taxiway.errors import InvalidInput, MalformedRequest, TaxiwayError
from taxiway.inference import InferRequest, InferResponse, ModelInterface
from taxiway.json_values import json_type
from taxiway.protocols.plain_json import JSON_CONTENT, answers_by_row, dump_json, load_object, only_key
from taxiway.protocols.rows import (
    ColumnValues,
    check_names,
    check_row_count,
    from_columns,
    from_matrix,
    from_rows,
    positional_names,
    sole_input,
    to_request,
)
from taxiway.protocols.text_values import from_text
from taxiway.signature import Column, RejectCode

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_ERROR_CODES = {
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def decode(body: bytes, headers: Mapping[bytes, bytes], model: ModelInterface) -> InferRequest:
    """Reads a body of JSON (`dataframe_split`, `dataframe_records`, `instances`, `inputs`) or of CSV with a header.

    Raises:
        MalformedRequest: another content type, or the body is no scoring request.
        InvalidInput: a row or column does not fit the model's inputs, or `params` are given.
        PayloadTooLarge: too many rows.
    """
    if _content_type(headers) == "text/csv":
        return to_request(_from_csv(body, model), model)
    request = load_object(body, f"an object with one of {', '.join(_FORMS)}")
    if request.get("params"):
        raise InvalidInput(RejectCode.UNKNOWN_COLUMN, "params", "parameters of a model are not supported; leave it out")
    form = only_key(request, _FORMS)
    columns = _read(form, request[form], model)
    in_frame = form.startswith("dataframe")
    return to_request(
        {name: _as_typed(model.inputs[name], values, in_frame) for name, values in columns.items()}, model
    )


def _content_type(headers: Mapping[bytes, bytes]) -> str:
    """Without the header it is JSON."""
    sent = headers.get(b"content-type", b"application/json").decode("latin-1")
    kind, *parameters = (part.strip().lower() for part in sent.split(";"))
    if kind not in ("application/json", "text/csv"):
        raise MalformedRequest(f"the content type must be application/json or text/csv, got {kind[:80]!r}")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8"):
            raise MalformedRequest(f"the charset must be utf-8, got {value[:80]!r}")
    return kind


def _read(form: str, value: Any, model: ModelInterface) -> ColumnValues:
    if form == "dataframe_split":
        return _from_split(value, model)
    if form == "dataframe_records":
        if isinstance(value, list) and not {dict}.issuperset(map(type, value)):
            raise MalformedRequest("'dataframe_records' must be a list of objects {column: value}")
        return from_rows(value, model, form)
    if isinstance(value, list):
        return from_rows(value, model, form)
    if isinstance(value, dict) and any(isinstance(values, list) for values in value.values()):
        return from_columns(value, model, form)
    return from_rows([value], model, form)


def _from_split(frame: Any, model: ModelInterface) -> ColumnValues:
    where = "dataframe_split"
    if not isinstance(frame, dict) or "data" not in frame or not frame.keys() <= {"columns", "index", "data"}:
        raise MalformedRequest(f"'{where}' must be an object with 'data' and perhaps 'columns' and 'index'")
    rows = frame["data"]
    if not isinstance(rows, list) or not {list}.issuperset(map(type, rows)):
        raise InvalidInput(RejectCode.WRONG_TYPE, where, "'data' must be a list with one list for each row")
    check_row_count(len(rows), model, where)
    names = frame.get("columns")
    sole = sole_input(model)
    if sole is not None and sole.shape and (not isinstance(names, list) or sole.name not in names):
        return {sole.name: rows}
    if names is None:
        return from_matrix(rows, positional_names(len(rows[0]), model, where), where)
    return from_matrix(rows, _column_names(names, model), where)


def _column_names(names: Any, model: ModelInterface) -> list[str]:
    """A frame that was made without names has numbers for them."""
    if not isinstance(names, list) or not {str, int}.issuperset(map(type, names)):
        raise MalformedRequest(f"'columns' must be a list of names, got {json_type(names)} that is none")
    found = [str(name) for name in names]
    check_names(found, model)
    for position, name in enumerate(found):
        if name in found[:position]:
            raise InvalidInput(RejectCode.UNKNOWN_COLUMN, name, "this column is given twice")
    return found


def _from_csv(body: bytes, model: ModelInterface) -> ColumnValues:
    """A column without a name is the index that pandas writes, and left out."""
    try:
        lines = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        header = next(lines, [])
        rows = list(islice(filter(None, lines), model.max_rows + 1))
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedRequest(f"the body is not CSV in UTF-8: {error}") from None
    _column_names([name for name in header if name], model)
    check_row_count(len(rows), model, "csv")
    columns = from_matrix(rows, header, "csv")
    return {name: [from_text(model.inputs[name], text) for text in texts] for name, texts in columns.items() if name}


def _as_typed(column: Column, values: list[Any], in_frame: bool) -> list[Any]:
    if column.dtype == "bytes" and in_frame:
        return [{"b64": "".join(value.split())} if isinstance(value, str) else value for value in values]
    if "int" in column.dtype and float in set(map(type, values)):
        return [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    return values


def encode(request: InferRequest, response: InferResponse) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    """One value for each row; of a model with several outputs one record for each row."""
    return dump_json({"predictions": answers_by_row(response)}, _base64_text), JSON_CONTENT


def _base64_text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def encode_error(error: TaxiwayError) -> bytes:
    return orjson.dumps({"error_code": _ERROR_CODES.get(error.status, "BAD_REQUEST"), "message": str(error)})
