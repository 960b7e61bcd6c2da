"""What is known of each input file before any of it is scored: schema, row groups, rows."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from batch.inputs.listing import FoundFile, Listing
from batch.inputs.storage import is_remote, locate, storage_error
from batch.inputs.text import TextForm, read_head
from taxiway.errors import ConfigError

_AT_A_TIME, _AT_A_TIME_REMOTE = 8, 32


@dataclass(frozen=True)
class InputFile:
    """One file; its schema has the columns that its folders give too.

    Attributes:
        row_groups: the rows of each; None for text, which has none.
        row_bytes: about as much as one row of a text file takes.
        is_one_piece: a text file whose lines nobody can tell from the middle of a row.
    """

    path: str
    schema: pa.Schema
    row_groups: tuple[int, ...] | None
    size: int = 0
    changed: int = 0
    partition: Mapping[str, str | None] | None = None
    row_bytes: float = 0.0
    is_one_piece: bool = False

    @property
    def rows(self) -> int | None:
        return None if self.row_groups is None else sum(self.row_groups)


@dataclass(frozen=True)
class Unreadable:
    """A file that was set aside, and why."""

    path: str
    reason: str


def read_footers(
    listing: Listing, form: TextForm, skip_corrupt: bool = False
) -> tuple[tuple[InputFile, ...], tuple[Unreadable, ...]]:
    """Describes every file; of text files the head of each.

    Raises:
        ConfigError: one of them can't be read and `skip_corrupt` is off, or none is left.
        TryLater: their storage is away.
    """
    describe = _read_footer if listing.format == "parquet" else _text_reader(form)
    at_a_time = _AT_A_TIME_REMOTE if is_remote(listing.files[0].path) else _AT_A_TIME
    with ThreadPoolExecutor(at_a_time) as pool:
        found = list(pool.map(lambda file: _tried(describe, file, listing), listing.files))
    unreadable = tuple(file for file in found if isinstance(file, Unreadable))
    if unreadable and not skip_corrupt:
        raise ConfigError(f"input: {unreadable[0].path} can't be read as {listing.format}: {unreadable[0].reason}")
    files = _with_schema([file for file in found if isinstance(file, InputFile)])
    if not files:
        raise ConfigError(f"input: none of {len(listing.files)} files can be read; {unreadable[0].reason}")
    return _interned(files), unreadable


def _tried(describe: Callable[[FoundFile], InputFile], file: FoundFile, listing: Listing) -> InputFile | Unreadable:
    try:
        described = describe(file)
    except (OSError, pa.ArrowException, ValueError) as error:
        if isinstance(error, OSError) and is_remote(file.path) and not isinstance(error, FileNotFoundError):
            raise storage_error(f"input: {file.path}", file.path, error) from error
        return Unreadable(file.path, str(error))
    names = described.schema.names
    extra = [pa.field(name, kind) for name, kind in listing.partition_types.items() if name not in names]
    return replace(described, schema=pa.schema([*described.schema, *extra]).remove_metadata())


def _read_footer(file: FoundFile) -> InputFile:
    system, inside = locate(file.path)
    with system.open_input_file(inside) as source, pq.ParquetFile(source) as parquet:
        groups = tuple(parquet.metadata.row_group(index).num_rows for index in range(parquet.num_row_groups))
        return InputFile(file.path, parquet.schema_arrow, groups, file.size, file.changed, file.partition)


def _text_reader(form: TextForm) -> Callable[[FoundFile], InputFile]:
    def describe(file: FoundFile) -> InputFile:
        schema, row_bytes = read_head(file.path, form) if file.size else (pa.schema([]), 0.0)
        return InputFile(
            file.path, schema, None, file.size, file.changed, file.partition, row_bytes, form.newlines_in_values
        )

    return describe


def _with_schema(files: Sequence[InputFile]) -> list[InputFile]:
    """A text file without a single line has no columns: it takes those of its neighbours, and has no rows."""
    full = [file for file in files if file.row_bytes or file.row_groups is not None]
    if len(full) == len(files) or not full:
        return list(files)
    return [file if file in full else replace(file, schema=full[0].schema, row_groups=()) for file in files]


def _interned(files: Sequence[InputFile]) -> tuple[InputFile, ...]:
    """Thousands of files mostly have one schema: it is kept once."""
    known: dict[str, pa.Schema] = {}
    return tuple(replace(file, schema=known.setdefault(str(file.schema), file.schema)) for file in files)
