"""What has been shipped: the names of files by hour, and of one file how many rows. Written aside, then renamed."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from taxiway.errors import JobError, OutputHeld
from taxiway.storage import flush_folder, written_aside
from taxiway.telemetry.elastic.bulk import DeadLetter

MOST_DEAD_BYTES = 100 << 20


class Checkpoint:
    """Files of the prediction log never change, so a name and a number of rows say exactly how far we are.

    Args:
        folder: holds `shipped.json` and `dead-letters.jsonl`; one process at a time.

    Raises:
        JobError: `shipped.json` can't be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "shipped.json"
        self._letters = folder / "dead-letters.jsonl"
        self._done: dict[str, set[str]] = {}
        self._part: tuple[str, int] = ("", 0)
        if self._path.exists():
            self._read()

    def done(self, folder: str) -> frozenset[str]:
        """The names of the files of an hour that are shipped as a whole."""
        return frozenset(self._done.get(folder, ()))

    def rows_done(self, path: str) -> int:
        """Of the file that is under way."""
        return self._part[1] if self._part[0] == path else 0

    def reached(self, path: str, rows: int) -> None:
        self._part = path, rows
        self._write()

    def finished(self, folder: str, names: Sequence[str]) -> None:
        self._done.setdefault(folder, set()).update(names)
        self._part = "", 0
        self._write()

    def forget(self, folder: str, listed: frozenset[str]) -> None:
        """Names that are not there any more; what took their place is in `done` by now."""
        if gone := self._done.get(folder, set()) - listed:
            self._done[folder] -= gone
            self._write()

    def keep_hours(self, folders: frozenset[str]) -> None:
        """Forgets hours that are not looked at any more."""
        if gone := self._done.keys() - folders:
            self._done = {name: files for name, files in self._done.items() if name not in gone}
            self._write()

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Adds dead letters, on the disk when this returns.

        Raises:
            JobError: there are too many.
        """
        if not letters:
            return
        if self._letters.exists() and self._letters.stat().st_size > MOST_DEAD_BYTES:
            raise JobError(f"{self._letters} is full: see why documents are refused, then move it away")
        with self._letters.open("ab") as file:
            for it in letters:
                head = {"status": it.status, "type": it.kind, "reason": it.reason, "index": it.document.index}
                file.write(orjson.dumps({**head, "id": it.document.id, "document": orjson.Fragment(it.document.body)}))
                file.write(b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> None:
        try:
            found = json.loads(self._path.read_text())
            self._done = {folder: set(names) for folder, names in found["done"].items()}
            self._part = str(found["part"][0]), int(found["part"][1])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobError(f"{self._path} can't be read: {error}; without it everything is sent again") from error

    def _write(self) -> None:
        state = {"done": {folder: sorted(names) for folder, names in self._done.items()}, "part": self._part}
        with written_aside(self._path) as file:
            file.write(json.dumps(state).encode())
        flush_folder(self._folder)


@contextmanager
def checkpoint(folder: Path) -> Iterator[Checkpoint]:
    """
    Raises:
        OutputHeld: another process ships with this folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputHeld(f"another process ships with {folder}; give --state another folder, or end it") from None
        yield Checkpoint(folder)
