"""What one actor reads, scores and commits at a time, and what it says about it afterwards."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from pydantic import Field

from batch.inputs.footers import InputFile
from batch.inputs.listing import compression_of
from batch.summaries import OutputSummary
from taxiway.settings import Settings

_FILES_PER_PIECE = 1_000
_LEAST_BYTES = 1 << 20


class Span(Settings):
    """Consecutive rows of one file, found without reading more of it than their row groups.

    Attributes:
        within: the first row group and the one after the last; in a text file the bytes in which its lines begin,
            null for a whole file.
        offset: rows of these row groups that come before the span.
        rows: null for text that nobody has counted.
        first_row: the position of the first row in the whole input; null where a row before it is not counted.
        size: bytes of the file, about.
        partition: what the file's folders say.
    """

    file: str
    within: tuple[int, int] | None
    offset: int = 0
    rows: int | None
    first_row: int | None
    size: int = 0
    partition: dict[str, str | None] = Field(default_factory=dict)


class Piece(Settings):
    """Consecutive spans of the input; the names of its files follow from its number.

    Attributes:
        chain: pieces with the same number share a row group, which is decoded once by whoever does them in order.
    """

    number: int
    chain: int
    spans: tuple[Span, ...]

    @property
    def rows(self) -> int | None:
        counts = [span.rows for span in self.spans]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def size(self) -> int:
        return sum(span.size for span in self.spans)


class PartFile(Settings):
    """A file that the job has written, by its path below the output."""

    path: str
    rows: int
    bytes: int
    sha256: str


class PieceResult(Settings):
    """What became of a piece: its commit record.

    Attributes:
        file, files: the first file that it has read from, and how many there are.
        partition: what the folders of its input say, where all its files agree.
        rows: read, malformed lines included.
        filtered: rows that the filter has left out.
        parts: one file, or one for each partition of the output.
        started_s, ended_s: since 1970, by the clock of the actor's machine.
        seconds: between them, by a clock that never jumps.
        actor: which one did it; the name of its machine and its process.
        scores: of each output of the rows that were answered.
        skipped: why a file of the piece could not be read to its end, when the settings say to go on without it.
    """

    piece: int
    file: str
    files: int
    partition: dict[str, str | None] = Field(default_factory=dict)
    rows: int
    filtered: int
    parts: tuple[PartFile, ...]
    quarantine: PartFile | None
    rejects: dict[str, int]
    bytes_read: int
    started_s: float
    ended_s: float
    seconds: float
    actor: str
    scores: dict[str, OutputSummary]
    skipped: str | None = None

    @property
    def rejected(self) -> int:
        return sum(self.rejects.values())

    @property
    def files_written(self) -> tuple[PartFile, ...]:
        return (*self.parts, self.quarantine) if self.quarantine else self.parts

    @property
    def written(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def bytes_written(self) -> int:
        return sum(file.bytes for file in self.files_written)


def cut(files: Sequence[InputFile], piece_rows: int, limit: int | None = None) -> tuple[Piece, ...]:
    """Pieces of at most `piece_rows` rows, text files of about that many, in the order of the input.

    Small row groups and small files are joined, large ones are cut evenly; large text files are cut by their
    bytes unless they are compressed. An input without any row is one empty piece, so that its output has a schema.

    Args:
        limit: rows after which the input ends; nobody knows where that is in text that is not counted.
    """
    spans = [span for file in files for span in _spans(file, piece_rows)]
    return join(number(spans), piece_rows, limit) or (Piece(number=0, chain=0, spans=()),)


def number(spans: Sequence[Span]) -> list[Span]:
    """Gives each span its place in the whole input, as long as the rows before it are counted."""
    numbered, first_row = [], 0
    for span in spans:
        numbered.append(span.model_copy(update={"first_row": first_row}))
        if span.rows is None:
            return numbered + [later.model_copy(update={"first_row": None}) for later in spans[len(numbered) :]]
        first_row += span.rows
    return numbered


def join(spans: Sequence[Span], piece_rows: int, limit: int | None = None) -> tuple[Piece, ...]:
    """Spans side by side as pieces; `limit` cuts them off."""
    pieces: list[Piece] = []
    held: list[Span] = []
    rows = size = chain = 0
    last: Span | None = None

    def close() -> None:
        nonlocal held, rows, size
        if held:
            pieces.append(Piece(number=len(pieces), chain=chain, spans=tuple(held)))
        held, rows, size = [], 0, 0

    for span in _limited(spans, limit):
        if held and (_too_many(span, rows, size, piece_rows) or len(held) == _FILES_PER_PIECE):
            close()
        if not held and not _shares_row_group(last, span):
            chain = len(pieces)
        held.append(span)
        rows, size, last = rows + (span.rows or 0), size + span.size, span
    close()
    return tuple(pieces)


def _too_many(span: Span, rows: int, size: int, piece_rows: int) -> bool:
    if span.rows is None:
        return size + span.size > _LEAST_BYTES
    return rows + span.rows > piece_rows


def _shares_row_group(last: Span | None, span: Span) -> bool:
    return last is not None and span.offset > 0 and (last.file, last.within) == (span.file, span.within)


def _limited(spans: Sequence[Span], limit: int | None) -> Iterator[Span]:
    left = limit
    for span in spans:
        if left is None or span.rows is None:
            yield span
        elif left > 0:
            yield span if span.rows <= left else span.model_copy(update={"rows": left})
            left -= span.rows


def _spans(file: InputFile, piece_rows: int) -> Iterator[Span]:
    partition = dict(file.partition or {})
    if file.row_groups is None:
        for within, size in _byte_spans(file, piece_rows):
            yield Span(file=file.path, within=within, rows=None, first_row=None, size=size, partition=partition)
        return
    total = max(sum(file.row_groups), 1)
    for groups, offset, rows in _row_group_spans(file.row_groups, piece_rows):
        size = file.size * rows // total
        yield Span(
            file=file.path, within=groups, offset=offset, rows=rows, first_row=None, size=size, partition=partition
        )


def _byte_spans(file: InputFile, piece_rows: int) -> Iterator[tuple[tuple[int, int] | None, int]]:
    target = max(int(piece_rows * file.row_bytes), _LEAST_BYTES)
    if compression_of(file.path) or file.is_one_piece or file.size <= target:
        yield None, file.size
        return
    for start, stop in pairwise(_even_cuts(file.size, target)):
        yield (start, stop), stop - start


def _row_group_spans(row_groups: Sequence[int], piece_rows: int) -> Iterator[tuple[tuple[int, int], int, int]]:
    begin, joined = 0, 0
    for index, rows in enumerate(row_groups):
        if joined and joined + rows > piece_rows:
            yield (begin, index), 0, joined
            begin, joined = index, 0
        if rows > piece_rows:
            for start, stop in pairwise(_even_cuts(rows, piece_rows)):
                yield (index, index + 1), start, stop - start
            begin, joined = index + 1, 0
        else:
            joined += rows
    if joined:
        yield (begin, len(row_groups)), 0, joined


def _even_cuts(total: int, at_most: int) -> list[int]:
    count = -(-total // at_most)
    sizes = [total // count + (index < total % count) for index in range(count)]
    return [0, *accumulate(sizes)]
