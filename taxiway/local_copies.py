"""Copies of artifacts that lie elsewhere, on this machine's disk: each one as long as what was loaded from it."""

import atexit
import fcntl
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from taxiway.errors import RegistryError

_LOCK = "lock"


class LocalCopies:
    """The folders of one process, below one that all processes of a user share; for any thread.

    Nobody else reads them, so a copy that a process was killed in the middle of is never loaded. Whatever a dead
    process left is removed by the next one that makes a copy: the kernel has released its lock.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._opening = threading.Lock()
        self._own: Path | None = None
        self._process = 0

    @contextmanager
    def making(self) -> Iterator[Path]:
        """An empty folder to fill; it is gone when that fails.

        Raises:
            RegistryError: somebody else could write there.
            OSError: there is no room.
        """
        folder = Path(tempfile.mkdtemp(dir=self._opened()))
        try:
            yield folder
        except BaseException:
            remove(folder)
            raise

    def keep_for(self, user: object, folder: Path) -> None:
        """Removes a folder when `user` is no more; one that is no copy stays."""
        if self.has(folder):
            weakref.finalize(user, _remove_in, os.getpid(), folder)

    def drop(self, folder: Path) -> None:
        """Removes a folder that nobody reads any more; one that is no copy stays."""
        if self.has(folder):
            remove(folder)

    def has(self, folder: Path) -> bool:
        return self._own is not None and folder.is_relative_to(self._own)

    def _opened(self) -> Path:
        with self._opening:
            if self._own is None or self._process != os.getpid():
                self._own, self._process = self._open(), os.getpid()
            return self._own

    def _open(self) -> Path:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._root.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise RegistryError(f"{self._root}: others may write into this folder of models; remove it, or set TMPDIR")
        with (self._root / _LOCK).open("w") as everybody:
            fcntl.flock(everybody, fcntl.LOCK_EX)
            _sweep(self._root)
            own = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self._root))
            lock = os.open(own / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)  # until the process ends
        atexit.register(_remove_in, os.getpid(), own)
        return own


@cache
def local_copies() -> LocalCopies:
    """Those of this process: on the machine's own disk, which `TMPDIR` names, and not in a folder that others share."""
    return LocalCopies(Path(tempfile.gettempdir()) / f"taxiway-models-{os.getuid()}")


def _sweep(root: Path) -> None:
    """Removes what the dead have left."""
    for folder in root.iterdir():
        if not folder.is_dir():
            continue
        try:
            with (folder / _LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        except FileNotFoundError:
            pass  # killed before it had one
        remove(folder)


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _remove_in(process: int, folder: Path) -> None:
    """A child that was forked has the objects of its parent, and not its folders."""
    if os.getpid() == process:
        remove(folder)
