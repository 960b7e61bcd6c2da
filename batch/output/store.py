"""Files below a local folder or an S3 prefix, each of which is there as a whole or not at all."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs

from batch.inputs.storage import is_remote, locate
from batch.output.s3_client import delete as delete_objects
from taxiway.storage import written_aside

_AT_A_TIME = 16


class Sink:
    """A file that is being written: counts and digests what passes."""

    def __init__(self, target: Any) -> None:
        self._target, self._digest = target, hashlib.sha256()
        self.bytes = 0
        self.closed = False

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, content: Any) -> int:
        view = memoryview(content)
        self._target.write(view)
        self._digest.update(view)
        self.bytes += view.nbytes
        return view.nbytes

    def abandon(self) -> None:
        """Whatever is still written goes nowhere: a Parquet writer ends its file even as it is thrown away."""
        self._target = io.BytesIO()

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        """Written through when the file is closed."""

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


@dataclass(frozen=True)
class Store:
    """A root and the files below it, by paths with `/`; it travels to other processes."""

    root: str

    @property
    def is_local(self) -> bool:
        return not is_remote(self.root)

    def _inside(self, path: str) -> tuple[fs.FileSystem, str]:
        system, root = locate(self.root)
        return system, f"{root}/{path}" if path else root

    @contextmanager
    def open(self, path: str) -> Iterator[Sink]:
        """What is written has the name `path` when the block ends, and not if it raises.

        (On S3 a part of a large file may get the name then, as Arrow ends an upload that it forgets: nothing but
        a commit record says that a file is one.)

        Raises:
            OSError: the file can't be written.
        """
        system, inside = self._inside(path)
        if self.is_local:
            Path(inside).parent.mkdir(parents=True, exist_ok=True)
            with written_aside(Path(inside)) as target:
                yield Sink(target)
            return
        stream = system.open_output_stream(inside)
        yield Sink(stream)
        stream.close()

    def write(self, path: str, content: bytes) -> None:
        with self.open(path) as sink:
            sink.write(content)

    def read(self, path: str) -> bytes | None:
        """None when there is no such file."""
        system, inside = self._inside(path)
        try:
            with system.open_input_stream(inside) as source:
                return bytes(source.read())
        except FileNotFoundError:
            return None

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Every file in a folder and below it: its path below the root and its bytes."""
        system, root = self._inside("")
        _, inside = self._inside(folder)
        found = system.get_file_info(fs.FileSelector(inside, allow_not_found=True, recursive=True))
        prefix = f"{root}/"
        return {info.path.removeprefix(prefix): info.size or 0 for info in found if info.type == fs.FileType.File}

    def read_all(self, paths: Sequence[str]) -> list[bytes | None]:
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            return list(pool.map(self.read, paths))

    def delete(self, paths: Sequence[str]) -> None:
        """Files that are gone already are no error."""
        if self.root.startswith("s3://"):
            delete_objects(self.root, paths)
            return
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            list(pool.map(self._delete, paths))

    def _delete(self, path: str) -> None:
        system, inside = self._inside(path)
        with suppress(FileNotFoundError):
            system.delete_file(inside)
