"""One row of the log for each row of an answer: the columns that every file has, and those of the model.

| column | type | |
|---|---|---|
| prediction_id | uuid | 16 bytes, a UUID for DuckDB and other readers of Parquet |
| row | int32 | within the request, from 0 |
| time | timestamp[us, UTC] | when the request arrived |
| variant, version, kind, status | string | kind is `live` or `shadow`; status is `ok` or an error's code |
| latency_ms | float32 | from arrival to answer |
| assignment | uint64 | the hash of the sticky key that chose the variant; null: drawn |
| subject | string | the keyed digest of whom the row is about, where the settings name an input |
| trace_id | string | |
| input.NAME, output.NAME | by the model | tensors are nested lists; a missing value is null |

The endpoint stands in the path. A shadow's record has the id of the live answer that it copies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from taxiway.predictions import ids
from taxiway.predictions.fields import ENCRYPTED, FieldRules
from taxiway.signature import Array, Column, Columns

Kind = Literal["live", "shadow"]
OK = "ok"

SCHEMA = pa.schema(
    [
        pa.field("prediction_id", pa.uuid(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("time", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("variant", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("latency_ms", pa.float32(), nullable=False),
        pa.field("assignment", pa.uint64()),
        pa.field("subject", pa.string()),
        pa.field("trace_id", pa.string()),
    ]
)


@dataclass(frozen=True, eq=False)
class Source:
    """Who answers: made once for a loaded version, not for each batch. The columns say the types of strings."""

    endpoint: str
    variant: str
    version: str
    kind: Kind = "live"
    inputs: Mapping[str, Column] = field(default_factory=dict)
    outputs: Mapping[str, Column] = field(default_factory=dict)


@dataclass(slots=True)
class LoggedBatch:
    """Requests that were answered together, as the model saw them. Nobody changes the arrays afterwards.

    Not frozen, though nobody changes it: freezing triples the time to make one.

    Args:
        inputs: what the model was given, features included; `sum(rows)` values each.
        outputs: as many values each, or no column at all where there is no answer.
        ids: the prediction id of each request.
        rows: how many rows each request has.
        arrived_s: of each request, seconds since 1970.
        latency_ms: of each request.
        status: `ok` or the code of an error for each request; None: all are ok.
        assignment: 64 bits for each request, or None for one that was drawn.
    """

    source: Source
    inputs: Columns
    outputs: Columns
    ids: Sequence[str]
    rows: Sequence[int]
    arrived_s: Sequence[float] | Array
    latency_ms: Sequence[float] | Array
    status: Sequence[str] | None = None
    assignment: Sequence[int | None] | None = None
    trace_ids: Sequence[str | None] | None = None

    def size_bytes(self) -> int:
        """About what it holds in memory; strings count as sixteen bytes."""
        size = 200 * len(self.ids)
        for columns in (self.inputs, self.outputs):
            for values in columns.values():
                size += 3 * values.nbytes if values.dtype.hasobject else values.nbytes
        return size

    def only(self, kept: Sequence[bool]) -> "LoggedBatch":
        """The same without some requests."""
        rows = np.repeat(np.asarray(kept), self.rows)

        def some(values: Sequence[Any] | Array | None) -> Any:
            return None if values is None else [value for value, keep in zip(values, kept, strict=True) if keep]

        return LoggedBatch(
            self.source,
            {name: values[rows] for name, values in self.inputs.items()},
            {name: values[rows] for name, values in self.outputs.items()},
            *(some(values) for values in (self.ids, self.rows, self.arrived_s, self.latency_ms)),
            *(some(values) for values in (self.status, self.assignment, self.trace_ids)),
        )


def records(batches: Sequence[LoggedBatch], rules: FieldRules) -> pa.Table:
    """Batches of one source with the same columns as records, in order.

    Raises:
        ValueError: a column has another number of rows than the requests, or an id is no UUID.
    """
    source = batches[0].source
    columns = _about_requests(batches, rules)
    fields: list[Any] = [SCHEMA.field(name) for name in columns]
    for prefix, known in (("input", source.inputs), ("output", source.outputs)):
        for name in getattr(batches[0], f"{prefix}s"):
            if not rules.drops(name):
                parts = [getattr(batch, f"{prefix}s")[name] for batch in batches]
                column = f"{prefix}.{name}"
                if rules.encrypts(name):
                    columns[column] = rules.encrypted(source.endpoint, column, chain.from_iterable(parts))
                else:
                    columns[column] = _column(name, parts, known.get(name), rules)
                mark = ENCRYPTED if rules.encrypts(name) else None
                fields.append(pa.field(column, columns[column].type, metadata=mark))
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))


def _subjects(batches: Sequence[LoggedBatch], rules: FieldRules, rows: int) -> Any:
    if rules.subject is None or rules.subject not in batches[0].inputs:
        return pa.nulls(rows, pa.string())
    parts = [rules.subjects(batch.inputs[rules.subject]) for batch in batches]
    return pa.array(np.concatenate(parts), pa.string())


def _about_requests(batches: Sequence[LoggedBatch], rules: FieldRules) -> dict[str, Any]:
    source = batches[0].source
    rows = np.concatenate([np.asarray(batch.rows, np.int64) for batch in batches])
    owner = np.repeat(np.arange(len(rows)), rows)
    identity = ids.parse(list(chain.from_iterable(batch.ids for batch in batches)))[owner]
    arrived_us = np.concatenate([np.asarray(batch.arrived_s, np.float64) for batch in batches]) * 1e6
    latency = np.concatenate([np.asarray(batch.latency_ms, np.float32) for batch in batches])
    total = len(owner)
    return {
        "prediction_id": pa.ExtensionArray.from_storage(pa.uuid(), ids.to_arrow(identity)),
        "row": pa.array((np.arange(total) - np.repeat(np.cumsum(rows) - rows, rows)).astype(np.int32)),
        "time": pa.array(arrived_us.astype(np.int64)[owner]).cast(pa.timestamp("us", "UTC")),
        "variant": _same(source.variant, total),
        "version": _same(source.version, total),
        "kind": _same(source.kind, total),
        "status": _each(batches, "status", OK, pa.string()).take(owner),
        "latency_ms": pa.array(latency[owner]),
        "assignment": _each(batches, "assignment", None, pa.uint64()).take(owner),
        "subject": _subjects(batches, rules, total),
        "trace_id": _each(batches, "trace_ids", None, pa.string()).take(owner),
    }


def _same(value: str, rows: int) -> Any:
    return pa.repeat(pa.scalar(value, pa.string()), rows)


def _each(batches: Sequence[LoggedBatch], name: str, default: Any, kind: Any) -> Any:
    every = [getattr(batch, name) for batch in batches]
    if all(values is None for values in every):
        return pa.repeat(pa.scalar(default, kind), sum(len(batch.ids) for batch in batches))
    pairs = zip(batches, every, strict=True)
    return pa.array(
        list(chain.from_iterable([default] * len(it.ids) if values is None else values for it, values in pairs)), kind
    )


def _column(name: str, parts: Sequence[Array], column: Column | None, rules: FieldRules) -> Any:
    if rules.hashes(name):
        return pa.array(np.concatenate([rules.digests(name, part) for part in parts]), pa.string())
    element = _element_type(parts[0], column)
    if len({part.shape[1:] for part in parts}) == 1:
        return _values(np.concatenate(parts) if len(parts) > 1 else parts[0], element)
    return pa.concat_arrays([_values(part, element) for part in parts])


def _element_type(values: Array, column: Column | None) -> Any:
    if column is not None and column.is_object:
        return pa.string() if column.dtype == "string" else pa.binary()
    if values.dtype == np.object_:
        found = next((value for value in values.reshape(-1) if value is not None), "")
        return pa.binary() if isinstance(found, bytes) else pa.string()
    kind = column.numpy_dtype if column is not None else values.dtype
    # Not every reader of Parquet knows floats of 16 bits.
    return pa.float32() if kind == np.float16 else pa.from_numpy_dtype(kind)


def _values(values: Array, element: Any) -> Any:
    """A tensor becomes lists in lists: its sizes may differ from row to row."""
    flat: Any = values.reshape(-1)
    if flat.dtype == np.float16:
        flat = flat.astype(np.float32)
    nested: Any = (
        pa.array(flat, from_pandas=True).cast(element) if flat.dtype != np.object_ else pa.array(flat, element)
    )
    for axis in range(values.ndim - 1, 0, -1):
        lists = int(np.prod(values.shape[:axis], dtype=np.int64))
        offsets = np.arange(lists + 1, dtype=np.int64) * values.shape[axis]
        nested = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), nested)
    return nested
