"""Reads pieces batch by batch: columns in their types, numbered, with the rows that have none set aside."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from batch.inputs.parquet import RowGroupReader, as_json
from batch.inputs.text import Block, TextForm, blocks
from batch.inputs.text_types import typed
from batch.pieces import Piece, Span
from taxiway.signature import Reject

Choose = Callable[[Sequence[str]], Sequence[str]]
"""From the names of all columns of a file to those that are read."""
_LEAST_BLOCK, _MOST_BLOCK = 1 << 16, 1 << 24


@dataclass(frozen=True)
class RawBatch:
    """Some rows of a piece.

    Attributes:
        refused: rows with a value that is not of its column's type; it is null in the table.
        malformed: text and reason of lines that are no rows at all; they do not stand in the table.
        originals: the whole rows at some positions, as JSON.
    """

    table: pa.Table
    refused: Sequence[Reject]
    malformed: tuple[tuple[str, str], ...]
    originals: Callable[[Sequence[int]], list[str]]


@dataclass(frozen=True)
class Reading:
    """How the input of a job is read.

    Attributes:
        partition_types: of the columns that folders give.
        row_id: numbered under this name where a file does not have it.
        block_bytes: of a text file, read at a time.
    """

    form: TextForm
    partition_types: Mapping[str, pa.DataType]
    row_id: str
    batch_rows: int
    block_bytes: int


def block_bytes(row_bytes: float, batch_rows: int) -> int:
    """How much text is about as many rows as a batch has."""
    return min(max(int(row_bytes * batch_rows), _LEAST_BLOCK), _MOST_BLOCK)


class PieceReader:
    """Goes forward through pieces; a row group that pieces share is decoded once while they come in order."""

    def __init__(self, reading: Reading, choose: Choose) -> None:
        self._reading, self._choose = reading, choose
        self._row_groups = RowGroupReader(choose)
        self._whole_rows = RowGroupReader(lambda names: names)

    def batches(self, piece: Piece) -> Iterator[RawBatch]:
        """Batches of about `batch_rows` rows; small files share one as long as they have the same columns."""
        held: list[RawBatch] = []
        rows = 0
        for batch in (batch for span in piece.spans for batch in self._span(span)):
            if held and (rows + batch.table.num_rows > self._reading.batch_rows or _differs(held[0], batch)):
                yield _joined(held)
                held, rows = [], 0
            held.append(batch)
            rows += batch.table.num_rows
        if held:
            yield _joined(held)

    def close(self) -> None:
        self._row_groups.close()
        self._whole_rows.close()

    def _span(self, span: Span) -> Iterator[RawBatch]:
        first_row = span.first_row
        for batch in self._text(span) if self._reading.form.format != "parquet" else self._parquet(span):
            yield self._numbered(batch, first_row)
            if first_row is not None:
                first_row += batch.table.num_rows + len(batch.malformed)

    def _parquet(self, span: Span) -> Iterator[RawBatch]:
        for table, offset in self._row_groups.batches(span, self._reading.batch_rows):
            whole = self._with_partition(table, span)
            place = span.model_copy(update={"offset": offset, "rows": table.num_rows})
            yield RawBatch(whole, (), (), partial(self._originals, place))

    def _originals(self, place: Span, positions: Sequence[int]) -> list[str]:
        """Asked in the order of the rows, so that a second cursor decodes all columns once at most."""
        (table, _), *_ = self._whole_rows.batches(place, place.rows or 0)
        return as_json(table.take(pa.array(positions, pa.int64())), place.partition)

    def _text(self, span: Span) -> Iterator[RawBatch]:
        reading, form = self._reading, self._reading.form
        names = [name for name in self._choose(list(form.types)) if name not in reading.partition_types]
        left = span.rows
        for block in blocks(span.file, span.within, names, form, reading.block_bytes):
            batch = _typed(block, names, form)
            if left is not None:
                batch, left = _at_most(batch, left)
            yield RawBatch(self._with_partition(batch.table, span), batch.refused, batch.malformed, batch.originals)
            if left == 0:
                return

    def _with_partition(self, table: pa.Table, span: Span) -> pa.Table:
        for name, kind in self._reading.partition_types.items():
            if name not in table.column_names and name in self._choose([*table.column_names, name]):
                value: Any = pa.scalar(span.partition.get(name), pa.string()).cast(kind)
                table = table.append_column(name, pa.repeat(value, table.num_rows))
        return table

    def _numbered(self, batch: RawBatch, first_row: int | None) -> RawBatch:
        table = batch.table
        if self._reading.row_id in table.column_names or first_row is None:
            return batch
        numbers = pa.array(np.arange(first_row, first_row + table.num_rows))
        return RawBatch(
            table.append_column(self._reading.row_id, numbers), batch.refused, batch.malformed, batch.originals
        )


def _typed(block: Block, names: Sequence[str], form: TextForm) -> RawBatch:
    columns: dict[str, Any] = {}
    refused: list[Reject] = []
    for name in names:
        columns[name], bad = typed(name, block.raw.get(name), block.rows, form.types[name])
        refused += bad
    return RawBatch(pa.table(columns), refused, block.malformed, block.originals.at)


def _at_most(batch: RawBatch, rows: int) -> tuple[RawBatch, int]:
    """The first rows of a batch, and how many may follow; malformed lines count, after the others."""
    taken = min(rows, batch.table.num_rows)
    malformed = batch.malformed[: rows - taken]
    if taken < batch.table.num_rows:
        cut = [_before(reject, taken) for reject in batch.refused]
        refused = [reject for reject in cut if len(reject.rows)]
        batch = RawBatch(batch.table.slice(0, taken), refused, malformed, batch.originals)
    return batch, rows - taken - len(malformed)


def _before(reject: Reject, end: int) -> Reject:
    count = int(np.searchsorted(reject.rows, end))
    return Reject(reject.rows[:count], reject.code, reject.field, reject.reasons[:count])


def _differs(one: RawBatch, other: RawBatch) -> bool:
    return bool(one.table.schema != other.table.schema)


def _joined(batches: Sequence[RawBatch]) -> RawBatch:
    if len(batches) == 1:
        return batches[0]
    starts = np.concatenate([[0], np.cumsum([batch.table.num_rows for batch in batches])])
    refused = [
        Reject(reject.rows + start, reject.code, reject.field, reject.reasons)
        for batch, start in zip(batches, starts, strict=False)
        for reject in batch.refused
    ]

    def originals(positions: Sequence[int]) -> list[str]:
        whose = np.searchsorted(starts, np.asarray(positions), side="right") - 1
        found: list[str] = []
        for place in np.unique(whose):
            mine = [int(position - starts[place]) for position in np.asarray(positions)[whose == place]]
            found += batches[place].originals(mine)
        return found

    malformed = tuple(line for batch in batches for line in batch.malformed)
    return RawBatch(pa.concat_tables([batch.table for batch in batches]), refused, malformed, originals)
