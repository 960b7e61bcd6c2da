"""Takes ground truth and says when it is safe: one file for all that arrives within a few milliseconds.

Group commit (Gray and Reuter, Transaction Processing, 1993, 9.4): whoever reports waits for a file that is flushed
to the disk together with its name, or that S3 has taken; so an acknowledged label survives a kill and a power cut.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime

from taxiway.errors import Overloaded, Unavailable
from taxiway.predictions.ground_truth import GroundTruth
from taxiway.predictions.labels import label_file, label_table
from taxiway.predictions.partitions import GROUND_TRUTH, FileNames, hour_folder, hour_of
from taxiway.predictions.storage import Storage

_log = logging.getLogger(__name__)

_GATHER_S = 0.02
_GATHER_RECORDS = 5_000
_MOST_WAITING = 100_000


@dataclass(frozen=True)
class TruthStatistics:
    """Since the log was opened."""

    labels_written: int
    commits: int
    failed: int
    waiting: int
    last_error: str | None
    last_write_s: float


class GroundTruthLog:
    """Writes reports in the background. For several threads.

    Args:
        location: that of the prediction log.
        gather_s: how long a commit waits for others to join it.

    Raises:
        ConfigError: the location can't be one.
    """

    def __init__(self, location: str, gather_s: float = _GATHER_S, storage: Storage | None = None) -> None:
        self._storage = storage or Storage(location)
        self._gather_s = gather_s
        self._names = FileNames()
        self._news = threading.Condition()
        self._waiting: list[tuple[Sequence[GroundTruth], Future[None]]] = []
        self._records = 0
        self._closed = False
        self._written = self._commits = self._failed = 0
        self._last_error: str | None = None
        self._last_write_s = 0.0
        self._thread = threading.Thread(target=self._run, name="ground truth", daemon=True)
        self._thread.start()

    def add(self, records: Sequence[GroundTruth]) -> "Future[None]":
        """Done when all of them are durable; on an event loop: `await asyncio.wrap_future(log.add(records))`.

        It fails with Unavailable when the storage fails; then some of the records may be there all the same, and
        sending them again does no harm.

        Raises:
            Overloaded: too many wait already.
            Unavailable: the log is closed.
        """
        future: Future[None] = Future()
        with self._news:
            if self._closed:
                raise Unavailable("ground truth is not taken any more; try another replica")
            if self._records and self._records + len(records) > _MOST_WAITING:
                raise Overloaded(f"{self._records} labels wait to be written; try again later")
            self._waiting.append((records, future))
            self._records += len(records)
            self._news.notify()
        return future

    def close(self, timeout_s: float = 10.0) -> None:
        """Writes what waits and takes no more."""
        with self._news:
            self._closed = True
            self._news.notify()
        self._thread.join(timeout_s)

    def statistics(self) -> TruthStatistics:
        return TruthStatistics(
            self._written, self._commits, self._failed, self._records, self._last_error, self._last_write_s
        )

    def _run(self) -> None:
        while taken := self._gather():
            # Who has given up must not be told; who is told now can't give up any more.
            self._commit([(records, future) for records, future in taken if future.set_running_or_notify_cancel()])

    def _gather(self) -> list[tuple[Sequence[GroundTruth], "Future[None]"]]:
        """What has arrived, a little after the first of it; nothing when the log is closed."""
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._closed)
            self._news.wait_for(lambda: self._records >= _GATHER_RECORDS or self._closed, self._gather_s)
            taken, self._waiting = self._waiting, []
            self._records = 0
            return taken

    def _commit(self, taken: list[tuple[Sequence[GroundTruth], "Future[None]"]]) -> None:
        records = [record for some, _ in taken for record in some]
        began_s = time.monotonic()
        try:
            self._write(records)
        except Exception as error:  # noqa: BLE001 - whoever waits is told, and the thread lives on
            _log.warning("%d labels could not be written: %s", len(records), error)
            self._failed += len(records)
            self._last_error = f"{type(error).__name__}: {error}"
            for _, future in taken:
                future.set_exception(Unavailable("the labels could not be written; send them again"))
            return
        self._written += len(records)
        self._commits += 1
        self._last_write_s = time.monotonic() - began_s
        self._last_error = None
        for _, future in taken:
            future.set_result(None)

    def _write(self, records: Sequence[GroundTruth]) -> None:
        by_hour: dict[datetime, list[GroundTruth]] = defaultdict(list)
        for record in records:
            by_hour[hour_of(record.received_at)].append(record)
        for hour, mine in by_hour.items():
            self._storage.write(self._names.next(hour_folder(GROUND_TRUTH, hour)), label_file(label_table(mine)))
