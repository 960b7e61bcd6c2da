"""Rows of Parquet files: a cursor that goes forward, and single rows as JSON."""

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batch.inputs.storage import is_remote, locate
from batch.pieces import Span

_SKIP_ROWS = 65_536


class RowGroupReader:
    """Reads spans; one that goes on in the same row groups where the last one ended continues the decoding.

    Args:
        choose: from the names of a file's columns to those that are read.
    """

    def __init__(self, choose: Callable[[Sequence[str]], Sequence[str]]) -> None:
        self._choose = choose
        self._open: tuple[str, tuple[int, int] | None] | None = None
        self._schema = pa.schema([])
        self._record_batches: Iterator[pa.RecordBatch] = iter(())
        self._rest: list[pa.RecordBatch] = []
        self._position = 0
        self._closing = ExitStack()

    def batches(self, span: Span, batch_rows: int) -> Iterator[tuple[pa.Table, int]]:
        """The chosen columns of the span's rows, batch by batch, each with its rows' offset in the row groups."""
        if self._open != (span.file, span.within) or span.offset < self._position:
            self._reopen(span, batch_rows)
        self._skip(span.offset - self._position)
        left = span.rows or 0
        while left:
            offset = self._position
            table = self._take(min(batch_rows, left))
            left -= table.num_rows
            yield table, offset

    def _reopen(self, span: Span, batch_rows: int) -> None:
        self.close()
        system, inside = locate(span.file)
        source = self._closing.enter_context(system.open_input_file(inside))
        file = self._closing.enter_context(pq.ParquetFile(source, pre_buffer=is_remote(span.file)))
        names = list(self._choose([*file.schema_arrow.names, *span.partition]))
        names = [name for name in names if name in file.schema_arrow.names]
        self._schema = pa.schema([file.schema_arrow.field(name) for name in names])
        self._record_batches = file.iter_batches(
            batch_rows, row_groups=list(range(*(span.within or (0, 0)))), columns=names, use_threads=False
        )
        self._open = (span.file, span.within)

    def _skip(self, rows: int) -> None:
        while rows:
            rows -= self._take(min(rows, _SKIP_ROWS)).num_rows

    def _take(self, rows: int) -> pa.Table:
        taken: list[pa.RecordBatch] = []
        missing = rows
        while missing:
            batch = self._rest.pop() if self._rest else next(self._record_batches)
            taken.append(batch.slice(0, missing))
            if batch.num_rows > missing:
                self._rest.append(batch.slice(missing))
            missing -= taken[-1].num_rows
        self._position += rows
        return pa.Table.from_batches(taken) if taken else self._schema.empty_table()

    def close(self) -> None:
        self._closing.close()
        self._open, self._record_batches, self._rest, self._position = None, iter(()), [], 0


def as_json(rows: pa.Table, partition: Mapping[str, str | None]) -> list[str]:
    """Whole rows as JSON, with what their file's folders say."""
    return [json.dumps(_plain({**partition, **row}), ensure_ascii=False) for row in rows.to_pylist()]


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
