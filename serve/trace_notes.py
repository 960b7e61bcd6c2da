"""What is noted of a request that is traced, and the spans that are made of it later, on another thread."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from opentelemetry.trace import SpanContext, SpanKind

from taxiway.rollout.tally import Stream
from taxiway.telemetry.otlp import FinishedSpan
from taxiway.telemetry.tracing import new_context, new_trace_id, parse_traceparent, traceparent
from taxiway.telemetry.work import NONE, Part, Work

TRACEPARENT = b"traceparent"


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


class Member(Protocol):
    """A request in a batch, as far as its trace is known before its end.

    Attributes:
        trace_id: of a copy that of the live request, where that leaves a trace.
    """

    headers: Mapping[bytes, bytes]
    trace_id: str | None


class BatchWork(Work):
    """A batch that is scored. Lines that are logged meanwhile belong to the trace of one of its members: of one whose
    caller has begun it, or it is drawn, and the first member that is kept without a caller gets it."""

    __slots__ = ("_members", "drawn")

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__()
        self._members = members
        self.drawn = False

    def identity(self) -> str:
        if self.trace_id is None:
            known = next((it for it in map(_known, self._members) if it is not None), None)
            self.drawn, self.trace_id = known is None, known or f"{new_trace_id():032x}"
        return self.trace_id


def _known(member: Member) -> str | None:
    given = member.headers.get(TRACEPARENT)
    parent = None if given is None else parse_traceparent(given)
    return member.trace_id if parent is None else f"{parent.trace_id:032x}"


@dataclass(slots=True)
class BatchNote:
    """How a batch was computed, on the monotonic clock.

    Args:
        work: whether lines were logged, and under which trace; None where nobody has asked for one.
        members: filled while its answers are handed out, with those that leave spans; the first one's trace has the
            batch's span, which `context` is then.
    """

    begin: float
    end: float
    requests: int
    rows: int
    parts: Sequence[Part]
    work: BatchWork | None = None
    members: list[Kept] = field(default_factory=list)
    context: SpanContext | None = None

    def claimed(self, parent: SpanContext | None) -> tuple[int | None, bool]:
        """The trace that was found for the batch, if it is that of this member, and whether lines name it. One member
        has it."""
        work = self.work
        if work is None or work.trace_id is None or work.drawn != (parent is None):
            return None, False
        trace_id = int(work.trace_id, 16)
        if parent is not None and parent.trace_id != trace_id:
            return None, False
        self.work = None
        return trace_id, work.logged


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
class CopyNote:
    """A shadow's answer to the copy of a request that was kept; `begin` and `end` likewise."""

    kept: Kept
    stream: Stream
    outcome: str
    begin: float
    end: float
    batch: BatchNote | None


Note = RequestNote | BatchNote | CopyNote


def spans_of(note: Note, offset_ns: int) -> list[FinishedSpan]:
    """
    Args:
        offset_ns: what the monotonic clock lacks to the time since 1970.
    """
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
    return [whole, *_of_parts(note.parts, note.context, offset_ns)]


def _of_copy(note: CopyNote, offset_ns: int) -> list[FinishedSpan]:
    context = new_context(note.kept.context)
    stream, batch = note.stream, note.batch
    attributes = _attributes(stream.endpoint, stream.variant, stream.version) | {"taxiway.outcome": note.outcome}
    begin, end = _ns(note.begin, offset_ns), _ns(note.end, offset_ns)
    found = [FinishedSpan("shadow", context, note.kept.context, begin, end, attributes)]
    if batch is not None:
        found.append(_child("queue", context, note.begin, batch.begin, offset_ns))
        found += _of_parts(batch.parts, context, offset_ns)
    return found


def _of_parts(parts: Sequence[Part], parent: SpanContext, offset_ns: int) -> Iterator[FinishedSpan]:
    for it in parts:
        context = new_context(parent)
        begin, end = _ns(it.begin, offset_ns), _ns(it.end, offset_ns)
        yield FinishedSpan(it.name, context, parent, begin, end, it.attributes, error=it.error)
        yield from _of_parts(it.parts, context, offset_ns)


def _child(name: str, parent: SpanContext, begin: float, end: float, offset_ns: int) -> FinishedSpan:
    return FinishedSpan(name, new_context(parent), parent, _ns(begin, offset_ns), _ns(end, offset_ns), NONE)


def _attributes(endpoint: str, variant: str, version: str) -> dict[str, str | int | float | bool]:
    return {"taxiway.endpoint": endpoint, "taxiway.variant": variant, "taxiway.model.version": version}


def _ns(moment: float, offset_ns: int) -> int:
    return int(moment * 1e9) + offset_ns
