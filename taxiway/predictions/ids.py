"""Prediction ids as columns: 16 bytes each, of which the first six are milliseconds since 1970 (UUIDv7, RFC 9562)."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from taxiway.signature import Array

ID_TYPE = pa.binary(16)
HOUR_MS = 3_600_000
_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_DASHES = (8, 13, 18, 23)
_PLACES = np.array([place for place in range(36) if place not in _DASHES])
_HALVES = np.full(256, 255, np.uint8)
_HALVES[np.frombuffer(b"0123456789abcdef0123456789ABCDEF", np.uint8)] = np.arange(32) % 16


def is_prediction_id(text: str) -> bool:
    return _TEXT.fullmatch(text) is not None


def parse(ids: Sequence[str]) -> Array:
    """UUIDs as text to bytes of shape [n, 16]. Raises ValueError for what is no UUID."""
    raw = bytes.fromhex("".join(ids).replace("-", ""))
    if len(raw) != 16 * len(ids):
        raise ValueError("a prediction id has 32 hexadecimal digits")
    return np.frombuffer(raw, np.uint8).reshape(-1, 16)


def of_texts(values: Any) -> tuple[Array, Array]:
    """As `parse`, of an Arrow array of strings: bytes of shape [n, 16], and which rows hold an id of an answer.

    Capitals are taken. The bytes of a row that holds none are zero.
    """
    found = np.zeros((len(values), 16), np.uint8)
    lengths: Any = pc.binary_length(values)
    rows = np.flatnonzero(numbers(lengths) == 36)
    if not len(rows):
        return found, np.zeros(len(values), np.bool_)
    characters = np.frombuffer(values.take(rows).buffers()[2], np.uint8)[: 36 * len(rows)].reshape(-1, 36)
    halves = _HALVES[characters[:, _PLACES]]
    good = (halves < 16).all(axis=1) & (characters[:, _DASHES] == ord("-")).all(axis=1)
    good &= (halves[:, 12] == 7) & (halves[:, 16] >> 2 == 2)
    found[rows[good]] = halves[good, 0::2] << 4 | halves[good, 1::2]
    is_id = np.zeros(len(values), np.bool_)
    is_id[rows[good]] = True
    return found, is_id


def text(ids: Array) -> "pa.Array[Any]":
    """Bytes of shape [n, 16] to UUIDs as text."""
    characters = np.full((len(ids), 36), ord("-"), np.uint8)
    characters[:, _PLACES] = _DIGITS[np.stack((ids >> 4, ids & 15), axis=2).reshape(-1, 32)]
    offsets = np.arange(0, 36 * len(ids) + 1, 36, dtype=np.int64)
    buffers = [None, _buffer(offsets), _buffer(characters)]
    return pa.Array.from_buffers(pa.large_string(), len(ids), buffers).cast(pa.string())


def to_arrow(values: Array) -> "pa.Array[Any]":
    """Bytes of shape [n, width] to an Arrow array of fixed size."""
    return pa.Array.from_buffers(pa.binary(values.shape[1]), len(values), [None, _buffer(values)])


def _buffer(values: Any) -> pa.Buffer:
    content: Any = np.ascontiguousarray(values)
    return pa.py_buffer(content)


def from_arrow(values: "pa.ChunkedArray[Any]") -> Array:
    """An Arrow column of fixed size without nulls to bytes of shape [n, width]."""
    whole: Any = values.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], values.type)
    width = whole.type.byte_width
    if not len(whole):
        return np.zeros((0, width), np.uint8)
    content = np.frombuffer(whole.buffers()[1], np.uint8)
    return content[whole.offset * width : (whole.offset + len(whole)) * width].reshape(-1, width)


def with_uuids(table: pa.Table) -> pa.Table:
    """With the column `prediction_id` as UUIDs, as it stands in files, instead of bytes."""
    position = table.schema.get_field_index("prediction_id")
    storage = to_arrow(from_arrow(table["prediction_id"]))
    return table.set_column(position, "prediction_id", pa.ExtensionArray.from_storage(pa.uuid(), storage))


def milliseconds(ids: Array) -> Array:
    """When each id was made, in milliseconds since 1970."""
    high = np.ascontiguousarray(ids[:, :8]).view(">u8").reshape(-1)
    return (high >> np.uint64(16)).astype(np.int64)


def moment(prediction_id: str) -> datetime:
    """When an id was made."""
    return datetime.fromtimestamp(int(prediction_id.replace("-", "")[:12], 16) / 1000, UTC)


def random_part(prediction_id: str) -> int:
    """48 of the id's random bits."""
    return int(prediction_id[24:], 16)


def numbers(values: Any, missing: int = 0) -> Array:
    """An Arrow column of numbers as numpy, with something for those that are null."""
    return np.asarray(values.fill_null(missing).to_numpy())


def keys(ids: Array, *others: Array) -> "pa.Array[Any]":
    """One value for each row that is equal where the ids and all the other 32-bit columns are equal."""
    wide = [np.ascontiguousarray(other, np.int32).view(np.uint8).reshape(-1, 4) for other in others]
    return to_arrow(np.concatenate([ids, *wide], axis=1))


def order(ids: Array, rows: Array) -> Array:
    """The positions of the rows sorted by id, then by row."""
    halves = np.ascontiguousarray(ids).view(">u8").astype(np.uint64)
    return np.lexsort((rows, halves[:, 1], halves[:, 0]))
