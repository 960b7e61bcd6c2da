"""What one actor reads, scores and writes at a time, and what it says about it afterwards."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from batch.files import InputFile
from taxiway.settings import Settings


class Piece(Settings):
    """Consecutive rows of one file, found without reading more of it than their row groups.

    Attributes:
        row_groups: the first row group and the one after the last.
        offset: rows of these row groups that come before the piece.
        first_row: the position of the piece's first row in the whole input.
    """

    number: int
    file: str
    row_groups: tuple[int, int]
    offset: int
    rows: int
    first_row: int


class PartFile(Settings):
    """A file that the job has written, by its path below the output."""

    path: str
    rows: int
    sha256: str


class PieceResult(Settings):
    """What became of a piece."""

    piece: int
    rows: int
    part: PartFile
    quarantine: PartFile | None
    rejects: dict[str, int]
    started_s: float
    seconds: float

    @property
    def rejected(self) -> int:
        return sum(self.rejects.values())


def cut(files: Sequence[InputFile], piece_rows: int) -> tuple[Piece, ...]:
    """Pieces of at most `piece_rows` rows in the order of the input.

    Small row groups of a file are joined, large ones are cut evenly. An input without any row is
    one empty piece, so that its output has a schema.
    """
    pieces: list[Piece] = []
    first_row = 0
    for file in files:
        for groups, offset, rows in _spans(file.row_groups, piece_rows):
            number = len(pieces)
            pieces.append(
                Piece(number=number, file=file.path, row_groups=groups, offset=offset, rows=rows, first_row=first_row)
            )
            first_row += rows
    return tuple(pieces) or (Piece(number=0, file=files[0].path, row_groups=(0, 0), offset=0, rows=0, first_row=0),)


def _spans(row_groups: Sequence[int], piece_rows: int) -> Iterator[tuple[tuple[int, int], int, int]]:
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


def _even_cuts(rows: int, piece_rows: int) -> list[int]:
    count = -(-rows // piece_rows)
    sizes = [rows // count + (index < rows % count) for index in range(count)]
    return [0, *accumulate(sizes)]
