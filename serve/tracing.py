"""Which requests leave a trace, decided at their end; a thread makes spans of what was noted on the event loop.

On the loop a request that leaves none costs a look at a header, a random number and two comparisons. Times are noted
as the request goes, and become spans only of requests that were sampled, failed on our side, or were slow.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import ParamSpec, TypeVar

from opentelemetry.trace import SpanContext, SpanKind

from serve.background import Background
from taxiway.errors import TaxiwayError
from taxiway.inference import InferResponse
from taxiway.rollout.tally import Stream
from taxiway.scoring import Predictor
from taxiway.signature import Array, Columns
from taxiway.telemetry.exemplars import LatencyExemplars
from taxiway.telemetry.settings import TracingSettings
from taxiway.telemetry.tracing import FinishedSpan, Spans, new_context, parse_traceparent, traceparent

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
TRACEPARENT = b"traceparent"
EVERY_S = 0.2
_PARTS = 100
"""Of one batch; more are only made when a batch is answered request by request."""
_OUR_FAULT = 500


@dataclass(slots=True)
class Kept:
    """A request that leaves spans: its own, and that of its caller."""

    context: SpanContext
    parent: SpanContext | None

    @property
    def trace_id(self) -> str:
        return f"{self.context.trace_id:032x}"

    @property
    def response_header(self) -> str:
        """The value of `traceresponse`."""
        return traceparent(self.context)


@dataclass(frozen=True, slots=True)
class TracedResponse(InferResponse):
    """The response to a request that leaves spans."""

    kept: Kept


@dataclass(frozen=True, slots=True)
class Part:
    """Something within a batch, on the monotonic clock."""

    name: str
    begin: float
    end: float


@dataclass(slots=True)
class BatchNote:
    """How a batch was computed, on the monotonic clock.

    Args:
        members: filled while its answers are handed out, with those that leave spans; the first one's trace has the
            batch's span, which `context` is then.
    """

    begin: float
    end: float
    requests: int
    rows: int
    parts: Sequence[Part]
    members: list[Kept] = field(default_factory=list)
    context: SpanContext | None = None


@dataclass(slots=True)
class RequestNote:
    """A request that has ended. `started`, `queued` and `ended` are of the monotonic clock.

    Args:
        queued: None where it was refused before.
        batch: None where it was in none.
    """

    kept: Kept
    endpoint: str
    variant: str
    version: str
    code: str
    failed: bool
    protocol: str
    rows: int
    started: float
    queued: float | None
    ended: float
    prediction_id: str | None
    batch: BatchNote | None


@dataclass(frozen=True, slots=True)
class _CopyNote:
    kept: Kept
    stream: Stream
    outcome: str
    begin: float
    end: float
    batch: BatchNote | None


class _Parts(threading.local):
    def __init__(self) -> None:
        self.found: list[Part] = []


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
        self._notes: deque[RequestNote | BatchNote | _CopyNote] = deque()
        self._parts = _Parts()
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

    def keep(self, headers: Mapping[bytes, bytes], failed: bool, seconds: float) -> Kept | None:
        """Whether a request that is about to be answered leaves spans.

        Args:
            failed: on our side.
            seconds: since it arrived.
        """
        given = headers.get(TRACEPARENT)
        parent = None if given is None else parse_traceparent(given)
        if not failed and seconds < self._slow_s:
            followed = parent if self._follow else None
            if not (self._draw() < self._share if followed is None else followed.trace_flags.sampled):
                return None
        if self._left <= 0:
            self._dropped += 1
            return None
        self._left -= 1
        return Kept(new_context(parent), parent)

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
        self._notes.append(_CopyNote(kept, stream, outcome, begin, time.monotonic(), batch))

    # On whatever thread a batch is scored.

    def timed(self, name: str, function: Callable[P, T]) -> Callable[P, T]:
        """The same function; its time is a part of the batch that is scored."""

        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            begin = time.monotonic()
            try:
                return function(*args, **kwargs)
            finally:
                if len(self._parts.found) < _PARTS:
                    self._parts.found.append(Part(name, begin, time.monotonic()))

        return run

    def predictor(self, predictor: Predictor) -> Predictor:
        """The same model; its time is the part `inference`."""
        return _Timed(self.timed("inference", predictor.predict))

    def computed(self, begin: float, end: float, requests: int, rows: int) -> BatchNote:
        """A batch has been scored on this thread."""
        parts, self._parts.found = self._parts.found, []
        return BatchNote(begin, end, requests, rows, parts)

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
        offset_ns = time.time_ns() - int(time.monotonic() * 1e9)
        for _ in range(len(self._notes)):
            for span in _spans(self._notes.popleft(), offset_ns):
                self._spans.add(span)
        if self.latencies is not None:
            self.latencies.flush()


@dataclass(frozen=True)
class _Timed:
    run: Callable[[Columns], dict[str, Array]]

    def predict(self, columns: Columns) -> dict[str, Array]:
        return self.run(columns)


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


def _spans(note: RequestNote | BatchNote | _CopyNote, offset_ns: int) -> list[FinishedSpan]:
    if isinstance(note, RequestNote):
        return _of_request(note, offset_ns)
    if isinstance(note, BatchNote):
        return _of_batch(note, offset_ns)
    return _of_copy(note, offset_ns)


def _of_request(note: RequestNote, offset_ns: int) -> list[FinishedSpan]:
    context, attributes = note.kept.context, _attributes(note.endpoint, note.variant, note.version)
    attributes |= {"taxiway.code": note.code, "taxiway.protocol": note.protocol, "taxiway.rows": note.rows}
    if note.prediction_id is not None:
        attributes["taxiway.prediction_id"] = note.prediction_id
    if note.failed:
        attributes["error.type"] = note.code
    batch = note.batch
    found = [
        FinishedSpan(
            f"infer {note.endpoint}",
            context,
            note.kept.parent,
            _ns(note.started, offset_ns),
            _ns(note.ended, offset_ns),
            attributes,
            () if batch is None or batch.context is None else (batch.context,),
            SpanKind.SERVER,
            note.code if note.failed else None,
        )
    ]
    if note.queued is not None:
        found.append(_child("queue", context, note.queued, note.ended if batch is None else batch.begin, offset_ns))
    return found


def _of_batch(note: BatchNote, offset_ns: int) -> list[FinishedSpan]:
    if note.context is None:
        return []
    members = [member.context for member in note.members]
    attributes = {"taxiway.batch.requests": note.requests, "taxiway.rows": note.rows}
    begin, end = _ns(note.begin, offset_ns), _ns(note.end, offset_ns)
    whole = FinishedSpan("batch", note.context, members[0], begin, end, attributes, members)
    return [whole, *(_child(it.name, note.context, it.begin, it.end, offset_ns) for it in note.parts)]


def _of_copy(note: _CopyNote, offset_ns: int) -> list[FinishedSpan]:
    context = new_context(note.kept.context)
    stream, batch = note.stream, note.batch
    attributes = _attributes(stream.endpoint, stream.variant, stream.version) | {"taxiway.outcome": note.outcome}
    begin, end = _ns(note.begin, offset_ns), _ns(note.end, offset_ns)
    found = [FinishedSpan("shadow", context, note.kept.context, begin, end, attributes)]
    if batch is not None:
        found.append(_child("queue", context, note.begin, batch.begin, offset_ns))
        found += [_child(it.name, context, it.begin, it.end, offset_ns) for it in batch.parts]
    return found


def _child(name: str, parent: SpanContext, begin: float, end: float, offset_ns: int) -> FinishedSpan:
    return FinishedSpan(name, new_context(parent), parent, _ns(begin, offset_ns), _ns(end, offset_ns), {})


def _attributes(endpoint: str, variant: str, version: str) -> dict[str, str | int | float | bool]:
    return {"taxiway.endpoint": endpoint, "taxiway.variant": variant, "taxiway.model.version": version}


def _ns(moment: float, offset_ns: int) -> int:
    return int(moment * 1e9) + offset_ns
