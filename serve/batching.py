"""Opportunistic batching: what the event loop has read meanwhile is predicted in one call.

The first request on an empty list schedules a flush two turns of the loop later, when every socket
that was readable at the same moment has been parsed. There is no timer: a lonely request waits for
nothing, and while one batch computes the next one gathers by itself. A model of a few milliseconds
computes on the loop; a slower one on threads, with the same gathering in front.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from serve.tracing import BatchNote, Tracing
from taxiway.errors import DeadlineExceeded, InvalidInput, ModelFailed, Overloaded, TaxiwayError, VariantUnavailable
from taxiway.inference import RequestColumns, join, layout, size_bytes
from taxiway.scoring import Scored
from taxiway.signature import Array, Column, Columns, Reject, RejectCode

_log = logging.getLogger(__name__)

Outputs = dict[str, Array]
Done = Callable[["Outputs | TaxiwayError"], None]
_SMOOTHING = 0.2
_NONE: Mapping[bytes, bytes] = {}


@dataclass(frozen=True)
class BatchRules:
    """How large a batch gets and how much may wait for it."""

    rows: int
    size_bytes: int
    queue_rows: int
    wait_s: float = 0.0


class Waiting:
    """One request between its arrival and its outcome, which it gets exactly once.

    Attributes:
        prediction_id: the id of its answer, when it has been answered; of a shadow's copy that of the live answer.
        live: of a shadow's copy, the live answer.
        trace_id: where the request leaves a trace; of a copy that of the live request.
        headers: of a live request.
    """

    __slots__ = (
        "columns",
        "done",
        "expires",
        "headers",
        "live",
        "prediction_id",
        "rows",
        "since",
        "size_bytes",
        "timer",
        "trace_id",
    )

    def __init__(self, columns: RequestColumns, rows: int, expires: float, done: Done) -> None:
        self.columns = columns
        self.rows = rows
        self.size_bytes = size_bytes(columns)
        self.since = time.monotonic()
        self.expires = expires
        self.done: Done | None = done
        self.timer: asyncio.TimerHandle | None = None
        self.prediction_id: str | None = None
        self.live: Outputs | None = None
        self.trace_id: str | None = None
        self.headers: Mapping[bytes, bytes] = _NONE

    def finish(self, outcome: "Outputs | TaxiwayError") -> None:
        done, self.done = self.done, None
        if self.timer is not None:
            self.timer.cancel()
        if done is not None:
            try:
                done(outcome)
            except Exception:  # noqa: BLE001 - one answer that can't be sent must not keep the others waiting
                _log.exception("handing over an answer failed")

    def cancel(self) -> None:
        """Nobody waits any more: what was not begun is not executed."""
        self.done = None
        if self.timer is not None:
            self.timer.cancel()


Record = Callable[[Sequence[Waiting], "Sequence[Scored | TaxiwayError]"], None]


class Gatherer:
    """Gathers requests of one model into batches and hands each its own rows of the answer.

    Requests of different layouts (columns, datatypes, shapes) never share a batch.

    Args:
        score: answers a batch.
        inputs: the columns that requests may bring.
        rules: bounds of a batch and of the queue.
        observe: told of every batch the rows, the seconds that its oldest request waited and those that it took, and of
            the wait those in which it was held open for more rows.
        executor: where batches are scored; None is the event loop.
        in_flight: batches that an executor may have at once.
        record: told of every batch when its answers have been handed out.
        tracing: told of the batches that have a member that is traced.

    Attributes:
        handing_out: how the batch was computed whose answers are handed out right now, where requests are traced.
    """

    def __init__(
        self,
        score: Callable[[Columns], Scored],
        inputs: Mapping[str, Column],
        rules: BatchRules,
        observe: Callable[[int, float, float, float], None],
        executor: Executor | None = None,
        in_flight: int = 1,
        record: Record | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._score = score
        self._inputs = inputs
        self._rules = rules
        self._observe = observe
        self._executor = executor
        self._free = in_flight
        self._record = record
        self._tracing = tracing
        self.handing_out: BatchNote | None = None
        self._waiting: dict[tuple[Any, ...], list[Waiting]] = {}
        self._rows_waiting = 0
        self._flush_is_due = False
        self._wait: asyncio.TimerHandle | None = None
        self._waits_since = self._held_s = 0.0
        self._batch_s = 0.0
        self.idle = True

    @property
    def rows_waiting(self) -> int:
        return self._rows_waiting

    def submit(self, columns: RequestColumns, rows: int, expires: float, done: Done) -> Waiting:
        """Queues the rows of one request; `done` gets its outputs, or the error, on the event loop.

        Args:
            expires: the end of its time, as of `time.monotonic()`.

        Raises:
            Overloaded: too many rows wait already.
        """
        if self._rows_waiting + rows > self._rules.queue_rows and self._rows_waiting:
            raise Overloaded(f"{self._rows_waiting} rows are waiting already; try again later")
        waiting = Waiting(columns, rows, expires, done)
        self._waiting.setdefault(layout(columns), []).append(waiting)
        self._rows_waiting += rows
        self.idle = False
        if self._executor is not None:
            # A thread does not keep the loop from saying that the time is over.
            delay = max(expires - waiting.since, 0.0)
            waiting.timer = asyncio.get_running_loop().call_later(delay, waiting.finish, _too_late())
        self._schedule()
        return waiting

    def _schedule(self) -> None:
        """A flush two turns later, or, where waiting pays, when the batch is full or has waited long enough."""
        if self._flush_is_due or self._free == 0:
            return
        loop = asyncio.get_running_loop()
        if self._rows_waiting < self._rules.rows and self._rules.wait_s:
            if self._wait is None:
                self._waits_since = time.monotonic()
                self._wait = loop.call_later(self._rules.wait_s, self._flush)
            return
        self._flush_is_due = True
        loop.call_soon(loop.call_soon, self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        self._held_s = 0.0
        if self._wait is not None:
            self._held_s = time.monotonic() - self._waits_since
            self._wait.cancel()
            self._wait = None
        if self._executor is None:
            while self._waiting:
                self._answer(self._next_batch())
        else:
            while self._waiting and self._free:
                self._start(self._executor, self._next_batch())
        self.idle = not self._waiting and self._executor is None

    def _next_batch(self) -> list[Waiting]:
        """The oldest layout's requests that still have somebody who waits and time to be answered."""
        key = next(iter(self._waiting))
        group = self._waiting.pop(key)
        taken = fill(group, self._rules.rows, self._rules.size_bytes)
        if rest := group[taken:]:
            self._waiting[key] = rest
        self._rows_waiting -= sum(waiting.rows for waiting in group[:taken])
        # On a thread an answer that comes too late helps nobody; on the loop it is there before the timer.
        latest = time.monotonic() + (self._batch_s if self._executor is not None else 0.0)
        alive = [waiting for waiting in group[:taken] if waiting.done is not None]
        for waiting in alive:
            if waiting.expires < latest:
                waiting.finish(_too_late())
        return [waiting for waiting in alive if waiting.done is not None]

    def _answer(self, batch: list[Waiting]) -> None:
        if batch:
            self._hand_out(batch, *self._computed(batch, self._held_s))

    def _start(self, executor: Executor, batch: list[Waiting]) -> None:
        if not batch:
            return
        self._free -= 1
        loop = asyncio.get_running_loop()
        scoring = executor.submit(self._computed, batch, self._held_s)
        scoring.add_done_callback(lambda done: loop.call_soon_threadsafe(self._finished, batch, *done.result()))

    def _finished(self, batch: list[Waiting], scored: "list[Scored | TaxiwayError]", note: BatchNote | None) -> None:
        self._free += 1
        self._hand_out(batch, scored, note)
        if self._waiting:
            self._schedule()
        else:
            self.idle = True

    def _hand_out(self, batch: list[Waiting], scored: "list[Scored | TaxiwayError]", note: BatchNote | None) -> None:
        self.handing_out = note
        _hand_out(batch, scored)
        self.handing_out = None
        if self._record is not None:
            with suppress(Exception):  # telemetry never fails a prediction
                self._record(batch, scored)
        if self._tracing is not None and note is not None and note.members:
            self._tracing.batch(note)

    def _computed(
        self, batch: Sequence[Waiting], held_s: float
    ) -> "tuple[list[Scored | TaxiwayError], BatchNote | None]":
        """The results of a batch, and how it was computed where requests are traced."""
        if self._tracing is not None:
            self._tracing.began(batch)
        begin = time.monotonic()
        scored = self._scored(batch)
        end = time.monotonic()
        self._batch_s += _SMOOTHING * (end - begin - self._batch_s)
        rows = sum(waiting.rows for waiting in batch)
        with suppress(Exception):  # telemetry never fails a prediction
            self._observe(rows, begin - batch[0].since, end - begin, held_s)
        return scored, None if self._tracing is None else self._tracing.computed(begin, end, len(batch), rows)

    def _scored(self, batch: Sequence[Waiting]) -> "list[Scored | TaxiwayError]":
        """One result for the whole batch, or one for each request when they can't be answered together."""
        whole = self._outcome([waiting.columns for waiting in batch])
        if isinstance(whole, InvalidInput | VariantUnavailable) and len(batch) > 1:
            # One of them is to blame; alone, each stands for itself.
            return [self._outcome([waiting.columns]) for waiting in batch]
        return [whole]

    def _outcome(self, parts: Sequence[RequestColumns]) -> "Scored | TaxiwayError":
        try:
            return self._score(join(parts, self._inputs))
        except TaxiwayError as error:
            return error
        except Exception:  # noqa: BLE001 - a bug of ours fails this batch, not the server
            _log.exception("scoring a batch of %d requests failed", len(parts))
            return ModelFailed("the model failed on this request")


def fill(group: Sequence[Waiting], rows: int, size_bytes: int) -> int:
    """How many requests fit into one batch; a larger request stands alone."""
    for taken, waiting in enumerate(group):
        rows -= waiting.rows
        size_bytes -= waiting.size_bytes
        if taken and (rows < 0 or size_bytes < 0):
            return taken
    return len(group)


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("the time for this request is over")


def _hand_out(batch: Sequence[Waiting], scored: "Sequence[Scored | TaxiwayError]") -> None:
    """Splits answers by offsets; a request gets all its rows or the first reason against one of them."""
    if len(scored) == len(batch):
        for waiting, alone in zip(batch, scored, strict=True):
            waiting.finish(alone if isinstance(alone, TaxiwayError) else _own(alone, 0, waiting.rows))
        return
    (whole,) = scored
    offset = 0
    for waiting in batch:
        begin, offset = offset, offset + waiting.rows
        waiting.finish(_copy(whole) if isinstance(whole, TaxiwayError) else _own(whole, begin, offset))


def _own(scored: Scored, begin: int, end: int) -> "Outputs | TaxiwayError":
    first, last = (begin, end) if not scored.rejects else np.searchsorted(scored.rows, (begin, end))
    if last - first == end - begin:
        return {name: values[first:last] for name, values in scored.outputs.items()}
    return _reason(scored.rejects, begin, end)


def _reason(rejects: Sequence[Reject], begin: int, end: int) -> TaxiwayError:
    for reject in rejects:
        first, last = np.searchsorted(reject.rows, (begin, end))
        if first == last:
            continue
        if reject.code is RejectCode.MODEL_FAILED:
            return ModelFailed(f"{reject.reasons[first]} on this request")
        where = f" (row {reject.rows[first] - begin})" if end - begin > 1 else ""
        return InvalidInput(str(reject.code), reject.field, reject.reasons[first] + where)
    raise AssertionError("a row without an answer has a reason")


def _copy(error: TaxiwayError) -> TaxiwayError:
    return type(error)(*error.args)
