"""Reads pieces of Parquet files in the order in which they come."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pyarrow as pa
import pyarrow.parquet as pq

from batch.files import locate
from batch.pieces import Piece

_BATCH_ROWS = 16_384


class PieceReader:
    """A cursor that goes forward through row groups.

    A row group that is larger than a piece is decoded once as long as its pieces come in order, and
    never held in memory as a whole.

    Args:
        choose: the names of the columns to read from a file with a given schema.
    """

    def __init__(self, choose: Callable[[pa.Schema], Sequence[str]]) -> None:
        self._choose = choose
        self._open: tuple[str, tuple[int, int]] | None = None
        self._schema = pa.schema([])
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._rest: list[pa.RecordBatch] = []
        self._position = 0
        self._closing = ExitStack()

    def read(self, piece: Piece) -> pa.Table:
        """The chosen columns of the piece's rows."""
        if self._open != (piece.file, piece.row_groups) or piece.offset < self._position:
            self._reopen(piece)
        self._take(piece.offset - self._position)
        return self._take(piece.rows)

    def _reopen(self, piece: Piece) -> None:
        self.close()
        system, inside = locate(piece.file)
        source = self._closing.enter_context(system.open_input_file(inside))
        file = self._closing.enter_context(pq.ParquetFile(source))
        names = list(self._choose(file.schema_arrow))
        self._schema = pa.schema([file.schema_arrow.field(name) for name in names])
        groups = list(range(*piece.row_groups))
        self._batches = file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=names, use_threads=False)
        self._open = (piece.file, piece.row_groups)

    def _take(self, rows: int) -> pa.Table:
        taken: list[pa.RecordBatch] = []
        missing = rows
        while missing:
            batch = self._rest.pop() if self._rest else next(self._batches)
            taken.append(batch.slice(0, missing))
            if batch.num_rows > missing:
                self._rest.append(batch.slice(missing))
            missing -= taken[-1].num_rows
        self._position += rows
        return pa.Table.from_batches(taken) if taken else self._schema.empty_table()

    def close(self) -> None:
        self._closing.close()
        self._open, self._batches, self._rest, self._position = None, iter(()), [], 0
