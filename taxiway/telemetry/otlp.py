"""Finished spans as the bytes that OTLP sends.

OpenTelemetry's own exporters make a protobuf message of each span, attribute and value, and copy them into each
other: that was most of what a traced request cost. The fields of our spans are few and known, so they are written here
as they go over the wire, and resource and scope are encoded once.
References: https://protobuf.dev/programming-guides/encoding/, opentelemetry/proto/trace/v1/trace.proto.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind

from taxiway import __version__
from taxiway.telemetry.work import Attributes

SCOPE = InstrumentationScope("taxiway", __version__)

# A tag is the field's number and the wire type of its value.
_TRACE_ID, _SPAN_ID, _PARENT = b"\x0a\x10", b"\x12\x08", b"\x22\x08"  # with the number of bytes, which is known
_NAME, _ATTRIBUTE, _LINK, _STATUS = b"\x2a", b"\x4a", b"\x6a", b"\x7a"
_START, _END, _KIND = 0x39, 0x41, 0x30
_TIMES, _DOUBLE = Struct("<BQBQ"), Struct("<d")
_KINDS = {kind: bytes((_KIND, kind.value + 1)) for kind in SpanKind}
# Of a span's parent or of a link, whether it is remote: OTLP's SpanFlags.
_SPAN_FLAGS = {False: b"\x85\x01\x00\x01\x00\x00", True: b"\x85\x01\x00\x03\x00\x00"}
_LINK_FLAGS = {False: b"\x35\x00\x01\x00\x00", True: b"\x35\x00\x03\x00\x00"}
_FINE = b"\x7a\x00"
_ERROR = b"\x18\x02"
_BYTES = tuple(bytes((number,)) for number in range(128))
_64_BITS = (1 << 64) - 1


class FinishedSpan(NamedTuple):
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


class Encoder:
    """Makes requests of spans that have one resource."""

    def __init__(self, resource: Resource) -> None:
        nothing = ReadableSpan("", SpanContext(1, 1, False), resource=resource, instrumentation_scope=SCOPE)
        (like,) = encode_spans([nothing]).resource_spans
        self._resource = _sized(b"\x0a", like.resource.SerializeToString())
        self._scope = _sized(b"\x0a", like.scope_spans[0].scope.SerializeToString())
        self._schema = _sized(b"\x1a", like.schema_url.encode()) if like.schema_url else b""

    def request(self, spans: Iterable[FinishedSpan]) -> bytes:
        """An `ExportTraceServiceRequest`."""
        scoped = b"".join((self._scope, *(_sized(b"\x12", encoded(span)) for span in spans)))
        return _sized(b"\x0a", self._resource + _sized(b"\x12", scoped) + self._schema)


def encoded(span: FinishedSpan) -> bytes:
    """A `Span`."""
    context, parent = span.context, span.parent
    parts = [_TRACE_ID, context.trace_id.to_bytes(16, "big"), _SPAN_ID, context.span_id.to_bytes(8, "big")]
    if parent is not None:
        parts += (_PARENT, parent.span_id.to_bytes(8, "big"))
    parts += (_named(span.name), _KINDS[span.kind], _TIMES.pack(_START, span.start_ns, _END, span.end_ns))
    parts += [_attribute(name, it) for name, it in span.attributes.items()]
    parts += [_sized(_LINK, _linked(it)) for it in span.links]
    parts.append(_FINE if span.error is None else _sized(_STATUS, _sized(b"\x12", span.error.encode()) + _ERROR))
    parts.append(_SPAN_FLAGS[parent is not None and parent.is_remote])
    return b"".join(parts)


def _linked(to: SpanContext) -> bytes:
    ids = _TRACE_ID + to.trace_id.to_bytes(16, "big") + _SPAN_ID + to.span_id.to_bytes(8, "big")
    return ids + _LINK_FLAGS[to.is_remote]


@lru_cache(maxsize=1_000)
def _named(name: str) -> bytes:
    return _sized(_NAME, name.encode())


@lru_cache(maxsize=1_000, typed=True)
def _attribute(name: str, value: str | int | float | bool) -> bytes:
    """Most of them are those of the spans before; a cache that takes 1 for 1.0 and for True would mix them up."""
    return _sized(_ATTRIBUTE, _sized(b"\x0a", name.encode()) + _sized(b"\x12", _value(value)))


def _value(value: str | int | float | bool) -> bytes:
    """An `AnyValue`; text that is no Unicode has question marks."""
    if isinstance(value, str):
        return _sized(b"\x0a", value.encode("utf-8", "replace"))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    return b"\x18" + _varint(value) if isinstance(value, int) else b"\x21" + _DOUBLE.pack(value)


def _sized(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; a negative number has all of its 64 bits."""
    if 0 <= number < 0x80:
        return _BYTES[number]
    number &= _64_BITS
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
