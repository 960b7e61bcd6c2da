"""The tables that a piece becomes, and the files that hold them."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch.output.store import Sink, Store
from batch.output.workspace import Workspace
from batch.pieces import PartFile
from taxiway.errors import JobError
from taxiway.signature import Array, Reject

_ROW_GROUP_ROWS = 131_072
_MOST_PARTITIONS = 1_000
_NULL = "__HIVE_DEFAULT_PARTITION__"


def part_table(
    schema: pa.Schema, kept: pa.Table, outputs: Mapping[str, Array], stamps: Mapping[str, str | None]
) -> pa.Table:
    """The answers of the rows in `kept` (row id and kept columns), in the order and the types of `schema`."""
    columns: list[Any] = []
    for field in schema:
        if field.name in stamps:
            columns.append(_repeated(stamps[field.name], kept.num_rows))
        elif field.name in kept.column_names:
            columns.append(kept.column(field.name).cast(field.type))
        else:
            columns.append(_array(outputs.get(field.name, ()), field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _array(values: Any, kind: pa.DataType) -> "pa.Array[Any]":
    return pa.array(values.tolist() if getattr(values, "ndim", 1) > 1 else values, kind)


def _repeated(value: str | None, rows: int) -> "pa.Array[Any]":
    """One word for all rows: it is written once, and a reader keeps it once."""
    indices: Any = pa.array(np.zeros(rows, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([value]))


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
    row_ids: "pa.ChunkedArray[Any] | pa.Array[Any]",
    originals: Sequence[str],
    described: Sequence[tuple[str, str, str]],
    stamps: Mapping[str, str],
) -> pa.Table:
    """Refused rows: `originals` is all that the input held, `described` code, field and reason of each."""
    codes, names, reasons = zip(*described, strict=True)
    columns: list[Any] = [row_ids.cast(schema.field(0).type), codes, names, reasons, originals]
    columns += [_repeated(stamps[name], len(originals)) for name in schema.names[len(columns) :]]
    return pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema)


@dataclass(frozen=True)
class PartsForm:
    """How parts are written; columns of `partition_by` become folders."""

    schema: pa.Schema
    quarantine: pa.Schema
    partition_by: tuple[str, ...]
    compression: str


class PieceFiles:
    """The files of one piece; nothing has its name before `close`, and nothing has after an error."""

    def __init__(self, workspace: Workspace, piece: int, form: PartsForm) -> None:
        self._workspace, self._piece, self._form = workspace, piece, form
        self._closing = ExitStack()
        self._parts: dict[str, _File] = {}
        self._quarantine: _File | None = None

    def __enter__(self) -> "PieceFiles":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None:
            for file in self._files:
                file.abandon()
            self._closing.__exit__(kind, error, trace)

    def write(self, table: pa.Table) -> None:
        for folder, rows in self._partitioned(table):
            self._part(folder, rows.schema).add(rows)

    def refuse(self, table: pa.Table) -> None:
        if self._quarantine is None:
            path = self._workspace.quarantined(self._piece)
            self._quarantine = _File(self._workspace.store, path, self._form.quarantine, self._form, self._closing)
        self._quarantine.add(table)

    def close(self) -> tuple[tuple[PartFile, ...], PartFile | None]:
        """Ends all files; they are durable then."""
        if not self._parts and not self._form.partition_by:
            self._part("", self._form.schema)
        for file in self._files:
            file.finish()
        self._closing.close()
        parts = tuple(sorted((file.described() for file in self._parts.values()), key=lambda part: part.path))
        return parts, self._quarantine.described() if self._quarantine else None

    @property
    def _files(self) -> list["_File"]:
        return [*self._parts.values(), *([self._quarantine] if self._quarantine else [])]

    def _part(self, folder: str, schema: pa.Schema) -> "_File":
        if folder not in self._parts:
            if len(self._parts) == _MOST_PARTITIONS:
                names = ", ".join(self._form.partition_by)
                raise JobError(
                    f"partition_by: one piece has more than {_MOST_PARTITIONS} values of {names}; choose fewer"
                )
            path = self._workspace.part(self._piece, folder)
            self._parts[folder] = _File(self._workspace.store, path, schema, self._form, self._closing)
        return self._parts[folder]

    def _partitioned(self, table: pa.Table) -> list[tuple[str, pa.Table]]:
        """Rows by folder, in their order."""
        names = self._form.partition_by
        if not names:
            return [("", table)]
        folders = [_folders(name, table.column(name)) for name in names]
        joined: Any = folders[0] if len(folders) == 1 else pc.binary_join_element_wise(*folders, "")
        left = table.drop_columns(list(names))
        return [(folder, left.filter(pc.equal(joined, folder))) for folder in pc.unique(joined).to_pylist()]


def _folders(name: str, values: "pa.ChunkedArray[Any]") -> Any:
    encoded: Any = values.combine_chunks()
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode(null_encoding="encode")
    words = [
        f"{quote(name, safe=' ')}={_NULL if value is None else quote(str(value), safe=' ')}/"
        for value in encoded.dictionary.to_pylist()
    ]
    indices = encoded.indices.fill_null(len(words))
    return pa.array([*words, f"{name}={_NULL}/"]).take(indices)


class _File:
    """One Parquet file; rows are gathered to row groups that are worth reading."""

    def __init__(self, store: Store, path: str, schema: pa.Schema, form: PartsForm, closing: ExitStack) -> None:
        self.path = path
        self._sink: Sink = closing.enter_context(store.open(path))
        sink: Any = self._sink
        compression: Any = form.compression
        self._writer = pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression=compression)
        self._held: list[pa.Table] = []
        self._held_rows = self.rows = 0

    def add(self, table: pa.Table) -> None:
        self._held.append(table)
        self._held_rows += table.num_rows
        if self._held_rows >= _ROW_GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._held_rows:
            self._writer.write_table(pa.concat_tables(self._held))
            self.rows += self._held_rows
        self._held, self._held_rows = [], 0

    def finish(self) -> None:
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        self._sink.abandon()

    def described(self) -> PartFile:
        return PartFile(path=self.path, rows=self.rows, bytes=self._sink.bytes, sha256=self._sink.sha256)
