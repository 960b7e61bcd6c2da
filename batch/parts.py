"""The tables that a piece becomes, and the files that hold them."""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from batch.pieces import PartFile
from taxiway.signature import Array, Reject


def part_table(schema: pa.Schema, kept: pa.Table, outputs: Mapping[str, Array], stamps: Mapping[str, str]) -> pa.Table:
    """The answers of the rows in `kept` (row id and kept columns), in the order and the types of `schema`."""
    columns = []
    for field in schema:
        if field.name in stamps:
            columns.append(pa.repeat(pa.scalar(stamps[field.name], field.type), kept.num_rows))
        elif field.name in kept.column_names:
            columns.append(kept.column(field.name).cast(field.type))
        else:
            columns.append(pa.array(outputs.get(field.name, ()), field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def first_rejects(rejects: Sequence[Reject]) -> dict[int, tuple[str, str, str]]:
    """Code, field and reason that count for each refused row, by ascending position."""
    first = {
        int(row): (str(reject.code), reject.field, reason)
        for reject in reversed(rejects)
        for row, reason in zip(reject.rows, reject.reasons, strict=True)
    }
    return dict(sorted(first.items()))


def quarantine_table(
    schema: pa.Schema,
    row_ids: "pa.ChunkedArray[Any]",
    originals: pa.Table,
    described: Sequence[tuple[str, str, str]],
    stamps: Mapping[str, str],
) -> pa.Table:
    """Refused rows: `originals` is all that the input held, `described` code, field and reason of each."""
    codes, names, reasons = zip(*described, strict=True)
    rows = [json.dumps(_plain(row), ensure_ascii=False) for row in originals.to_pylist()]
    columns: list[Any] = [row_ids.cast(schema.field(0).type), codes, names, reasons, rows]
    columns += [[stamps[name]] * len(rows) for name in schema.names[len(columns) :]]
    return pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema)


def _plain(value: Any) -> Any:
    """What JSON can hold: a number that it has no word for becomes a string, so does a moment."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def write_part(system: fs.FileSystem, folder: str, path: str, table: pa.Table) -> PartFile:
    """Writes `folder`/`path` so that the name never stands for half a file."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    content = buffer.getvalue()
    target = f"{folder}/{path}"
    with system.open_output_stream(f"{target}.writing") as sink:
        sink.write(content)
    system.move(f"{target}.writing", target)
    return PartFile(path=path, rows=table.num_rows, sha256=hashlib.sha256(content).hexdigest())
