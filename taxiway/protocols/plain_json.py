"""JSON as the protocols without declared types read and write it: what Python and numpy make of it included."""

import base64
from collections.abc import Callable, Mapping, Sequence
from json import loads as loads_with_constants
from typing import Any

import numpy as np
import orjson

from taxiway.errors import MalformedRequest
from taxiway.inference import InferResponse
from taxiway.json_values import json_type

JSON_CONTENT = ((b"content-type", b"application/json"),)
_CONSTANTS: Mapping[str, float | None] = {"NaN": None, "Infinity": np.inf, "-Infinity": -np.inf}


def load_json(body: bytes | memoryview) -> Any:
    """The body's value. Python's `NaN` and `Infinity`, which are no JSON, are read too; NaN is a missing value.

    Raises:
        MalformedRequest: the body is not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        text = bytes(body)
        if b"NaN" not in text and b"Infinity" not in text:
            raise MalformedRequest(f"the body is not JSON: {error}") from None
    try:
        value = loads_with_constants(text, parse_constant=_CONSTANTS.__getitem__)
        # The lenient parser also takes halves of surrogate pairs, endless integers and any depth.
        orjson.dumps(value)
    except (ValueError, RecursionError, orjson.JSONEncodeError) as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from None
    return value


def load_object(body: bytes | memoryview, expected: str) -> dict[str, Any]:
    """The body's object; `expected` ends the sentence that refuses anything else."""
    value = load_json(body)
    if not isinstance(value, dict):
        raise MalformedRequest(f"the body must be {expected}, got {json_type(value)}")
    return value


def only_key(body: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Which of `keys`, the forms that exclude each other, the body has.

    Raises:
        MalformedRequest: none of them, or several.
    """
    found = [key for key in keys if key in body]
    if len(found) != 1:
        shown = " and ".join(map(repr, found)) or "none of them"
        raise MalformedRequest(f"the body must have exactly one of {', '.join(map(repr, keys))}; it has {shown}")
    return found[0]


def answers_by_row(response: InferResponse) -> Any:
    """One value for each row; of a model with several outputs one object for each row."""
    outputs = response.outputs
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    return [dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)]


def dump_json(value: Any, bytes_form: Callable[[bytes], Any] | None = None) -> bytes:
    """JSON of values that may be numpy's; what is not finite becomes null, bytes `{"b64": …}`."""

    def other(found: Any) -> Any:
        if isinstance(found, bytes):
            return (bytes_form or as_base64)(found)
        if isinstance(found, np.ndarray | np.generic):
            return found.tolist()
        raise TypeError(f"{type(found).__name__} has no JSON form")

    return orjson.dumps(value, default=other, option=orjson.OPT_SERIALIZE_NUMPY)


def as_base64(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode()}
