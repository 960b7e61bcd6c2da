"""The trace of a job: one span for the whole, one for each of its stages.

A job is traced when a standard variable says where spans go; without one nothing of OpenTelemetry is imported.
A scheduler's own trace goes on in the job when it sets TRACEPARENT.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

from taxiway.telemetry.settings import wants_traces

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from taxiway.telemetry.tracing import Attributes, Spans

_current: "ContextVar[JobTrace | None]" = ContextVar("job_trace", default=None)


class JobTrace:
    """Collects the spans of a job.

    Args:
        name: of the job's own span.
        began_s: since 1970.
        parent: the span of whoever has started the job.
    """

    def __init__(self, name: str, spans: "Spans", began_s: float, parent: "SpanContext | None" = None) -> None:
        from taxiway.telemetry.tracing import new_context

        self._name, self._spans, self._began_s, self._parent = name, spans, began_s, parent
        self.context = new_context(parent)

    def span(
        self, name: str, begin_s: float, end_s: float, attributes: "Attributes | None" = None, error: str | None = None
    ) -> None:
        """A part of the job; its times are seconds since 1970."""
        from taxiway.telemetry.tracing import FinishedSpan, new_context

        self._spans.add(
            FinishedSpan(
                name,
                new_context(self.context),
                self.context,
                _ns(begin_s),
                _ns(end_s),
                attributes or {},
                error=error,
            )
        )

    def end(self, attributes: "Attributes | None" = None, error: str | None = None) -> None:
        """The job is over: its own span, and everything is exported."""
        from taxiway.telemetry.tracing import FinishedSpan

        self._spans.add(
            FinishedSpan(
                self._name,
                self.context,
                self._parent,
                _ns(self._began_s),
                time.time_ns(),
                attributes or {},
                error=error,
            )
        )
        self._spans.close()


def begin_job(name: str, began_s: float) -> JobTrace | None:
    """A job's trace, under TRACEPARENT where that is set; None when no variable says where to.

    Raises:
        ConfigError: a variable's value is none that is known here.
    """
    if not wants_traces(os.environ):
        return None
    from taxiway.telemetry.tracing import open_spans, parse_traceparent

    spans = open_spans(f"taxiway-{name}", f"{socket.gethostname()}-{os.getpid()}")
    if spans is None:
        return None
    return JobTrace(name, spans, began_s, parse_traceparent(os.environ.get("TRACEPARENT", "").encode()))


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
    token = _current.set(job)
    error: str | None = None
    try:
        yield
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        _current.reset(token)
        with suppress(Exception):  # telemetry never fails a job
            job.end(error=error)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """A stage of the job that runs here; nothing but what is inside when it is not traced."""
    job = _current.get()
    if job is None:
        yield
        return
    begin_s = time.time()
    error: str | None = None
    try:
        yield
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        with suppress(Exception):  # telemetry never fails a job
            job.span(name, begin_s, time.time(), error=error)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
