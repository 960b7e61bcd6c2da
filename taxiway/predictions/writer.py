"""The prediction log of one process: taken on the event loop, written by a thread."""

import logging
import threading
import time
from collections.abc import Callable

from taxiway.predictions.backlog import Backlog, EncodedFile, LogStatistics
from taxiway.predictions.fields import FieldRules
from taxiway.predictions.files import encode
from taxiway.predictions.ids import random_part
from taxiway.predictions.partitions import FileNames
from taxiway.predictions.record import LoggedBatch
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.predictions.storage import Storage

_log = logging.getLogger(__name__)

_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 30.0
_POINTS = 1 << 48


class PredictionLog:
    """Takes what was answered and writes it in the background; it never waits and never raises.

    A storage that fails is asked again, after 0.5 s and then ever later up to 30 s. Until then the records wait in
    memory; when that is full, the oldest are dropped and counted.

    Args:
        clock: seconds that only grow.
        storage: instead of the one that the settings name.

    Raises:
        ConfigError: the settings' location can't be one, or a key can't be read.
    """

    def __init__(
        self,
        settings: PredictionLogSettings,
        clock: Callable[[], float] = time.monotonic,
        storage: Storage | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._storage = storage or Storage(settings.location)
        self._rules = FieldRules(settings.fields, settings.secret, settings.field_keys(), settings.subject)
        self._names = FileNames()
        self._backlog = Backlog(settings.buffer_rows, int(settings.buffer_mb * 1_000_000))
        self._threshold = round(settings.sample * _POINTS)
        self._sampled_out = 0
        self._wake = threading.Event()
        self._stopping = False
        self._failures = 0
        self._retry_at = 0.0
        self._last_error: str | None = None
        self._last_write_s = 0.0
        self._thread = threading.Thread(target=self._run, name="prediction log", daemon=True)
        self._thread.start()

    def add(self, batch: LoggedBatch) -> None:
        """Queues the records of a batch, or drops and counts them."""
        try:
            self._add(batch)
        except Exception:  # noqa: BLE001 - a log never fails a prediction
            self._backlog.refuse(batch)

    def _add(self, batch: LoggedBatch) -> None:
        kept: list[bool] | None = None
        rows = len(next(iter(batch.inputs.values()))) if batch.inputs else sum(batch.rows)
        if self._threshold < _POINTS:
            kept = [is_sampled(prediction_id, self._threshold) for prediction_id in batch.ids]
            self._sampled_out += len(kept) - sum(kept)
            rows = sum(rows for rows, keep in zip(batch.rows, kept, strict=True) if keep)
        if rows:
            backlog = self._backlog
            backlog.put(batch, kept, rows)
            if backlog.batch_rows >= self._settings.flush_rows and not self._wake.is_set():
                self._wake.set()

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Waits until all is written; False when it takes longer. For draining, not for the event loop."""
        self._retry_at = 0.0
        self._wake.set()
        return self._backlog.wait_until_empty(timeout_s)

    def close(self, timeout_s: float = 10.0) -> None:
        """Writes what waits; what can't be written in time is dropped and counted."""
        self._backlog.close()
        self.flush(timeout_s)
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout_s)
        self._backlog.abandon()

    def statistics(self) -> LogStatistics:
        backlog = self._backlog
        return LogStatistics(
            backlog.rows_written,
            backlog.files_written,
            backlog.dropped,
            self._sampled_out,
            backlog.rows,
            backlog.size_bytes,
            self._last_error,
            self._last_write_s,
        )

    def _run(self) -> None:
        # Not niced: on a busy node it would be put aside while it holds the interpreter's lock, and requests with it.
        while not self._stopping:
            self._wake.wait(self._settings.flush_s if not self._failures else self._until_retry())
            self._wake.clear()
            self._encode()
            try:
                self._store()
            except Exception:  # noqa: BLE001 - the log goes on
                self._backlog.failed()
                _log.exception("the prediction log failed")

    def _encode(self) -> None:
        files: list[EncodedFile] = []
        try:
            files = encode(self._backlog.take(), self._rules, self._names)
        except Exception:  # noqa: BLE001 - the log goes on
            _log.exception("records can't be encoded")
        finally:
            self._backlog.encoded(files)

    def _until_retry(self) -> float:
        return min(max(self._retry_at - self._clock(), 0.01), self._settings.flush_s)

    def _store(self) -> None:
        while self._clock() >= self._retry_at and (file := self._backlog.oldest()) is not None:
            began_s = self._clock()
            try:
                self._storage.write(file.path, file.content)
            except OSError as error:
                self._backlog.failed()
                self._note(error)
            else:
                self._backlog.written()
                self._last_write_s = self._clock() - began_s
                self._failures, self._last_error = 0, None

    def _note(self, error: OSError) -> None:
        if not self._failures:
            _log.warning("the prediction log can't be written, its records wait in memory: %s", error)
        self._last_error = f"{type(error).__name__}: {error}"
        self._retry_at = self._clock() + min(_FIRST_RETRY_S * 2**self._failures, _LAST_RETRY_S)
        self._failures = min(self._failures + 1, 16)


def is_sampled(prediction_id: str, threshold: int) -> bool:
    """Whether an answer is kept, by 48 of its id's random bits: each process and each shadow decides alike."""
    return random_part(prediction_id) < threshold
