"""Spans of what has been measured already: W3C trace context in and out, and OpenTelemetry's exporter behind a queue.

References: https://www.w3.org/TR/trace-context/ and https://opentelemetry.io/docs/specs/otel/protocol/exporter/.
"""

import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from taxiway import __version__
from taxiway.errors import ConfigError
from taxiway.telemetry.logs import Redaction

Attributes = Mapping[str, str | int | float | bool]

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_PROTOCOLS = ("grpc", "http/protobuf")
_EXPORTERS = ("otlp", "none")
_PATIENCE_S = 3.0
_random = Random()  # noqa: S311 - ids, not secrets; asking the system for each takes a tenth of a span's time
os.register_at_fork(after_in_child=_random.seed)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("taxiway", __version__)
_FINE = Status(StatusCode.UNSET)


@dataclass(frozen=True, slots=True)
class FinishedSpan:
    """Something that has happened, with its begin and end in nanoseconds since 1970.

    Args:
        error: why it failed; None when it did not.
    """

    name: str
    context: SpanContext
    parent: SpanContext | None
    start_ns: int
    end_ns: int
    attributes: Attributes
    links: Sequence[SpanContext] = ()
    kind: SpanKind = SpanKind.INTERNAL
    error: str | None = None


class Spans:
    """Takes finished spans; the processor exports them on a thread of its own, and drops what it can't hold."""

    def __init__(self, processor: SpanProcessor, resource: Resource, redaction: Redaction | None = None) -> None:
        self._processor = processor
        self._resource = resource
        self._redaction = redaction or Redaction()

    def add(self, span: FinishedSpan) -> None:
        # A tracer would measure by itself, and decide by itself what is sampled: both has been done.
        self._processor.on_end(
            ReadableSpan(
                span.name,
                span.context,
                span.parent,
                self._resource,
                self._redaction.apply(span.attributes),
                links=[Link(context) for context in span.links],
                kind=span.kind,
                status=_FINE if span.error is None else Status(StatusCode.ERROR, span.error),
                start_time=span.start_ns,
                end_time=span.end_ns,
                instrumentation_scope=_SCOPE,
            )
        )

    def close(self) -> None:
        """Exports what waits; a collector that is away keeps nobody longer than some seconds."""
        closing = threading.Thread(target=self._processor.shutdown, name="closing spans", daemon=True)
        closing.start()
        closing.join(_PATIENCE_S)


class _Hashed(Resource):
    """The exporter asks each span's resource for its hash, which is that of its JSON: a fifth of the export's time."""

    def __init__(self, attributes: Mapping[str, AttributeValue], schema_url: str | None = None) -> None:
        super().__init__(attributes, schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


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


def new_context(parent: SpanContext | None = None) -> SpanContext:
    """The identity of a span in its parent's trace, or in a trace of its own; it is exported."""
    # A generator of our own: what seeds Python's, a model for example, must not make ids repeat; nor must a fork.
    trace_id = parent.trace_id if parent is not None else _random.getrandbits(128) or 1
    return SpanContext(trace_id, _random.getrandbits(64) or 1, False, _SAMPLED)


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
    return Spans(BatchSpanProcessor(span_exporter()), resource(service, instance), redaction)


def resource(service: str, instance: str) -> Resource:
    """Who sends; what the standard variables say comes first."""
    ours = Resource({SERVICE_NAME: service, "service.version": __version__, "service.instance.id": instance})
    known = Resource.create().merge(ours).merge(OTELResourceDetector().detect())
    return _Hashed(known.attributes, known.schema_url)


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


def span_exporter() -> SpanExporter:
    """What sends spans where the standard variables say.

    Raises:
        ConfigError: the variable of the protocol has an unknown value.
    """
    if protocol("TRACES") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc

        return OverGrpc()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHttp

    return OverHttp()
