"""An output in a local folder: written aside, published at once.

A job writes into `.NAME.run` beside the output folder NAME: parts, quarantine, plan and commit records.
Publishing gives that whole folder the name NAME. What a reader can rely on:

- A folder NAME is complete from the first moment: its files never appear one by one.
- Replacing a finished run swaps the two folders in one step (`renameat2`), or where the file system
  can't, with two renames between which NAME does not exist. A job that dies between them is mended
  by the next one.
- Part names carry the job's id. A reader that listed the old folder and opens its files after the
  swap finds them missing; it never reads new rows in the place of old ones.
- What begins with `.` or `_` is not data; Arrow, Spark and DuckDB's readers of folders skip it.

The folder of a job that was killed stays, and the same command goes on in it. A job that runs holds a lock
on the folder.
"""

import ctypes
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from batch.inputs.storage import is_remote, locate
from batch.output.store import Store
from batch.output.workspace import PLAN, QUARANTINE, RUN, Workspace
from taxiway.errors import ConfigError, JobError, OutputHeld
from taxiway.storage import flush_folder

SUCCESS = "_SUCCESS"
MANIFEST = "_manifest.json"
_HOLDER = f"{RUN}/holder"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class LocalOutput:
    """Raises ConfigError when the folder can't be an output."""

    def __init__(self, output: str) -> None:
        self.path = Path(unquote(urlsplit(output).path) if "://" in output else output).resolve()
        if os.path.ismount(self.path):
            raise ConfigError(f"output: {self.path} is a mount point, which can't be replaced; give a folder below it")

    def __str__(self) -> str:
        return str(self.path)

    @property
    def staging(self) -> Path:
        return self.path.with_name(f".{self.path.name}.run")

    @property
    def rejected(self) -> Path:
        """Where the quarantine of a job stays that failed because of it."""
        return self.path.with_name(f"_{self.path.name}.rejected")

    def workspace(self, job_id: str) -> Workspace:
        return Workspace(Store(str(self.staging)), job_id, "", f"{QUARANTINE}/")

    def check(self, source: str) -> None:
        """Refuses to touch the job's own input and what is no finished run.

        Raises:
            ConfigError: the output is in use, or this user can't write there.
        """
        origin = Path(locate(source)[1])
        meets = origin.is_relative_to(self.path) or (self.path.is_relative_to(origin) and origin.is_dir())
        if meets and not is_remote(source):
            raise ConfigError(f"output: {self.path} and the input {origin} lie in one another; give another folder")
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"output: {self.path} is a file")
        if self._is_taken() and not self._is_finished():
            raise ConfigError(f"output: {self.path} holds files that are no finished scoring job; give another folder")
        parent = next(folder for folder in self.path.parents if folder.exists())
        if not os.access(parent, os.W_OK | os.X_OK):
            raise ConfigError(f"output: {parent} can't be written to by this user")

    def _is_taken(self) -> bool:
        return self.path.exists() and any(self.path.iterdir())

    def _is_finished(self) -> bool:
        return (self.path / SUCCESS).is_file() and (self.path / MANIFEST).is_file()

    def finished(self) -> bytes | None:
        """The manifest of the run that readers see; None while there is none."""
        return (self.path / MANIFEST).read_bytes() if self._is_finished() else None

    def free_bytes(self) -> int | None:
        parent = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        return shutil.disk_usage(parent).free

    @contextmanager
    def hold(self, who: str) -> Iterator[None]:
        """Keeps other jobs away from the output as long as it takes.

        Raises:
            OutputHeld: another one has it.
            ConfigError: the folder can't be made.
        """
        descriptor = self._lock()
        try:
            (self.staging / RUN).mkdir(exist_ok=True)
            (self.staging / _HOLDER).write_text(who)
            self._mend()
            yield
        finally:
            if self._is_ours(descriptor) and not (self.staging / PLAN).is_file():
                shutil.rmtree(self.staging, ignore_errors=True)
            os.close(descriptor)

    def check_held(self) -> None:
        """A lock of the operating system is never lost."""

    def _lock(self) -> int:
        while True:
            try:
                self.staging.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(self.staging, os.O_RDONLY)
            except OSError as error:
                raise ConfigError(f"output: {self.staging} can't be made: {error.strerror}") from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise OutputHeld(f"another scoring job writes to {self.path}: {self._holder()}") from None
            if self._is_ours(descriptor):
                return descriptor
            os.close(descriptor)  # published or removed between the two steps

    def _is_ours(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.staging.stat())
        except FileNotFoundError:
            return False

    def _holder(self) -> str:
        try:
            return (self.staging / _HOLDER).read_text() or "unknown"
        except OSError:
            return "unknown"

    def _mend(self) -> None:
        """Ends what a job has begun that was killed while it published."""
        for replaced in self.path.parent.glob(f".{self.path.name}.old-*"):
            if self.path.exists():
                shutil.rmtree(replaced)
            else:
                replaced.rename(self.path)
        if self._is_finished():
            shutil.rmtree(self.path / RUN, ignore_errors=True)
        if not (self.staging / PLAN).is_file():
            self.discard("")

    def discard(self, job_id: str) -> None:
        """Throws an unfinished run away, and keeps the lock."""
        holder = (self.staging / _HOLDER).read_bytes()
        for path in self.staging.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        (self.staging / RUN).mkdir()
        (self.staging / _HOLDER).write_bytes(holder)

    def publish(self, workspace: Workspace, manifest: bytes, overwrite: bool) -> None:
        """Makes a complete staging folder the output.

        Raises:
            ConfigError: something else has taken the place meanwhile.
        """
        if self._is_taken() and not (overwrite and self._is_finished()):
            raise ConfigError(f"output: something else has appeared in {self.path} meanwhile; nothing was published")
        workspace.store.write(MANIFEST, manifest)
        (self.staging / SUCCESS).write_text(workspace.job_id)
        _flush(self.staging)
        if self._is_taken():
            _exchange(self.staging, self.path)
            shutil.rmtree(self.staging, ignore_errors=True)
        else:
            self.staging.rename(self.path)
        flush_folder(self.path.parent)
        shutil.rmtree(self.path / RUN, ignore_errors=True)
        shutil.rmtree(self.rejected, ignore_errors=True)

    def keep_quarantine(self, workspace: Workspace, manifest: bytes) -> str:
        """Moves the quarantine of a job that fails to where a person finds it; the last failure stays."""
        shutil.rmtree(self.rejected, ignore_errors=True)
        (self.staging / QUARANTINE).mkdir(exist_ok=True)
        (self.staging / QUARANTINE / MANIFEST).write_bytes(manifest)
        (self.staging / QUARANTINE).rename(self.rejected)
        self.discard(workspace.job_id)
        return str(self.rejected)


def _exchange(staging: Path, output: Path) -> None:
    """Swaps two folders, so that `staging` is the old output afterwards or is gone."""
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (_AT_FDCWD, os.fsencode(staging), _AT_FDCWD, os.fsencode(output), _RENAME_EXCHANGE)
    if hasattr(libc, "renameat2") and libc.renameat2(*arguments) == 0:
        return
    old = output.with_name(f".{output.name}.old-{os.getpid()}")
    output.rename(old)
    staging.rename(output)
    shutil.rmtree(old)


def _flush(folder: Path) -> None:
    """The files are flushed already: makes their names survive a power cut before a name points to them."""
    if not any(folder.iterdir()):
        raise JobError(f"{folder} is empty")
    for path in (path for path in folder.rglob("*") if path.is_dir()):
        flush_folder(path)
    flush_folder(folder)
