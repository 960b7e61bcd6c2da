"""The output folder: written aside, published at once.

A job writes into `.NAME.run-JOB` beside the output folder NAME: parts, quarantine, manifest and
`_SUCCESS`. Publishing gives that whole folder the name NAME. What a reader can rely on:

- A folder NAME is complete from the first moment: its files never appear one by one.
- Replacing a finished run swaps the two folders in one step (`renameat2`), or where the file system
  can't, with two renames between which NAME does not exist. A job that dies between them is mended
  by the next one.
- Part names carry the job's id. A reader that listed the old folder and opens its files after the
  swap finds them missing; it never reads new rows in the place of old ones.
- What begins with `.` or `_` is not data; Arrow, Spark and DuckDB's readers of folders skip it.

A folder of a job that was killed stays until the next job with the same output removes it. A job
that runs holds a lock on its folder, so that another one does not take it for such a leftover.
"""

import ctypes
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from batch.files import locate
from batch.scorer import QUARANTINE
from taxiway.errors import ConfigError, JobError

SUCCESS = "_SUCCESS"
MANIFEST = "_manifest.json"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class OutputFolder:
    """Where a job's result is going to be.

    Raises:
        ConfigError: the output can't be a local folder.
    """

    def __init__(self, output: str) -> None:
        scheme, _, rest = output.partition("://")
        if rest and scheme != "file":
            raise ConfigError(f"output: {scheme}:// is not supported yet; give a local folder")
        self.path = Path(unquote(urlsplit(output).path) if rest else output).resolve()
        if os.path.ismount(self.path):
            raise ConfigError(f"output: {self.path} is a mount point, which can't be replaced; give a folder below it")

    @property
    def rejected(self) -> Path:
        """Where the quarantine of a job stays that failed because of it."""
        return self.path.with_name(f"_{self.path.name}.rejected")

    def check(self, source: str, overwrite: bool) -> None:
        """Refuses to touch the job's own input, what is no finished run, or a finished run without `overwrite`.

        Raises:
            ConfigError: the output is in use.
        """
        origin = Path(locate(source)[1])
        if origin.is_relative_to(self.path) or (self.path.is_relative_to(origin) and origin.is_dir()):
            raise ConfigError(f"output: {self.path} and the input {origin} lie in one another; give another folder")
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"output: {self.path} is a file")
        if not self._is_taken():
            return
        if not ((self.path / SUCCESS).is_file() and (self.path / MANIFEST).is_file()):
            raise ConfigError(f"output: {self.path} holds files that are no finished scoring job; give another folder")
        if not overwrite:
            raise ConfigError(f"output: {self.path} holds a finished job; set overwrite: true to replace it")

    def _is_taken(self) -> bool:
        return self.path.exists() and any(self.path.iterdir())

    @contextmanager
    def staging(self, job_id: str) -> Iterator[Path]:
        """A folder to write to; removed at the end unless it was published.

        Raises:
            JobError: another job writes to the same output.
        """
        self._tidy_up()
        folder = self.path.with_name(f".{self.path.name}.run-{job_id}")
        (folder / QUARANTINE).mkdir(parents=True)
        with _locked(folder):
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def publish(self, staging: Path, source: str, overwrite: bool) -> None:
        """Makes a complete staging folder the output.

        Raises:
            ConfigError: something else has taken the place meanwhile.
        """
        self.check(source, overwrite)
        (staging / SUCCESS).touch()
        _flush(staging)
        if self._is_taken():
            _exchange(staging, self.path)
        else:
            staging.rename(self.path)
        shutil.rmtree(self.rejected, ignore_errors=True)

    def keep_quarantine(self, staging: Path) -> Path:
        """Moves the quarantine of a job that fails to where a person finds it; the last failure stays."""
        shutil.rmtree(self.rejected, ignore_errors=True)
        (staging / MANIFEST).rename(staging / QUARANTINE / MANIFEST)
        (staging / QUARANTINE).rename(self.rejected)
        return self.rejected

    def _tidy_up(self) -> None:
        for replaced in self._beside("old"):
            if self.path.exists():
                shutil.rmtree(replaced)
            else:
                replaced.rename(self.path)
        for leftover in self._beside("run"):
            with _locked(leftover):
                shutil.rmtree(leftover)

    def _beside(self, kind: str) -> list[Path]:
        prefix = f".{self.path.name}.{kind}-"
        return [path for path in self.path.parent.glob(".*") if path.name.startswith(prefix)]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise JobError(f"another scoring job writes to this output; its folder is {folder}") from None
    finally:
        os.close(descriptor)


def _exchange(staging: Path, output: Path) -> None:
    """Swaps two folders, so that `staging` is the old output afterwards."""
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (_AT_FDCWD, os.fsencode(staging), _AT_FDCWD, os.fsencode(output), _RENAME_EXCHANGE)
    if hasattr(libc, "renameat2") and libc.renameat2(*arguments) == 0:
        return
    old = output.with_name(staging.name.replace(".run-", ".old-", 1))
    output.rename(old)
    staging.rename(output)
    shutil.rmtree(old)


def _flush(folder: Path) -> None:
    """Makes the files survive a power cut before a name points to them."""
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
