"""One inference request and its response, whatever protocol brought them.

A protocol (taxiway/protocols) turns bytes into an `InferRequest` and an `InferResponse` into bytes; what
lies between is the same for all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from taxiway.json_values import DATATYPE, accepted_datatypes, to_array
from taxiway.signature import Array, Column

_TYPE_CODE = {"b": "BOOL", "i": "INT", "u": "UINT", "f": "FP"}


@dataclass(slots=True)
class JsonColumn:
    """One value a row as JSON gave it, not yet an array: a whole batch of requests becomes one at once.

    `datatype` is what the client declared (`INT64`, `FP32`, …), None where its protocol declares none.
    Not frozen, though nobody changes it: freezing triples the time to make the fifteen of a request.
    """

    values: list[Any]
    datatype: str | None = None


RequestColumns = Mapping[str, "Array | JsonColumn"]


@dataclass(frozen=True)
class ModelInterface:
    """What a client may know of the model behind an endpoint, and what a protocol needs to read a request.

    `inputs` holds every column that a request may bring, in the model's order; those that the feature store
    brings otherwise stand at the end and are not required.
    """

    name: str
    version: str
    platform: str
    inputs: Mapping[str, Column]
    outputs: tuple[Column, ...]
    max_rows: int

    @cached_property
    def scalar_datatypes(self) -> Mapping[str, frozenset[str]]:
        """What a client may declare for each input of one value a row."""
        return {name: accepted_datatypes(column) for name, column in self.inputs.items() if not column.shape}

    @cached_property
    def plain_datatypes(self) -> Mapping[str, frozenset[str]]:
        """Those of the inputs whose JSON values mean the same whatever a tensor's parameters say: all but bytes."""
        return {name: types for name, types in self.scalar_datatypes.items() if self.inputs[name].dtype != "bytes"}

    @cached_property
    def positional(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Which inputs the values of a row without names may be: the required ones, or all of them."""
        return tuple(name for name, column in self.inputs.items() if column.is_required), tuple(self.inputs)

    @cached_property
    def plain_tables(self) -> Mapping[tuple[int, str], tuple[str, ...]]:
        """By width and datatype, the inputs that take one JSON tensor for all of them as it is."""
        known = self.plain_datatypes
        return {
            (len(names), datatype): names
            for names in reversed(self.positional)
            if names and known.keys() >= set(names)
            for datatype in frozenset.intersection(*(known[name] for name in names))
        }

    @cached_property
    def readable_in_place(self) -> Mapping[str, tuple[str, np.dtype[Any]]]:
        """The inputs of one number a row whose bytes, sent as this datatype, are their array already."""
        return {
            name: (DATATYPE[column.dtype], column.numpy_dtype)
            for name, column in self.inputs.items()
            if not column.shape and column.stored_dtype == column.dtype and column.numpy_dtype.kind in "iuf"
        }


@dataclass(frozen=True, slots=True)
class InferRequest:
    """Columns of `rows` values each.

    `outputs` are those that are wanted, None for all. `timeout_s` is the budget that the body names, if it
    does. `answer_form` belongs to the protocol: what it must remember to answer in the form that was asked for.
    """

    id: str | None
    columns: RequestColumns
    rows: int
    outputs: tuple[str, ...] | None = None
    timeout_s: float | None = None
    answer_form: Any = None


@dataclass(frozen=True, slots=True)
class InferResponse:
    """The outputs of a request's rows, and who answered; every output that was asked for, in that order."""

    model_name: str
    model_version: str
    variant: str
    prediction_id: str
    outputs: Mapping[str, Array]


def layout(columns: RequestColumns) -> tuple[Any, ...]:
    """Requests of the same layout can be joined to one batch."""
    return tuple(
        (name, values.datatype) if isinstance(values, JsonColumn) else (name, values.shape[1:])
        for name, values in columns.items()
    )


def size_bytes(columns: RequestColumns) -> int:
    """About the memory that the columns take; a value of JSON counts as eight bytes."""
    return sum(
        8 * len(values.values) if isinstance(values, JsonColumn) else values.nbytes for values in columns.values()
    )


def join(parts: Sequence[RequestColumns], inputs: Mapping[str, Column]) -> dict[str, Array]:
    """The rows of all parts of one layout, in order.

    Raises:
        InvalidInput: a value is not of its column's type; join the parts one by one to find whose.
    """
    first = parts[0]
    if len(parts) == 1:
        return {name: _array(values, inputs[name]) for name, values in first.items()}
    joined: dict[str, Array] = {}
    for name, values in first.items():
        if isinstance(values, JsonColumn):
            together = [value for part in parts for value in part[name].values]  # type: ignore[union-attr]
            joined[name] = to_array(inputs[name], together, values.datatype)
        else:
            joined[name] = np.concatenate([part[name] for part in parts])
    return joined


def _array(values: "Array | JsonColumn", column: Column) -> Array:
    return to_array(column, values.values, values.datatype) if isinstance(values, JsonColumn) else values


def datatype_of(values: Array) -> str:
    """The Open Inference Protocol's name of an array's type."""
    kind = values.dtype.kind
    return "BYTES" if kind not in _TYPE_CODE else _TYPE_CODE[kind] + ("" if kind == "b" else str(values.itemsize * 8))
