"""The OpenAPI 3.1 document of what is served now: every path with the models' own columns and an example row."""

from collections.abc import Mapping, Sequence
from typing import Any

from taxiway.inference import ModelInterface
from taxiway.json_values import DATATYPE
from taxiway.signature import Column

Schema = dict[str, Any]

_JSON_TYPE = {"bool": "boolean", "string": "string"}
_ERROR = {"description": "An error; its code stands in the header `taxiway-error`."}
_HEADERS: Mapping[str, str] = {
    "taxiway-timeout-ms": "Milliseconds for queueing, features and inference together; 504 when they are over.",
    "taxiway-model-version": "The version that has to answer, instead of the traffic split.",
}


def document(models: Sequence[ModelInterface], server_version: str) -> Schema:
    """The whole document.

    Args:
        models: one for each endpoint.
    """
    paths: Schema = {
        "/v2/health/live": _get("Is the process alive?", "Health", {"type": "object"}),
        "/v2/health/ready": _get("Are the models ready?", "Health", {"type": "object"}),
        "/v2": _get("Name, version and extensions of the server.", "Server", {"type": "object"}),
        "/-/status": _get(
            "Variants, versions and traffic of every endpoint, and how fresh features are.",
            "Server",
            {"type": "object"},
        ),
    }
    for model in models:
        paths |= _paths(model)
    if len(models) == 1:
        paths["/invocations"] = paths[f"/models/{models[0].name}/invocations"]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Taxiway", "version": server_version, "summary": "Models in production."},
        "paths": paths,
        "components": {
            "schemas": {
                "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
            }
        },
    }


def example_row(model: ModelInterface) -> dict[str, Any]:
    """A row that the model accepts, of the columns that are required."""
    return {column.name: example_value(column) for column in model.inputs.values() if column.is_required}


def example_value(column: Column) -> Any:
    value = _example_scalar(column)
    for size in reversed(column.shape):
        value = [value] * max(size, 1)
    return value


def example_inference(model: ModelInterface, rows: int = 1) -> Schema:
    """The body of an Open Inference Protocol request with the example row."""
    required = [column for column in model.inputs.values() if column.is_required]
    return {
        "inputs": [
            {
                "name": column.name,
                "shape": [rows, *(max(size, 1) for size in column.shape)],
                "datatype": DATATYPE[column.dtype],
                "data": [example_value(column)] * rows,
            }
            for column in required
        ]
    }


def _paths(model: ModelInterface) -> Schema:
    name, row = model.name, example_row(model)
    rows: Schema = {"type": "array", "minItems": 1, "items": _row(model)}
    predictions = {"type": "object", "required": ["predictions"], "properties": {"predictions": {"type": "array"}}}
    return {
        f"/v2/models/{name}": _get(f"Inputs and outputs of {name}.", name, {"type": "object"}),
        f"/v2/models/{name}/ready": _get(f"Is {name} ready?", name, {"type": "object"}),
        f"/v2/models/{name}/infer": _post(
            "Open Inference Protocol v2: tensors.", name, _infer(model), example_inference(model), _inferred(model)
        ),
        f"/v1/models/{name}": _get(f"Is {name} ready? As TensorFlow Serving answers it.", name, {"type": "object"}),
        f"/v1/models/{name}:predict": _post(
            "KServe v1, TensorFlow Serving: rows.",
            name,
            {"type": "object", "required": ["instances"], "properties": {"instances": rows}},
            {"instances": [row]},
            predictions,
        ),
        f"/models/{name}/invocations": _post(
            "MLflow scoring: records.",
            name,
            {"type": "object", "required": ["dataframe_records"], "properties": {"dataframe_records": rows}},
            {"dataframe_records": [row]},
            predictions,
        ),
        f"/predictions/{name}": _post("TorchServe: one row, or a list of rows.", name, _row(model), row, {}),
    }


def _get(summary: str, tag: str, answer: Schema) -> Schema:
    content = {"application/json": {"schema": answer}}
    return {
        "get": {
            "summary": summary,
            "tags": [tag],
            "responses": {"200": {"description": "OK", "content": content}, **_errors()},
        }
    }


def _post(summary: str, tag: str, body: Schema, example: Any, answer: Schema) -> Schema:
    parameters = [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in _HEADERS.items()
    ]
    return {
        "post": {
            "summary": summary,
            "tags": [tag],
            "parameters": parameters,
            "requestBody": {"required": True, "content": {"application/json": {"schema": body, "example": example}}},
            "responses": {
                "200": {"description": "The answer.", "content": {"application/json": {"schema": answer}}},
                **_errors(),
            },
        }
    }


def _errors() -> Schema:
    return {"default": _ERROR | {"content": {"application/json": {"schema": {"type": "object"}}}}}


def _row(model: ModelInterface) -> Schema:
    required = [column.name for column in model.inputs.values() if column.is_required]
    properties = {column.name: _value(column) for column in model.inputs.values()}
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _value(column: Column) -> Schema:
    schema = _scalar(column)
    if column.nullable:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    for size in reversed(column.shape):
        bounds = {} if size < 0 else {"minItems": size, "maxItems": size}
        schema = {"type": "array", "items": schema} | bounds
    return schema | ({"description": column.description} if column.description else {})


def _scalar(column: Column) -> Schema:
    if column.dtype == "bytes":
        return {"type": "object", "required": ["b64"], "properties": {"b64": {"type": "string"}}}
    kind = _JSON_TYPE.get(column.dtype) or ("number" if column.dtype.startswith("float") else "integer")
    schema: Schema = {"type": kind}
    if column.categories is not None:
        schema["enum"] = list(column.categories)
    for key, bound in (("minimum", column.minimum), ("maximum", column.maximum)):
        if bound is not None:
            schema[key] = bound
    return schema


def _infer(model: ModelInterface) -> Schema:
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {
                "type": "array",
                "minItems": 1,
                "items": {"oneOf": [_tensor(it) for it in model.inputs.values()]},
            },
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"enum": [column.name for column in model.outputs]}},
                },
            },
        },
    }


def _tensor(column: Column) -> Schema:
    return {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"const": column.name},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            "datatype": {"const": DATATYPE[column.dtype]},
            "data": {"type": "array", "items": _value(column)},
        },
    }


def _inferred(model: ModelInterface) -> Schema:
    return {
        "type": "object",
        "required": ["model_name", "model_version", "id", "outputs"],
        "properties": {
            "model_name": {"const": model.name},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "outputs": {"type": "array", "items": {"type": "object", "required": ["name", "shape", "datatype"]}},
        },
    }


def _example_scalar(column: Column) -> Any:
    if column.dtype == "string":
        return column.categories[0] if column.categories else "text"
    if column.dtype == "bytes":
        return {"b64": "AAECAw=="}
    if column.dtype == "bool":
        return True
    low, high = column.minimum, column.maximum
    if low is not None and high is not None:
        middle = (low + high) / 2
    else:
        middle = low if low is not None else min(high, 1.0) if high is not None else 1.0
    return float(middle) if column.dtype.startswith("float") else int(middle)
