"""OpenTelemetry's exporter over HTTP, with its retries, time-outs and variables; only the bytes are ours."""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExportResult

from taxiway.telemetry.otlp import Encoder, FinishedSpan


class OverHttp(OTLPSpanExporter):
    """Exports `FinishedSpan`s of one resource."""

    def __init__(self, resource: Resource) -> None:
        self._encoder = Encoder(resource)
        super().__init__()

    def export(self, spans: Sequence[FinishedSpan]) -> SpanExportResult:  # type: ignore[override]
        if self._shutdown:
            return SpanExportResult.FAILURE
        with self._metrics.export_operation(len(spans)) as result:
            sent = self._client.export(self._encoder.request(spans))
            result.error = sent.error
        return SpanExportResult.SUCCESS if sent.success else SpanExportResult.FAILURE
