"""The trace of a job: one span for the whole, one for each of its stages.

A job is traced when a standard variable says where spans go; without one nothing of OpenTelemetry is imported.
A scheduler's own trace goes on in the job when it sets TRACEPARENT.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

from taxiway.telemetry.logs import instance, job_log
from taxiway.telemetry.settings import wants_traces
from taxiway.telemetry.work import NONE, Attributes, Work, begin, doing, end, reason_of

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from taxiway.telemetry.tracing import Spans

TRACEPARENT = "TRACEPARENT"


class JobTrace:
    """Collects the spans of a job.

    Args:
        name: of the job's own span.
        began_s: since 1970.
        parent: the span of whoever has started the job.
    """

    def __init__(self, name: str, spans: "Spans", began_s: float, parent: "SpanContext | None" = None) -> None:
        self._name, self._spans, self._began_s, self._parent = name, spans, began_s, parent
        self.context = self.inner(parent)

    @property
    def trace_id(self) -> str:
        return f"{self.context.trace_id:032x}"

    def inner(self, parent: "SpanContext | None" = None) -> "SpanContext":
        """The identity of a span that is yet to end."""
        from taxiway.telemetry.tracing import new_context

        return new_context(parent)

    def span(
        self,
        name: str,
        begin_s: float,
        end_s: float,
        attributes: Attributes = NONE,
        error: str | None = None,
        parent: "SpanContext | None" = None,
        context: "SpanContext | None" = None,
    ) -> None:
        """A part of the job; its times are seconds since 1970.

        Args:
            parent: what it is a part of, if not of the job itself.
            context: its identity, where something knows it already.
        """
        from taxiway.telemetry.otlp import FinishedSpan

        parent = parent or self.context
        context = context or self.inner(parent)
        self._spans.add(FinishedSpan(name, context, parent, _ns(begin_s), _ns(end_s), attributes, error=error))

    def end(self, attributes: Attributes = NONE, error: str | None = None) -> None:
        """The job is over: its own span, and everything is exported."""
        from taxiway.telemetry.otlp import FinishedSpan

        end()
        began_ns, ended_ns = _ns(self._began_s), time.time_ns()
        self._spans.add(
            FinishedSpan(self._name, self.context, self._parent, began_ns, ended_ns, attributes, error=error)
        )
        self._spans.close()


_Under = tuple[JobTrace, "SpanContext"]
_under: ContextVar[_Under | None] = ContextVar("job_trace", default=None)
"""The job that runs here, and its span or that of its stage."""


def begin_job(name: str, began_s: float) -> JobTrace | None:
    """A job's trace, under TRACEPARENT where that is set; None when no variable says where to. Until the trace ends,
    lines that are logged here have its id.

    Raises:
        ConfigError: a variable's value is none that is known here.
    """
    job_log(name)
    if not wants_traces(os.environ):
        return None
    from taxiway.telemetry.tracing import open_spans, parse_traceparent

    spans = open_spans(f"taxiway-{name}", instance())
    if spans is None:
        return None
    job = JobTrace(name, spans, began_s, parse_traceparent(os.environ.get(TRACEPARENT, "").encode()))
    begin(Work(job.trace_id))
    return job


@contextmanager
def traced_job(name: str) -> Iterator[None]:
    """What runs inside is a job; `stage` adds to its trace.

    Raises:
        ConfigError: a variable's value is none that is known here.
    """
    job = begin_job(name, time.time())
    if job is None:
        yield
        return
    token = _under.set((job, job.context))
    error: str | None = None
    try:
        with doing(Work(job.trace_id)):
            yield
    except BaseException as raised:
        error = reason_of(raised)
        raise
    finally:
        _under.reset(token)
        with suppress(Exception):  # telemetry never fails a job
            job.end(error=error)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """A stage of the job that runs here; nothing but what is inside when it is not traced."""
    here = _under.get()
    if here is None:
        yield
        return
    job, parent = here
    context, begin_s = job.inner(parent), time.time()
    token = _under.set((job, context))
    error: str | None = None
    try:
        yield
    except BaseException as raised:
        error = reason_of(raised)
        raise
    finally:
        _under.reset(token)
        with suppress(Exception):  # telemetry never fails a job
            job.span(name, begin_s, time.time(), error=error, parent=parent, context=context)


class Below:
    """Spans of what the stage at hand has others do, as they tell it. Without a trace it does nothing. Tune pickles
    what listens to it: this holds no trace.

    Args:
        name: of the span of each.
        part: of the spans within.
    """

    def __init__(self, name: str, part: str) -> None:
        self._name, self._part = name, part
        self._open: dict[str, tuple[float, SpanContext]] = {}

    def begin(self, key: str) -> None:
        if (here := _under.get()) is not None:
            job, parent = here
            self._open[key] = time.time(), job.inner(parent)

    def did(self, key: str, seconds: float, attributes: Attributes = NONE) -> None:
        """A part of it that took so long is done."""
        if (here := _under.get()) is not None and key in self._open:
            now = time.time()
            here[0].span(self._part, now - seconds, now, attributes, parent=self._open[key][1])

    def end(self, key: str, attributes: Attributes = NONE, error: str | None = None) -> None:
        if (here := _under.get()) is not None and key in self._open:
            job, parent = here
            begin_s, context = self._open.pop(key)
            job.span(self._name, begin_s, time.time(), attributes, error, parent, context)


def traceparent_here() -> str | None:
    """What a process is given as TRACEPARENT that works for this stage; None where nothing is traced."""
    here = _under.get()
    if here is None:
        return None
    from taxiway.telemetry.tracing import traceparent

    return traceparent(here[1])


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
