"""Where input files lie, and what their footers say."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from taxiway.errors import ConfigError

_FOOTERS_AT_A_TIME = 8


@dataclass(frozen=True)
class InputFile:
    """One Parquet file as its footer describes it."""

    path: str
    schema: pa.Schema
    row_groups: tuple[int, ...]

    @property
    def rows(self) -> int:
        return sum(self.row_groups)


def locate(path: str) -> tuple[fs.FileSystem, str]:
    """The file system of a local path or a URI, and the path in it; pyarrow's own systems first, then fsspec's.

    Raises:
        ConfigError: nobody here knows the URI's scheme.
    """
    if "://" not in path:
        return fs.LocalFileSystem(), str(Path(path).resolve())
    try:
        return fs.FileSystem.from_uri(path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _locate_with_fsspec(path)


def _locate_with_fsspec(path: str) -> tuple[fs.FileSystem, str]:
    from fsspec.core import url_to_fs

    try:
        system, inside = url_to_fs(path)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"input: {path}: {error}") from error
    handler = fs.FSSpecHandler(system)  # type: ignore[abstract]
    return fs.PyFileSystem(handler), inside


def list_files(path: str) -> tuple[str, ...]:
    """The input's files in the order of their paths; names that begin with `_` or `.` are not data.

    Raises:
        ConfigError: there are none.
    """
    system, inside = locate(path)
    try:
        found = system.get_file_info(inside)
        if found.type == fs.FileType.File:
            return (_whole(path, inside, inside),)
        below = system.get_file_info(fs.FileSelector(inside, recursive=True))
    except OSError as error:
        raise ConfigError(f"input: {path} can't be read: {error}") from error
    names = sorted(info.path for info in below if info.type == fs.FileType.File and _is_data(info.path, inside))
    if not names:
        raise ConfigError(f"input: no files in {path}")
    return tuple(_whole(path, inside, name) for name in names)


def _is_data(path: str, folder: str) -> bool:
    return not any(part.startswith(("_", ".")) for part in PurePosixPath(path).relative_to(folder).parts)


def _whole(asked: str, asked_inside: str, inside: str) -> str:
    """The path of a file as the settings would name it: with the scheme that its folder has."""
    return asked.rstrip("/") + inside.removeprefix(asked_inside.rstrip("/")) if "://" in asked else inside


def read_footers(paths: tuple[str, ...]) -> tuple[InputFile, ...]:
    """Schema and row groups of each file.

    Raises:
        ConfigError: one of them is no Parquet file.
    """
    with ThreadPoolExecutor(_FOOTERS_AT_A_TIME) as pool:
        return tuple(pool.map(_read_footer, paths))


def _read_footer(path: str) -> InputFile:
    system, inside = locate(path)
    try:
        with system.open_input_file(inside) as source, pq.ParquetFile(source) as file:
            groups = tuple(file.metadata.row_group(index).num_rows for index in range(file.num_row_groups))
            return InputFile(path, file.schema_arrow, groups)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"input: {path} can't be read as Parquet: {error}") from error
