"""Which requests leave a trace, decided at their end; a thread makes spans of what was noted on the event loop.

On the loop a request that leaves none costs a look at a header, a random number and two comparisons. Times are noted
as the request goes, and become spans only of requests that were sampled, failed on our side, or were slow.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import ParamSpec, TypeVar

from serve.background import Background
from serve.trace_notes import TRACEPARENT, BatchNote, BatchWork, CopyNote, Kept, Member, Note, RequestNote, spans_of
from taxiway.errors import TaxiwayError
from taxiway.inference import InferResponse
from taxiway.rollout.tally import Stream
from taxiway.scoring import Predictor
from taxiway.signature import Array, Columns
from taxiway.telemetry.exemplars import LatencyExemplars
from taxiway.telemetry.logs import TRACE_ID
from taxiway.telemetry.settings import TracingSettings
from taxiway.telemetry.tracing import Spans, new_context, parse_traceparent
from taxiway.telemetry.work import Work, begin, current, end, part

__all__ = ["BatchNote", "Kept", "RequestNote", "TracedResponse", "Tracing", "is_ours", "log_fields", "mark", "trace_of"]

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
EVERY_S = 0.2
_OUR_FAULT = 500


@dataclass(frozen=True, slots=True)
class TracedResponse(InferResponse):
    """The response to a request that leaves spans."""

    kept: Kept


class Tracing:
    """Notes on the event loop, spans on a thread.

    Args:
        latencies: told of every request's latency; None where nobody takes them by OTLP.
    """

    def __init__(self, settings: TracingSettings, spans: Spans, latencies: LatencyExemplars | None = None) -> None:
        self._share, self._slow_s = settings.sample, settings.slow_ms / 1_000
        self._follow, self._most = settings.follow_callers, settings.requests_per_s
        self._spans, self.latencies = spans, latencies
        self._left, self._dropped, self._told, self._refilled = self._most, 0, 0, time.monotonic()
        # Filled on the event loop while the thread empties it: both ends of a deque are safe.
        self._notes: deque[Note] = deque()
        self._draw = Random().random  # noqa: S311 - one of our own: a model that seeds Python's changes nothing here
        self._thread = Background("tracing", self.flush, EVERY_S)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Exports what was noted."""
        self._thread.stop()
        if self.latencies is not None:
            self.latencies.close()
        self._spans.close()

    # On the event loop.

    def keep(
        self, headers: Mapping[bytes, bytes], failed: bool, seconds: float, batch: BatchNote | None = None
    ) -> Kept | None:
        """Whether a request that is about to be answered leaves spans.

        Args:
            failed: on our side.
            seconds: since it arrived.
            batch: in which it was answered. A member whose trace stands in lines of the log is kept.
        """
        given = headers.get(TRACEPARENT)
        parent = None if given is None else parse_traceparent(given)
        trace_id, logged = (None, False) if batch is None or batch.work is None else batch.claimed(parent)
        if not failed and seconds < self._slow_s and not logged:
            followed = parent if self._follow else None
            if not (self._draw() < self._share if followed is None else followed.trace_flags.sampled):
                return None
        if self._left <= 0:
            self._dropped += 1
            return None
        self._left -= 1
        return Kept(new_context(parent, trace_id), parent)

    def request(self, note: RequestNote) -> None:
        """A request has ended that was kept."""
        batch = note.batch
        if batch is not None:
            batch.members.append(note.kept)
            if batch.context is None:
                batch.context = new_context(note.kept.context)
        self._notes.append(note)

    def batch(self, note: BatchNote) -> None:
        """The answers of a batch have been handed out, one at least to a request that was kept."""
        self._notes.append(note)

    def copied(self, kept: Kept, stream: Stream, outcome: str, begin: float, batch: BatchNote | None) -> None:
        """A shadow has answered the copy of a request that was kept, or was not asked in time."""
        self._notes.append(CopyNote(kept, stream, outcome, begin, time.monotonic(), batch))

    # On whatever thread a batch is scored.

    def began(self, batch: Sequence[Member]) -> None:
        """A batch is about to be scored on this thread."""
        begin(BatchWork(batch))

    def timed(self, name: str, function: Callable[P, T]) -> Callable[P, T]:
        """The same function; its time is a part of the batch that is scored."""

        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            if current() is None:
                begin(Work())
            with part(name):
                return function(*args, **kwargs)

        return run

    def predictor(self, predictor: Predictor) -> Predictor:
        """The same model; its time is the part `inference`."""
        return _Timed(self.timed("inference", predictor.predict))

    def computed(self, begin: float, ended: float, requests: int, rows: int) -> BatchNote:
        """A batch has been scored on this thread."""
        work = end()
        asked = work if isinstance(work, BatchWork) and work.trace_id is not None else None
        return BatchNote(begin, ended, requests, rows, [] if work is None else work.parts, asked)

    # On the thread.

    def flush(self) -> None:
        """Makes spans of what was noted until now, and once a second lets as many requests again be kept."""
        now = time.monotonic()
        if now - self._refilled >= 1.0:
            self._left, self._refilled = self._most, now
            if self._dropped > self._told:
                _log.warning(
                    "more requests should have been traced than tracing.requests_per_s allows",
                    extra={"event.action": "traces_dropped", "dropped": self._dropped - self._told},
                )
                self._told = self._dropped
        offset_ns = _offset_ns()
        for _ in range(len(self._notes)):
            for span in spans_of(self._notes.popleft(), offset_ns):
                self._spans.add(span)
        if self.latencies is not None:
            self.latencies.flush()


@dataclass(frozen=True)
class _Timed:
    run: Callable[[Columns], dict[str, Array]]

    def predict(self, columns: Columns) -> dict[str, Array]:
        return self.run(columns)


def _offset_ns() -> int:
    """What the monotonic clock lacks to the time since 1970; of some tries the one that nothing came between."""
    tries = [(time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(3)]
    before, now, after = min(tries, key=lambda it: it[2] - it[0])
    return now - (before + after) // 2


def is_ours(error: TaxiwayError) -> bool:
    """Whether it failed on our side: what the caller mends by another request is sampled as any other."""
    return error.status >= _OUR_FAULT


def mark(error: TaxiwayError, kept: Kept) -> None:
    """The error belongs to a request that leaves spans."""
    vars(error)["kept"] = kept


def trace_of(answered: InferResponse | TaxiwayError) -> Kept | None:
    """What an answer or an error tells its caller of the trace; None where there is none."""
    if isinstance(answered, TracedResponse):
        return answered.kept
    return vars(answered).get("kept") if isinstance(answered, TaxiwayError) else None


def log_fields(answered: InferResponse | TaxiwayError) -> dict[str, str]:
    """What a line says that is logged of a request after its batch."""
    kept = trace_of(answered)
    return {} if kept is None else {TRACE_ID: kept.trace_id}
