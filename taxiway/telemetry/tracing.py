"""Spans of what has been measured already: W3C trace context in and out, and OpenTelemetry's exporter behind a queue.

References: https://www.w3.org/TR/trace-context/ and https://opentelemetry.io/docs/specs/otel/protocol/exporter/.
"""

import os
import re
import threading
from random import Random
from typing import Any

from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanContext, TraceFlags

from taxiway import __version__
from taxiway.errors import ConfigError
from taxiway.telemetry.logs import Redaction
from taxiway.telemetry.otlp import FinishedSpan

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_PROTOCOLS = ("grpc", "http/protobuf")
_EXPORTERS = ("otlp", "none")
_PATIENCE_S = 3.0
_random = Random()  # noqa: S311 - ids, not secrets; asking the system for each takes a tenth of a span's time
os.register_at_fork(after_in_child=_random.seed)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Spans:
    """Takes finished spans; the processor exports them on a thread of its own, and drops what it can't hold.

    Args:
        processor: of OpenTelemetry's SDK, with an exporter that takes `FinishedSpan`s.
    """

    def __init__(self, processor: SpanProcessor, redaction: Redaction | None = None) -> None:
        # It passes on what it gets and looks at nothing but the context.
        self._take: Any = processor.on_end
        self._shutdown = processor.shutdown
        self._redaction = redaction or Redaction()

    def add(self, span: FinishedSpan) -> None:
        if self._redaction.patterns:
            span = span._replace(attributes=self._redaction.apply(span.attributes))
        self._take(span)

    def close(self) -> None:
        """Exports what waits; a collector that is away keeps nobody longer than some seconds."""
        closing = threading.Thread(target=self._shutdown, name="closing spans", daemon=True)
        closing.start()
        closing.join(_PATIENCE_S)


def parse_traceparent(value: bytes) -> SpanContext | None:
    """The caller's span; None where the header is not valid: then a trace of our own begins."""
    found = _TRACEPARENT.fullmatch(value.strip())
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    context = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16) & 1))
    return context if context.is_valid else None


def traceparent(context: SpanContext) -> str:
    """The header's value, also that of `traceresponse`."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def new_trace_id() -> int:
    # A generator of our own: what seeds Python's, a model for example, must not make ids repeat; nor must a fork.
    return _random.getrandbits(128) or 1


def new_context(parent: SpanContext | None = None, trace_id: int | None = None) -> SpanContext:
    """The identity of a span in its parent's trace, in the one that is given, or in one of its own; it is exported."""
    if parent is not None:
        trace_id = parent.trace_id
    return SpanContext(trace_id or new_trace_id(), _random.getrandbits(64) or 1, False, _SAMPLED)


def open_spans(service: str, instance: str, redaction: Redaction | None = None) -> Spans | None:
    """Spans that go where the standard variables say; None where these say not to export any.

    Args:
        service: `service.name`, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES name another.
        instance: `service.instance.id`.

    Raises:
        ConfigError: a variable's value is none that is known here.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    chosen = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    if chosen not in _EXPORTERS:
        raise ConfigError(f"OTEL_TRACES_EXPORTER: expected one of {', '.join(_EXPORTERS)}, found {chosen!r}")
    if chosen == "none":
        return None
    return Spans(BatchSpanProcessor(span_exporter(resource(service, instance))), redaction)


def resource(service: str, instance: str) -> Resource:
    """Who sends; what the standard variables say comes first."""
    ours = Resource({SERVICE_NAME: service, "service.version": __version__, "service.instance.id": instance})
    return Resource.create().merge(ours).merge(OTELResourceDetector().detect())


def protocol(signal: str) -> str:
    """How OTLP is spoken for a signal (TRACES, METRICS).

    Raises:
        ConfigError: the variable's value is not known.
    """
    for name in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        found = os.environ.get(name)
        if found in _PROTOCOLS:
            return found
        if found:
            raise ConfigError(f"{name}: expected one of {', '.join(_PROTOCOLS)}, found {found!r}")
    return _PROTOCOLS[0]


def span_exporter(sender: Resource) -> SpanExporter:
    """What sends `FinishedSpan`s where the standard variables say.

    Raises:
        ConfigError: the variable of the protocol has an unknown value.
    """
    if protocol("TRACES") == "grpc":
        from taxiway.telemetry.otlp_grpc import OverGrpc

        return OverGrpc(sender)
    from taxiway.telemetry.otlp_http import OverHttp

    return OverHttp(sender)
