"""Opportunistic batching: what the event loop has read meanwhile is predicted in one call.

The first request on an empty list schedules a flush two turns of the loop later, when every socket
that was readable at the same moment has been parsed. There is no timer: a lonely request waits for
nothing, and while one batch computes the next one gathers in the sockets.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from taxiway.errors import InvalidInput, ModelFailed, Overloaded, TaxiwayError
from taxiway.scoring import Scored
from taxiway.signature import Array, Columns, Reject, RejectCode, concatenate

_log = logging.getLogger(__name__)

Outputs = dict[str, Array]


@dataclass(frozen=True, slots=True)
class _Waiting:
    columns: Columns
    rows: int
    answer: asyncio.Future[Outputs]


class Gatherer:
    """Gathers requests of one model into batches and hands each its own rows of the answer.

    Requests that bring different columns never share a batch.

    Args:
        score: answers a batch; runs on the event loop.
        batch_rows: rows of one call, unless a single request has more.
        queue_rows: rows that may wait; over it a request is refused at once.
        observe_batch: told the rows of every batch.
    """

    def __init__(
        self,
        score: Callable[[Columns], Scored],
        batch_rows: int,
        queue_rows: int,
        observe_batch: Callable[[int], None],
    ) -> None:
        self._score = score
        self._batch_rows = batch_rows
        self._queue_rows = queue_rows
        self._observe_batch = observe_batch
        self._waiting: dict[tuple[str, ...], list[_Waiting]] = {}
        self._rows_waiting = 0

    async def submit(self, columns: Columns, rows: int) -> Outputs:
        """The outputs for the rows of one request.

        Raises:
            Overloaded: too many rows wait already.
            InvalidInput: a row breaks a rule; the whole request is refused, its neighbours are not.
            FeatureStoreFailed: the features that the request needs can't be read.
            ModelFailed: the model raised on one of its rows.
        """
        if self._rows_waiting + rows > self._queue_rows and self._rows_waiting:
            raise Overloaded(f"{self._rows_waiting} rows are waiting already; try again later")
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(loop.call_soon, self._flush)
        waiting = _Waiting(columns, rows, loop.create_future())
        self._waiting.setdefault(tuple(columns), []).append(waiting)
        self._rows_waiting += rows
        return await waiting.answer

    def _flush(self) -> None:
        groups, self._waiting, self._rows_waiting = self._waiting, {}, 0
        for group in groups.values():
            # A request that was cancelled has nobody to answer to.
            alive = [waiting for waiting in group if not waiting.answer.done()]
            for batch in cut(alive, self._batch_rows):
                self._answer(batch)

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        rows = sum(waiting.rows for waiting in batch)
        try:
            self._observe_batch(rows)
            _hand_out(batch, self._score(concatenate([waiting.columns for waiting in batch])))
        except TaxiwayError as error:
            _fail(batch, error)
        except Exception:  # noqa: BLE001 - a bug of ours fails this batch, not the server
            _log.exception("scoring a batch of %d rows failed", rows)
            _fail(batch, ModelFailed("the model failed on this request"))


def cut(group: Sequence[_Waiting], batch_rows: int) -> list[list[_Waiting]]:
    """Runs of requests with at most `batch_rows` rows together; a larger request stands alone."""
    batches: list[list[_Waiting]] = []
    room = 0
    for waiting in group:
        if waiting.rows > room:
            batches.append([])
            room = batch_rows
        batches[-1].append(waiting)
        room -= waiting.rows
    return batches


def _hand_out(batch: Sequence[_Waiting], scored: Scored) -> None:
    """Splits the answer by offsets; a request gets all its rows or the first reason against one of them."""
    offset = 0
    for waiting in batch:
        begin, end = offset, offset + waiting.rows
        offset = end
        first, last = (begin, end) if not scored.rejects else np.searchsorted(scored.rows, (begin, end))
        if last - first == waiting.rows:
            waiting.answer.set_result({name: values[first:last] for name, values in scored.outputs.items()})
        else:
            waiting.answer.set_exception(_reason(scored.rejects, begin, end))


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


def _fail(batch: Sequence[_Waiting], error: TaxiwayError) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(type(error)(*error.args))
