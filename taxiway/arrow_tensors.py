"""Arrow lists, nested or flat, as the tensors of a column: which rows have the shape, and their elements."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from taxiway.signature import Array


@dataclass(frozen=True)
class Flattened:
    """The rows that have one shape, and all of their elements in order; rows that are null; rows of another shape."""

    elements: "pa.Array[Any]"
    rows: Array
    shape: tuple[int, ...]
    missing: Array
    odd: Array


def holds_tensors(found: pa.DataType, shape: Sequence[int]) -> bool:
    """Whether values of an Arrow type may have a shape: lists as deep as it, or flat ones of a fixed size."""
    if isinstance(found, pa.FixedShapeTensorType):
        fits = len(found.shape) == len(shape) and all(
            it[0] in (-1, it[1]) for it in zip(shape, found.shape, strict=True)
        )
        return fits and list(found.permutation or range(len(shape))) == list(range(len(shape)))
    depth = _depth(found)
    return depth == len(shape) or (depth == 1 and -1 not in shape)


def element_type(found: Any) -> Any:
    """The type of what stands in the innermost lists."""
    while _is_list(found) or isinstance(found, pa.FixedShapeTensorType):
        found = found.value_type
    return found


def flattened(values: Any, shape: Sequence[int]) -> Flattened:
    """Takes rows of lists apart. With a size of -1 in `shape` it is the most frequent size that counts."""
    missing = values.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_null(values.type):
        nothing = np.zeros(0, np.intp)
        return Flattened(values[:0], nothing, _one(shape), missing, np.zeros(len(values), np.bool_))
    if isinstance(values.type, pa.FixedShapeTensorType):
        # It is a flat list with the shape beside it.
        shape, values = tuple(values.type.shape), values.storage
    elements, sizes, owners = _unnested(values)
    wanted = shape if sizes.shape[1] == len(shape) else (prod(shape),)
    fits = ~missing & np.all([_fits(wanted[place], sizes[:, place]) for place in range(len(wanted))], axis=0)
    usual = _most_frequent(sizes[fits])
    if usual is not None:
        fits &= np.all(sizes == usual, axis=1)
    if not fits.all():
        elements = elements.filter(pa.array(fits[owners]))
    row_shape = tuple(shape) if -1 not in shape else _one(shape) if usual is None else tuple(map(int, usual))
    return Flattened(elements, np.flatnonzero(fits), row_shape, missing, ~fits & ~missing)


def _unnested(values: Any) -> tuple["pa.Array[Any]", Array, Array]:
    """The innermost elements, each row's size in every dimension (-1: they differ), and each element's row."""
    owners = np.arange(len(values))
    sizes, rows = [], len(values)
    while _is_list(values.type):
        lists = _plain_list(values)
        lengths = pc.list_value_length(lists).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.intp)
        sizes.append(_common(lengths, owners, rows))
        owners = np.repeat(owners, np.maximum(lengths, 0))
        values = lists.flatten()
    return values, np.stack(sizes, axis=1), owners


def _common(lengths: Array, owners: Array, rows: int) -> Array:
    """The length that all lists of a row have; -1 where they differ or one is null, 0 where there are none."""
    smallest, largest = np.full(rows, np.iinfo(np.intp).max), np.full(rows, -1, np.intp)
    np.minimum.at(smallest, owners, lengths)
    np.maximum.at(largest, owners, lengths)
    has_lists = smallest < np.iinfo(np.intp).max
    return np.where(smallest == largest, largest, np.where(has_lists, -1, 0))


def _fits(wanted: int, sizes: Array) -> Array:
    return sizes >= 0 if wanted == -1 else sizes == wanted


def _most_frequent(sizes: Array) -> Array | None:
    if not len(sizes):
        return None
    found, counts = np.unique(sizes, axis=0, return_counts=True)
    return np.asarray(found[counts.argmax()])


def _one(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(max(size, 1) for size in shape)


def _depth(found: Any) -> int:
    depth = 0
    while _is_list(found):
        found, depth = found.value_type, depth + 1
    return depth


def _is_list(found: pa.DataType) -> bool:
    kinds = pa.types
    is_view = kinds.is_list_view(found) or kinds.is_large_list_view(found)
    is_sized = kinds.is_list(found) or kinds.is_large_list(found) or kinds.is_fixed_size_list(found)
    return bool(is_view or is_sized)


def _plain_list(values: Any) -> Any:
    if pa.types.is_list_view(values.type) or pa.types.is_large_list_view(values.type):
        # Arrow's own cast of views with nulls gives an invalid array (25.0).
        return pa.array(values.to_pylist(), pa.large_list(values.type.value_type))
    return values
