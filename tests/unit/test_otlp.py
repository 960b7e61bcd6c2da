"""Spans as OTLP: the same messages that OpenTelemetry's own encoder makes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from taxiway.telemetry.otlp import SCOPE, Encoder, FinishedSpan
from taxiway.telemetry.tracing import resource

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
NANOSECONDS = st.integers(0, 2**63 - 1)
CONTEXTS = st.builds(SpanContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
VALUES = TEXT | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False).map(lambda it: it + 0.0) | st.booleans()
SPANS = st.builds(
    FinishedSpan,
    name=TEXT,
    context=CONTEXTS,
    parent=st.none() | CONTEXTS,
    start_ns=NANOSECONDS,
    end_ns=NANOSECONDS,
    attributes=st.dictionaries(TEXT.filter(bool), VALUES, max_size=4),
    links=st.lists(CONTEXTS, max_size=3),
    kind=st.sampled_from(SpanKind),
    error=st.none() | TEXT.filter(bool),
)


def as_the_sdk_has_it(span: FinishedSpan, sender: Resource) -> ReadableSpan:
    return ReadableSpan(
        span.name,
        span.context,
        span.parent,
        sender,
        dict(span.attributes),
        links=[Link(context) for context in span.links],
        kind=span.kind,
        status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=SCOPE,
    )


@pytest.mark.parametrize("schema", ["", "https://opentelemetry.io/schemas/1.21.0"])
@given(spans=st.lists(SPANS, min_size=1, max_size=4))
def test_the_bytes_are_the_message_that_opentelemetry_makes(schema: str, spans: list[FinishedSpan]) -> None:
    sender = resource("delays", "replica-1").merge(Resource({}, schema))
    sent = ExportTraceServiceRequest.FromString(Encoder(sender).request(spans))
    assert sent == encode_spans([as_the_sdk_has_it(span, sender) for span in spans])


def test_a_value_is_not_taken_for_an_equal_one_of_another_type() -> None:
    here = SpanContext(1, 1, False)
    spans = [FinishedSpan("a", here, None, 0, 0, {"k": value}) for value in (1, True, 1.0, "1")]
    sent = ExportTraceServiceRequest.FromString(Encoder(Resource({})).request(spans))
    kinds = [span.attributes[0].value.WhichOneof("value") for span in sent.resource_spans[0].scope_spans[0].spans]
    assert kinds == ["int_value", "bool_value", "double_value", "string_value"]


def test_text_that_is_no_unicode_loses_its_span_nothing_else() -> None:
    span = FinishedSpan("a", SpanContext(1, 1, False), None, 0, 0, {"bad": "\ud800x", "good": "y"})
    sent = ExportTraceServiceRequest.FromString(Encoder(Resource({})).request([span]))
    found = sent.resource_spans[0].scope_spans[0].spans[0].attributes
    assert [it.value.string_value for it in found] == ["?x", "y"]


def test_times_are_little_endian_and_ids_big_endian() -> None:
    span = FinishedSpan("a", SpanContext(0x0102, 0x03, False), None, 5, 6, {})
    sent = Encoder(Resource({})).request([span])
    assert bytes(14) + b"\x01\x02" in sent
    assert struct.pack("<BQBQ", 0x39, 5, 0x41, 6) in sent
