"""CSV, TSV and JSON lines: what their heads say, and their rows block by block, every value checked for itself."""

import csv as csv_lines
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import pyarrow as pa
from pyarrow import csv

from batch.inputs.listing import compression_of
from batch.inputs.storage import locate
from batch.inputs.text_types import natural_type

_HEAD_BYTES = 1 << 20
_READ_BYTES = 1 << 20
_SAMPLE_ROWS = 1_000
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class TextForm:
    """How text files are read.

    Attributes:
        types: the type of each column that the signature or the settings describe; others are texts in CSV, and
            in JSON what the first rows hold.
    """

    format: str
    types: Mapping[str, pa.DataType]
    newlines_in_values: bool = False

    @property
    def delimiter(self) -> str:
        return "\t" if self.format == "tsv" else ","


@dataclass(frozen=True)
class Block:
    """Some whole rows of a text file.

    Attributes:
        raw: columns of texts (CSV) or of Python values (JSON); a value that is not there is None.
        malformed: text and reason of the lines that are no rows at all.
        originals: the rows as the file has them.
    """

    raw: Mapping[str, Any]
    rows: int
    malformed: tuple[tuple[str, str], ...]
    originals: "Originals"


class Originals:
    """Whole rows of a block as JSON, made only for those that are refused."""

    def __init__(self, content: bytes, header: Sequence[str] | None, form: TextForm) -> None:
        self._content, self._header, self._form = content, header, form

    def at(self, positions: Sequence[int]) -> list[str]:
        if self._header is None:
            lines = [line for line in self._content.splitlines() if line.strip()]
            good = [line for line in lines if _row(line) is not None]
            return [good[position].decode(errors="replace") for position in positions]
        table, _ = parse_csv(self._content, self._header, self._header, self._form)
        rows = table.take(pa.array(positions, pa.int64())).to_pylist()
        return [orjson.dumps(row).decode() for row in rows]


def read_head(path: str, form: TextForm) -> tuple[pa.Schema, float]:
    """The columns of a file, and about how many bytes a row takes.

    Raises:
        ValueError: the file has no header, or its first lines are no rows.
    """
    with open_text(path) as source:
        head = source.read(_HEAD_BYTES)
    whole = head if len(head) < _HEAD_BYTES else head[: head.rfind(b"\n") + 1] or head
    if not whole.strip():
        return pa.schema([]), 0.0
    lines = whole.count(b"\n") + (not whole.endswith(b"\n"))
    if form.format == "jsonl":
        rows = [row for row in map(_row, whole.splitlines()[:_SAMPLE_ROWS]) if row is not None]
        if not rows:
            raise ValueError("the first lines are no JSON objects")
        names = dict.fromkeys(name for row in rows for name in row)
        types = {name: form.types.get(name) or natural_type([row.get(name) for row in rows]) for name in names}
        return pa.schema(types), len(whole) / lines
    header = read_header(whole, form)
    return pa.schema({name: form.types.get(name, pa.string()) for name in header}), len(whole) / lines


def read_header(head: bytes, form: TextForm) -> list[str]:
    """The names in the first line."""
    first = head.removeprefix(_MARK).lstrip(b"\r\n").partition(b"\n")[0].rstrip(b"\r")
    return next(csv_lines.reader([first.decode()], delimiter=form.delimiter))


def open_text(path: str) -> "pa.NativeFile":
    """A file's bytes, decompressed as its name says."""
    system, inside = locate(path)
    return system.open_input_stream(inside, compression=compression_of(path) or None)


def blocks(
    path: str, span: tuple[int, int] | None, names: Sequence[str], form: TextForm, block_bytes: int
) -> Iterator[Block]:
    """The rows of a file, or of those lines that begin within a span of its bytes."""
    header: list[str] | None = None
    if form.format != "jsonl":
        with open_text(path) as source:
            header = read_header(source.read(_HEAD_BYTES), form)
    for number, content in enumerate(_contents(path, span, form, block_bytes)):
        if header is None:
            yield _json_block(content, names, form)
            continue
        body = _without_header(content) if number == 0 and (span is None or span[0] == 0) else content
        table, malformed = parse_csv(body, header, [name for name in names if name in header], form)
        raw = {name: table.column(name) for name in table.column_names}
        yield Block(raw, table.num_rows, tuple(malformed), Originals(body, header, form))


def _without_header(content: bytes) -> bytes:
    return content.removeprefix(_MARK).lstrip(b"\r\n").partition(b"\n")[2]


def _contents(path: str, span: tuple[int, int] | None, form: TextForm, block_bytes: int) -> Iterator[bytes]:
    if form.newlines_in_values and form.format != "jsonl":
        with open_text(path) as source:
            yield source.read()
        return
    with _positioned(path, span) as source:
        left: int | None = None
        # A line belongs to the span in which it begins: one that has begun before is another span's.
        if span is not None and span[0]:
            source.seek(span[0] - 1)
            left = span[1] - span[0] + 1 - len(_line(source))
        elif span is not None:
            left = span[1]
        rest = b""
        while left is None or left > 0:
            read = source.read(min(block_bytes, left) if left is not None else block_bytes)
            if not read:
                break
            left = None if left is None else left - len(read)
            if left == 0 and not read.endswith(b"\n"):
                read += _line(source)
            end = read.rfind(b"\n") + 1
            if end:
                yield rest + read[:end]
                rest = read[end:]
            else:
                rest += read
        if rest:
            yield rest


def _positioned(path: str, span: tuple[int, int] | None) -> Any:
    if span is None:
        return open_text(path)
    system, inside = locate(path)
    return system.open_input_file(inside)


def _line(source: Any) -> bytes:
    """The bytes up to the end of the line."""
    found = io.BytesIO()
    while chunk := source.read(4096):
        end = chunk.find(b"\n") + 1
        if end:
            found.write(chunk[:end])
            source.seek(source.tell() - len(chunk) + end)
            break
        found.write(chunk)
    return found.getvalue()


def parse_csv(
    content: bytes, header: Sequence[str], names: Sequence[str], form: TextForm
) -> tuple[pa.Table, list[tuple[str, str]]]:
    """All values as texts, empty ones as null; and the lines that have another number of values than the header."""
    malformed: list[tuple[str, str]] = []

    def refuse(row: Any) -> Literal["skip"]:
        malformed.append((row.text, f"the line has {row.actual_columns} values, the header {row.expected_columns}"))
        return "skip"

    if not content.strip():
        return pa.table({name: pa.array([], pa.string()) for name in names}), malformed
    table = csv.read_csv(
        io.BytesIO(content),
        read_options=csv.ReadOptions(column_names=list(header), use_threads=False, block_size=len(content) + 1),
        parse_options=csv.ParseOptions(
            delimiter=form.delimiter, newlines_in_values=form.newlines_in_values, invalid_row_handler=refuse
        ),
        convert_options=csv.ConvertOptions(
            include_columns=list(names),
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            check_utf8=True,
        ),
    )
    return table, malformed


def _json_block(content: bytes, names: Sequence[str], form: TextForm) -> Block:
    rows, malformed = [], []
    for line in content.splitlines():
        if not line.strip():
            continue
        row = _row(line)
        if row is None:
            malformed.append((line.decode(errors="replace"), "the line is no JSON object"))
        else:
            rows.append(row)
    raw = {name: [row.get(name) for row in rows] for name in names}
    return Block(raw, len(rows), tuple(malformed), Originals(content, None, form))


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None
