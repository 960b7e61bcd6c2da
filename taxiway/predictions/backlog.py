"""What waits to be written: bounded in rows and bytes; what does not fit is dropped and counted."""

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from taxiway.predictions.record import LoggedBatch


class DropReason(StrEnum):
    """Why rows are not in the log."""

    OVERFLOW = "overflow"
    """The buffer was full: the writer does not keep up, or the batch is larger than the whole buffer."""
    STORAGE = "storage"
    """The storage failed for so long that the oldest had to make room, or until the log was closed."""
    CLOSED = "closed"
    """They came after the log was closed."""
    UNREADABLE = "unreadable"
    """They could not be made into records: a bug of the caller."""


@dataclass(frozen=True)
class LogStatistics:
    """Since the log was opened. `last_error` is None while the storage answers; `dropped` is by reason, in rows."""

    rows_written: int
    files_written: int
    dropped: Mapping[str, int]
    requests_sampled_out: int
    backlog_rows: int
    backlog_bytes: int
    last_error: str | None
    last_write_s: float


@dataclass(frozen=True)
class EncodedFile:
    """A file that is to be written, and the rows in it."""

    path: str
    content: Any
    rows: int

    @property
    def size_bytes(self) -> int:
        return len(self.content)


class Backlog:
    """Batches as they came, then files that wait for the storage. For several threads.

    Rows count against the bounds until they are written. When something does not fit, the oldest files give way:
    there are some only while the storage fails. Where there are none, what comes is dropped.
    """

    def __init__(self, rows: int, size_bytes: int) -> None:
        self._most_rows, self._most_bytes = rows, size_bytes
        self._lock = threading.Lock()
        self._empty = threading.Condition(self._lock)
        self._batches: list[tuple[LoggedBatch, Sequence[bool] | None]] = []
        self._files: deque[EncodedFile] = deque()
        self._writing: EncodedFile | None = None
        self._closed = False
        self.rows = self.size_bytes = 0
        self.batch_rows = self._batch_bytes = self._encoding_rows = self._encoding_bytes = 0
        self.rows_written = self.files_written = 0
        self._dropped: Counter[str] = Counter()

    @property
    def dropped(self) -> dict[str, int]:
        with self._lock:
            return dict(self._dropped)

    def put(self, batch: LoggedBatch, kept: Sequence[bool] | None, rows: int) -> None:
        size_bytes = batch.size_bytes()
        with self._lock:
            if self._closed:
                self._dropped[DropReason.CLOSED] += rows
            elif self._has_room(rows, size_bytes) or self._make_room(rows, size_bytes):
                self._batches.append((batch, kept))
                self.batch_rows += rows
                self._batch_bytes += size_bytes
                self.rows += rows
                self.size_bytes += size_bytes
            else:
                self._dropped[DropReason.OVERFLOW] += rows

    def refuse(self, batch: LoggedBatch) -> None:
        """Counts a batch that makes no sense."""
        with self._lock:
            self._dropped[DropReason.UNREADABLE] += len(batch.ids)

    def take(self) -> list[tuple[LoggedBatch, Sequence[bool] | None]]:
        """All batches; they count as waiting until `encoded`."""
        with self._lock:
            taken, self._batches = self._batches, []
            self._encoding_rows, self.batch_rows = self.batch_rows, 0
            self._encoding_bytes, self._batch_bytes = self._batch_bytes, 0
            return taken

    def encoded(self, files: Sequence[EncodedFile]) -> None:
        """What has become of the batches that were taken."""
        with self._lock:
            if not self._encoding_rows:
                return
            lost = self._encoding_rows - sum(file.rows for file in files)
            if lost:
                self._dropped[DropReason.UNREADABLE] += lost
            self.rows -= lost
            self.size_bytes += sum(file.size_bytes for file in files) - self._encoding_bytes
            self._encoding_rows = self._encoding_bytes = 0
            self._files.extend(files)
            self._tell()

    def oldest(self) -> EncodedFile | None:
        """The file to write next; it is not dropped until `written` or `failed`."""
        with self._lock:
            self._writing = self._files[0] if self._files else None
            return self._writing

    def written(self) -> None:
        with self._lock:
            self.rows_written += self._forget().rows
            self.files_written += 1
            self._tell()

    def failed(self) -> None:
        with self._lock:
            self._writing = None

    def close(self) -> None:
        """Nothing is accepted from now on."""
        with self._lock:
            self._closed = True

    def abandon(self) -> None:
        """Drops what is left."""
        with self._lock:
            if self.rows:
                self._dropped[DropReason.STORAGE] += self.rows
            self._batches.clear()
            self._files.clear()
            self.rows = self.batch_rows = self._encoding_rows = 0
            self.size_bytes = self._batch_bytes = self._encoding_bytes = 0

    def wait_until_empty(self, timeout_s: float) -> bool:
        with self._empty:
            return self._empty.wait_for(lambda: not self.rows, timeout_s)

    def _tell(self) -> None:
        if not self.rows:
            self._empty.notify_all()

    def _has_room(self, rows: int, size_bytes: int) -> bool:
        return self.rows + rows <= self._most_rows and self.size_bytes + size_bytes <= self._most_bytes

    def _make_room(self, rows: int, size_bytes: int) -> bool:
        if rows > self._most_rows or size_bytes > self._most_bytes:
            return False
        while not self._has_room(rows, size_bytes):
            if not self._files or self._files[0] is self._writing:
                return False
            self._dropped[DropReason.STORAGE] += self._forget().rows
        return True

    def _forget(self) -> EncodedFile:
        file = self._files.popleft()
        self._writing = None
        self.rows -= file.rows
        self.size_bytes -= file.size_bytes
        return file
