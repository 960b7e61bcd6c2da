"""Files of the prediction log below a local folder or an S3 prefix: each is there as a whole or not at all."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from pyarrow import fs

from taxiway.errors import ConfigError, JobError
from taxiway.storage import WRITING, flush_folder, s3_filesystem, written_aside

_S3_ATTEMPTS = 5
_CONNECT_S, _REQUEST_S = 5.0, 30.0
_LOOKS = 20
Read = TypeVar("Read")


class Vanished(FileNotFoundError):
    """Raise when a file that was listed is gone: compaction has put another in its place; list again."""


@lru_cache(maxsize=16)
def _s3(bucket: str, query: str) -> fs.S3FileSystem:
    return s3_filesystem(f"s3://{bucket}?{query}", _S3_ATTEMPTS, _CONNECT_S, _REQUEST_S)


@dataclass(frozen=True)
class Storage:
    """A root and the files below it, by paths with `/`.

    Args:
        location: a folder, or an S3 URI that may end with `?region=…&endpoint_override=…&scheme=http`.

    Raises:
        ConfigError: the location is of another kind.
    """

    location: str

    def __post_init__(self) -> None:
        scheme, separator, _ = self.location.partition("://")
        if separator and scheme not in ("s3", "file"):
            raise ConfigError(f"predictions.location: {scheme}:// is not known here; give a local folder or s3://")

    @property
    def is_local(self) -> bool:
        return not self.location.startswith("s3://")

    @property
    def folder(self) -> Path:
        """The root of a local one."""
        split = urlsplit(self.location)
        return Path(unquote(split.path) if split.scheme == "file" else self.location).resolve()

    def _inside(self, path: str) -> tuple[fs.FileSystem, str]:
        if self.is_local:
            return fs.LocalFileSystem(), str(self.folder / path)
        split = urlsplit(self.location)
        root = f"{split.netloc}{unquote(split.path)}".rstrip("/")
        return _s3(split.netloc, split.query), f"{root}/{path}".rstrip("/")

    def write(self, path: str, content: Any) -> None:
        """When this returns, the file is there and survives a power cut.

        Raises:
            OSError: it could not be written; the same call may be repeated.
        """
        if self.is_local:
            _write_local(self.folder / path, content)
            return
        system, inside = self._inside(path)
        with system.open_output_stream(inside, buffer_size=None) as stream:
            stream.write(content)

    def open(self, path: str) -> Any:
        """An Arrow file to read. Raises Vanished."""
        system, inside = self._inside(path)
        try:
            return system.open_input_file(inside)
        except FileNotFoundError as error:
            raise Vanished(path) from error

    def exists(self, path: str) -> bool:
        system, inside = self._inside(path)
        return bool(system.get_file_info(inside).type == fs.FileType.File)

    def delete(self, paths: Sequence[str]) -> None:
        """Files that are gone already are no error."""
        for path in paths:
            system, inside = self._inside(path)
            with suppress(FileNotFoundError):
                system.delete_file(inside)

    def remove_empty(self, folder: str) -> None:
        """A local folder without files, and those above it that hold nothing else. S3 has no folders."""
        path = self.folder / folder
        with suppress(OSError):
            while self.is_local and path != self.folder:
                path.rmdir()
                path = path.parent

    def sweep(self, before_s: float) -> None:
        """Removes what a writer that was killed has begun locally before a moment, in seconds since 1970."""
        for path in self.folder.rglob(f".*{WRITING}") if self.is_local else ():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before_s:
                    path.unlink()

    def folders(self, folder: str = "") -> list[str]:
        """The names of the folders in a folder."""
        system, inside = self._inside(folder)
        found = system.get_file_info(fs.FileSelector(inside, allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == fs.FileType.Directory)

    def files(self, folder: str) -> dict[str, int]:
        """Every Parquet file in a folder and below it: its path below the root and its bytes.

        One listing is no snapshot: it can miss both a file that has been replaced meanwhile and the one that
        replaces it. So it is repeated until nothing that was there before is missing. No name is used twice.

        Raises:
            JobError: files go as fast as they are listed.
        """
        before = self._listed(folder)
        for _ in range(_LOOKS):
            now = self._listed(folder)
            if before.keys() <= now.keys():
                return now
            before = now
        raise JobError(f"{folder}: files are replaced as fast as they can be listed; try again later")

    def _listed(self, folder: str) -> dict[str, int]:
        system, root = self._inside("")
        _, inside = self._inside(folder)
        try:
            found = system.get_file_info(fs.FileSelector(inside, allow_not_found=True, recursive=True))
        except FileNotFoundError:
            return self._listed(folder)  # a file went while Arrow looked at it
        prefix = f"{root}/"
        return {
            info.path.removeprefix(prefix): info.size or 0
            for info in found
            if info.type == fs.FileType.File and info.extension == "parquet" and not info.base_name.startswith(".")
        }


def until_nothing_vanishes(read: Callable[[], Read]) -> Read:
    """Repeats what lists and reads until compaction takes nothing away in between.

    Raises:
        JobError: it does so again and again.
    """
    for _ in range(_LOOKS):
        try:
            return read()
        except Vanished as error:
            vanished = error
    raise JobError(f"{vanished}: files are replaced as fast as they can be read; try again later")


def _write_local(path: Path, content: Any) -> None:
    _make_folder(path.parent)
    with written_aside(path) as target:
        target.write(content)
    flush_folder(path.parent)


def _make_folder(path: Path) -> None:
    """With its name flushed in the folder above, and so on upwards."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    path.mkdir(exist_ok=True)
    flush_folder(path.parent)
