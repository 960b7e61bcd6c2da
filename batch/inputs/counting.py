"""How many rows text files have, for those who need to know before they are scored: to number or to limit them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from batch.inputs.text import TextForm, blocks
from batch.pieces import Piece, Span, join, number

_AT_A_TIME = 4
_BLOCK_BYTES = 1 << 22


def counted(pieces: Sequence[Piece], form: TextForm, piece_rows: int, limit: int | None) -> tuple[Piece, ...]:
    """The same spans with their rows, numbered, cut off at `limit` and joined to pieces again.

    A file that can't be read to its end counts one row more than were found: who scores it meets the error.
    """
    spans = [span for piece in pieces for span in piece.spans]
    if limit is None:
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            known = list(pool.map(lambda span: _counted(span, form), spans))
    else:
        known = _until(spans, form, limit)
    return join(number(known), piece_rows, limit) or (Piece(number=0, chain=0, spans=()),)


def _until(spans: Sequence[Span], form: TextForm, limit: int) -> list[Span]:
    known: list[Span] = []
    left = limit
    for span in spans:
        if left <= 0:
            break
        known.append(_counted(span, form, left))
        left -= known[-1].rows or 0
    return known


def _counted(span: Span, form: TextForm, enough: int | None = None) -> Span:
    rows = span.rows if span.rows is not None else 0
    if span.rows is None:
        try:
            for block in blocks(span.file, span.within, list(form.types)[:1], form, _BLOCK_BYTES):
                rows += block.rows + len(block.malformed)
                if enough is not None and rows >= enough:
                    break
        except (OSError, pa.ArrowException):
            rows += 1
    return span.model_copy(update={"rows": rows})
