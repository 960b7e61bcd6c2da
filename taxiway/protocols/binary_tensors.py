"""Tensors as bytes: little-endian, row-major, without padding; each BYTES element after its length in four bytes.

The binary tensor extension of REST and the raw contents of gRPC are both this. BF16, which numpy does not
know, becomes float32.
"""

import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from taxiway.errors import InvalidInput, MalformedRequest
from taxiway.json_values import NUMPY_TYPE, shown_value
from taxiway.signature import Array, Column, RejectCode

Bytes = bytes | memoryview
_ITEM = {name: dtype.newbyteorder("<") for name, dtype in NUMPY_TYPE.items() if dtype.kind != "O"}
_BF16 = np.dtype("<u2")
_LENGTH = struct.Struct("<I")


def rows_first(column: Column, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the column's array: [rows, 1] of a column of single values is [rows]."""
    return tuple(shape) if column.shape else (shape[0],)


def elements(name: str, datatype: str, count: int, raw: Bytes) -> Array:
    """The flat elements of a tensor; those of BYTES are objects of type bytes.

    Raises:
        MalformedRequest: the bytes are not `count` elements of this datatype.
    """
    if datatype == "BYTES":
        return _split(name, count, raw)
    item = _BF16 if datatype == "BF16" else _ITEM.get(datatype)
    if item is None:
        raise InvalidInput(RejectCode.WRONG_TYPE, name[:80], f"there is no datatype {datatype[:20]!r}")
    if count * item.itemsize != len(raw):
        expected = f"{count} elements of {datatype} are {count * item.itemsize} bytes"
        raise MalformedRequest(f"{name[:80]}: {expected}, the request has {len(raw)} for them")
    found = in_place(raw, item, count)
    if datatype == "BF16":
        return (found.astype(np.uint32) << 16).view(np.float32)
    if datatype == "BOOL" and count and found.view(np.uint8).max() > 1:
        raise MalformedRequest(f"{name[:80]}: a BOOL is a byte of 0 or 1, got {found.view(np.uint8).max()}")
    return found


def in_place(raw: Bytes, item: np.dtype[Any], count: int, offset: int = 0) -> Array:
    """A view of the bytes, if they lie well in memory.

    Behind JSON of any length, numbers may lie where numpy and C libraries read them slowly or not at all.
    """
    found = np.frombuffer(raw, item, count, offset)
    return found if found.flags.aligned else found.copy()


def _split(name: str, count: int, raw: Bytes) -> Array:
    if count * _LENGTH.size > len(raw):
        raise MalformedRequest(f"{name[:80]}: {count} elements of BYTES need more than the {len(raw)} bytes given")
    data, offset, found = bytes(raw), 0, []
    for position in range(count):
        start = offset + _LENGTH.size
        offset = start + _LENGTH.unpack_from(data, offset)[0] if start <= len(data) else start
        if offset > len(data):
            raise MalformedRequest(f"{name[:80]}: the bytes end within element {position} of {count}")
        found.append(data[start:offset])
    if offset != len(data):
        raise MalformedRequest(f"{name[:80]}: {len(data) - offset} bytes follow the last of {count} elements")
    return _object_array(found)


def objects(column: Column, found: Array) -> Array:
    """Elements of BYTES in the column's form: text for strings.

    Raises:
        InvalidInput: a string is not UTF-8.
    """
    if column.dtype == "bytes":
        return found
    try:
        return _object_array([element.decode() for element in found.ravel()]).reshape(found.shape)
    except UnicodeDecodeError as error:
        reason = f"expected text in UTF-8, got other bytes: {error.reason} at position {error.start}"
        raise InvalidInput(RejectCode.WRONG_TYPE, column.name, reason) from None


def _object_array(values: list[Any]) -> Array:
    found = np.empty(len(values), dtype=np.object_)
    found[:] = values
    return found


def from_array(values: Array) -> bytes:
    """The bytes of a tensor; of objects, None becomes an element of no bytes."""
    if values.dtype.kind in "biuf":
        return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    encoded = [_encoded(value) for value in values.ravel().tolist()]
    return b"".join(chain.from_iterable((_LENGTH.pack(len(element)), element) for element in encoded))


def _encoded(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"" if value is None else str(value).encode(errors="replace")


def json_length(header: bytes, body: bytes) -> int:
    """How much of a body is JSON, as the header Inference-Header-Content-Length says.

    Raises:
        MalformedRequest: the header is no number, or larger than the body.
    """
    shown = header[:30].decode("latin-1")
    if not header.isdigit() or len(header) > 18:
        raise MalformedRequest(f"Inference-Header-Content-Length must be a number of bytes, got {shown!r}")
    if int(header) > len(body):
        raise MalformedRequest(f"Inference-Header-Content-Length is {shown}, the body has only {len(body)} bytes")
    return int(header)


def share_out(tensors: Sequence[Any], data: memoryview) -> list[memoryview | None]:
    """The bytes of each tensor that has a `binary_data_size`, in order; None for one that has not.

    Raises:
        MalformedRequest: the sizes are no sizes, or do not add up to the bytes behind the JSON.
    """
    shares: list[memoryview | None] = []
    offset = 0
    for tensor in tensors:
        size = _binary_data_size(tensor)
        if size is None:
            shares.append(None)
            continue
        if offset + size > len(data):
            left = len(data) - offset
            raise MalformedRequest(f"a tensor's 'binary_data_size' is {size}, the body has only {left} bytes left")
        shares.append(data[offset : offset + size])
        offset += size
    if offset != len(data):
        raise MalformedRequest(f"the body has {len(data)} bytes behind its JSON, the tensors take {offset} of them")
    return shares


def _binary_data_size(tensor: Any) -> int | None:
    parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None or (type(size) is int and size >= 0):
        return size
    raise MalformedRequest(f"'binary_data_size' must be a whole number of bytes, got {shown_value(size)}")
