"""Values as JSON gives them to the numpy form of a column: the same rules for every protocol that speaks JSON."""

import base64
from collections.abc import Mapping
from itertools import compress
from typing import Any

import numpy as np

from taxiway.errors import InvalidInput
from taxiway.signature import Array, Column, RejectCode

NUMPY_TYPE: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("bool"),
    **{f"{sign}INT{bits}": np.dtype(f"{sign.lower()}int{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    "BYTES": np.dtype("object"),
}
"""The Open Inference Protocol's datatypes."""
DATATYPE: Mapping[str, str] = {
    "bool": "BOOL",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
    "bytes": "BYTES",
}
"""The datatype of each column type."""
_JSON_TYPES: Mapping[str, frozenset[type]] = {
    "b": frozenset({bool}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    "f": frozenset({int, float}),
}
_ACCEPTED_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "fiu", "O": "O"}
_ACCEPTED: Mapping[str, Mapping[str | None, np.dtype[Any]]] = {
    dtype: {name: NUMPY_TYPE[name] for name in NUMPY_TYPE if NUMPY_TYPE[name].kind in _ACCEPTED_KINDS[own.kind]}
    | {None: own}
    for dtype, own in ((dtype, NUMPY_TYPE[datatype]) for dtype, datatype in DATATYPE.items())
}
_NARROW_FLOATS = (np.dtype("float16"), np.dtype("float32"))


def accepted_datatypes(column: Column) -> frozenset[str]:
    """What a client may declare for a column."""
    return frozenset(datatype for datatype in _ACCEPTED[column.dtype] if datatype is not None)


def accepted_type(column: Column, datatype: str | None) -> np.dtype[Any]:
    """The numpy type of what a client declared for a column; without a declaration the column's own.

    Raises:
        InvalidInput: the column does not take it.
    """
    declared = _ACCEPTED[column.dtype].get(datatype)
    if declared is None:
        reason = f"expected the datatype {DATATYPE[column.dtype]}, got {str(datatype)[:20]}"
        raise InvalidInput(RejectCode.WRONG_TYPE, column.name, reason)
    return declared


def to_array(column: Column, values: list[Any], datatype: str | None) -> Array:
    """One array of a column's own type from one JSON value a row; null is a missing value.

    Raises:
        InvalidInput: a value has another type, does not fit, or is missing where none may be.
    """
    declared = accepted_type(column, datatype)
    if column.is_object:
        return _objects(column, values)
    found, accepted = set(map(type, values)), _JSON_TYPES[declared.kind]
    if found <= accepted:
        return numbers(column, values, declared)
    if not found - {type(None)} <= accepted:
        odd = next(value for value in values if value is not None and type(value) not in accepted)
        shown = datatype or column.dtype
        raise InvalidInput(RejectCode.WRONG_TYPE, column.name, f"expected values of {shown}, got {shown_value(odd)}")
    if not column.nullable:
        raise InvalidInput(RejectCode.MISSING_VALUE, column.name, f"got nothing, expected a {column.dtype}")
    spread = np.full(len(values), np.nan, dtype=column.numpy_dtype)
    present = [value is not None for value in values]
    spread[present] = numbers(column, list(compress(values, present)), declared)
    return spread


def numbers(column: Column, values: Any, declared: np.dtype[Any]) -> Array:
    """Numbers of a declared type in the column's own: a value means the same in JSON as in binary.

    Args:
        values: (nested) lists of numbers, or an array of the declared type.

    Raises:
        InvalidInput: a number does not fit.
    """
    try:
        found = _cast(values, declared)
    except OverflowError:
        shown = f"a value does not fit into {DATATYPE[declared.name]}"
        if declared.kind != "f":
            limits = np.iinfo(declared)
            shown += f", {limits.min} to {limits.max}"
        raise InvalidInput(RejectCode.OUT_OF_RANGE, column.name, shown) from None
    if column.numpy_dtype == declared:
        return found
    own = NUMPY_TYPE[DATATYPE[column.dtype]]
    if own.kind in "iu" and own != declared and found.size:
        limits = np.iinfo(own)
        low, high = int(found.min()), int(found.max())
        if low < limits.min or high > limits.max:
            odd = high if high > limits.max else low
            raise InvalidInput(
                RejectCode.OUT_OF_RANGE, column.name, f"{odd} does not fit into {DATATYPE[column.dtype]}"
            )
    return _cast(found, column.numpy_dtype)


def _cast(values: Any, dtype: np.dtype[Any]) -> Array:
    """What is too large for a narrow float becomes infinite, which `Column.finite` is about."""
    if dtype in _NARROW_FLOATS:
        with np.errstate(over="ignore"):
            return np.asarray(values, dtype=dtype)
    return np.asarray(values, dtype=dtype)


def _objects(column: Column, values: list[Any]) -> Array:
    found = np.empty(len(values), dtype=np.object_)
    if column.dtype == "bytes":
        found[:] = [_bytes(column, value) for value in values]
        return found
    if not {str, type(None)}.issuperset(map(type, values)):
        values = [_text(column, value) for value in values]
    found[:] = values
    return found


def _text(column: Column, value: Any) -> str | None:
    if isinstance(value, str | None):
        return value
    if not _is_base64(value):
        raise InvalidInput(RejectCode.WRONG_TYPE, column.name, f"expected strings, got {json_type(value)}")
    try:
        return _decoded(column, value["b64"]).decode()
    except UnicodeDecodeError:
        raise InvalidInput(RejectCode.WRONG_TYPE, column.name, "this base64 holds no text in UTF-8") from None


def _bytes(column: Column, value: Any) -> bytes | None:
    """A string stands for its UTF-8 bytes; arbitrary bytes come as `{"b64": …}`, as in TensorFlow Serving."""
    if isinstance(value, str):
        return value.encode()
    if _is_base64(value):
        return _decoded(column, value["b64"])
    if value is None:
        return None
    raise InvalidInput(RejectCode.WRONG_TYPE, column.name, f'expected a string or {{"b64": …}}, got {json_type(value)}')


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)


def _decoded(column: Column, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidInput(RejectCode.WRONG_TYPE, column.name, f"this is not base64: {error}") from None


def shown_value(value: Any) -> str:
    """A value for an error text: never a long one, and no container, which may be too deep to print."""
    if isinstance(value, str | bool | int | float):
        return f"{json_type(value)} {str(value)[:40]!r}"
    return json_type(value)


def json_type(value: Any) -> str:
    """What a JSON value is, with its article."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
