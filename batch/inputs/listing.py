"""Which files an input consists of: folders, nested and hive-partitioned, and what tables say about theirs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs
from pydantic import Field

from batch.inputs.storage import is_remote, locate, storage_error
from taxiway.errors import ConfigError
from taxiway.settings import Settings

_SUFFIX_OF = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_NULL = "__HIVE_DEFAULT_PARTITION__"


class FoundFile(Settings):
    """A file, and what tells whether it is still the same one.

    Attributes:
        changed: nanoseconds since 1970 at which the storage says it was written; 0 where it does not say.
        partition: the values that its folders (NAME=VALUE) or its table give to all its rows.
    """

    path: str
    size: int
    changed: int
    partition: dict[str, str | None] = Field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """The files of an input in order, their format, and the types of the columns that folders give."""

    format: str
    files: tuple[FoundFile, ...]
    partition_types: Mapping[str, pa.DataType] = field(default_factory=dict)


def list_files(path: str, wanted_format: str = "auto") -> Listing:
    """Files in the order of their paths; names that begin with `_` or `.` are not data.

    Raises:
        ConfigError: there are none, or they are of several formats.
        JobError: a remote storage is away or does not let this user in.
    """
    system, inside = locate(path)
    try:
        found = system.get_file_info(inside)
        if found.type == fs.FileType.File:
            infos, root = [found], str(PurePosixPath(inside).parent)
            files = tuple(_found(path, inside, info, {}) for info in infos)
        else:
            root = inside
            infos = system.get_file_info(fs.FileSelector(inside, recursive=True))
            data = sorted((info for info in infos if _is_data(info, root)), key=lambda info: info.path)
            files = tuple(_found(path, inside, info, _partition(info.path, root)) for info in data)
    except OSError as error:
        if is_remote(path) and not isinstance(error, FileNotFoundError):
            raise storage_error(f"input: {path}", path, error) from error
        raise ConfigError(f"input: {path} can't be read: {error}") from error
    if not files:
        raise ConfigError(f"input: no files in {path}")
    format_ = _format([file.path for file in files]) if wanted_format == "auto" else wanted_format
    return Listing(format_, files, partition_types([file.partition for file in files]))


def format_of(path: str) -> str:
    """By the name: `x.csv.gz` is CSV; what says nothing is Parquet."""
    return _SUFFIX_OF.get(PurePosixPath(without_compression(path)).suffix.lower(), "parquet")


def without_compression(path: str) -> str:
    name = path.partition("?")[0] if "://" in path else path
    return name.removesuffix(PurePosixPath(name).suffix) if PurePosixPath(name).suffix in COMPRESSED else name


def compression_of(path: str) -> str | None:
    name = path.partition("?")[0] if "://" in path else path
    return COMPRESSED.get(PurePosixPath(name).suffix)


def partition_types(partitions: Sequence[Mapping[str, str | None]]) -> dict[str, pa.DataType]:
    """The type of each column that folders give: whole numbers when all values are, texts otherwise.

    Raises:
        ConfigError: some files have the folder and others don't.
    """
    names = set().union(*partitions) if partitions else set()
    for partition in partitions:
        if missing := sorted(names - set(partition)):
            raise ConfigError(f"input: not every file lies in a folder {missing[0]}=…; all must, or none")
    values = {name: {partition[name] for partition in partitions} - {None} for name in sorted(names)}
    return {name: pa.int64() if _all_whole(found) else pa.string() for name, found in values.items()}


def _all_whole(values: Iterable[str | None]) -> bool:
    return all(value is not None and value.isascii() and str(value).lstrip("-").isdigit() for value in values)


def _partition(path: str, root: str) -> dict[str, str | None]:
    folders = PurePosixPath(path).relative_to(root).parts[:-1]
    pairs = (folder.split("=", 1) for folder in folders if "=" in folder)
    return {name: None if value == _NULL else unquote(value) for name, value in pairs}


def _is_data(info: fs.FileInfo, root: str) -> bool:
    parts = PurePosixPath(info.path).relative_to(root).parts
    return info.type == fs.FileType.File and not any(part.startswith(("_", ".")) for part in parts)


def _found(asked: str, asked_inside: str, info: fs.FileInfo, partition: dict[str, str | None]) -> FoundFile:
    return FoundFile(
        path=_whole(asked, asked_inside, info.path),
        size=info.size or 0,
        changed=info.mtime_ns or 0,
        partition=partition,
    )


def _whole(asked: str, asked_inside: str, inside: str) -> str:
    """The path of a file as the settings would name it: with the scheme and the query that its folder has."""
    if "://" not in asked:
        return inside
    root, question, query = asked.partition("?")
    return f"{root.rstrip('/')}{inside.removeprefix(asked_inside.rstrip('/'))}{question}{query}"


def _format(paths: Sequence[str]) -> str:
    formats: dict[str, str] = {}
    for path in paths:
        formats.setdefault(format_of(path), path)
    if len(formats) > 1:
        (first, one), (second, other) = list(formats.items())[:2]
        raise ConfigError(f"input: {one} is {first} and {other} is {second}; set input_format or give one of them")
    return next(iter(formats))
