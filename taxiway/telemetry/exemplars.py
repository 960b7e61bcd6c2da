"""Latencies of requests as an OTLP histogram whose buckets name a trace each.

Ray's metrics take no exemplars, so this histogram is counted here and goes the way that the spans go.
Reference: https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exemplars
"""

import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext

from taxiway import __version__
from taxiway.errors import ConfigError
from taxiway.signature import Array
from taxiway.telemetry.serving import LATENCY_S as BOUNDS_S
from taxiway.telemetry.tracing import protocol

NAME = "taxiway.request.duration"
_WAITING = 200_000
"""Latencies that may wait to be counted; older ones are forgotten then."""
_SCOPE = InstrumentationScope("taxiway", __version__)
_INTERVAL_MS = "60000"
_PATIENCE_S = 2.0
Key = tuple[str, str]


@dataclass(slots=True)
class _Counted:
    buckets: Array = field(default_factory=lambda: np.zeros(len(BOUNDS_S) + 1, dtype=np.int64))
    sum: float = 0.0
    min: float = float("inf")
    max: float = float("-inf")
    exemplars: dict[int, Exemplar] = field(default_factory=dict)

    def add(self, seconds: Array) -> None:
        # A bucket holds what is at most its bound, as in Prometheus.
        self.buckets += np.bincount(np.searchsorted(BOUNDS_S, seconds), minlength=len(self.buckets))
        self.sum += float(seconds.sum())
        self.min, self.max = min(self.min, float(seconds.min())), max(self.max, float(seconds.max()))


class LatencyExemplars:
    """Observations on the event loop, counting and export on one thread.

    Args:
        every_s: between two exports.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        exporter: MetricExporter,
        resource: Resource,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exporter, self._resource = exporter, resource
        self._every_s, self._clock = every_s, clock
        self._due = clock() + every_s
        self._waiting: deque[tuple[Key, float, SpanContext | None]] = deque(maxlen=_WAITING)
        self._counted: dict[Key, _Counted] = defaultdict(_Counted)
        self._began_ns = time.time_ns()

    def observe(self, endpoint: str, variant: str, seconds: float, traced: SpanContext | None) -> None:
        """A request has ended; `traced` is its span if it leaves one."""
        self._waiting.append(((endpoint, variant), seconds, traced))

    def flush(self) -> None:
        """Counts, and exports when it is time."""
        self._count()
        if self._clock() >= self._due:
            self._due = self._clock() + self._every_s
            self._export()

    def close(self) -> None:
        """Exports the rest; a collector that is away keeps nobody longer than some seconds."""
        closing = threading.Thread(target=self._close, name="closing latencies", daemon=True)
        closing.start()
        closing.join(_PATIENCE_S)

    def _close(self) -> None:
        self._count()
        self._export()
        self._exporter.shutdown()

    def _count(self) -> None:
        seconds: dict[Key, list[float]] = defaultdict(list)
        now_ns = time.time_ns()
        for _ in range(len(self._waiting)):
            key, value, traced = self._waiting.popleft()
            seconds[key].append(value)
            if traced is not None:
                # The newest of each bucket: an old trace may be gone already where traces are kept.
                bucket = int(np.searchsorted(BOUNDS_S, value))
                exemplar = Exemplar({}, value, now_ns, traced.span_id, traced.trace_id)
                self._counted[key].exemplars[bucket] = exemplar
        for key, values in seconds.items():
            self._counted[key].add(np.array(values))

    def _export(self) -> None:
        if not self._counted:
            return
        points = [self._point(key, counted) for key, counted in self._counted.items()]
        self._exporter.export(_metrics(points, self._resource))
        for counted in self._counted.values():
            counted.exemplars = {}

    def _point(self, key: Key, counted: _Counted) -> HistogramDataPoint:
        return HistogramDataPoint(
            {"endpoint": key[0], "variant": key[1]},
            self._began_ns,
            time.time_ns(),
            int(counted.buckets.sum()),
            counted.sum,
            counted.buckets.tolist(),
            BOUNDS_S,
            counted.min,
            counted.max,
            list(counted.exemplars.values()),
        )


def open_exemplars(resource: Resource) -> LatencyExemplars:
    """Exports where the standard variables say, every OTEL_METRIC_EXPORT_INTERVAL milliseconds (60000).

    Raises:
        ConfigError: a variable's value is none that is known here.
    """
    told = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL") or _INTERVAL_MS
    if not told.isdigit() or int(told) == 0:
        raise ConfigError(f"OTEL_METRIC_EXPORT_INTERVAL: expected milliseconds above 0, found {told!r}")
    return LatencyExemplars(_exporter(), resource, int(told) / 1_000)


def _metrics(points: Iterable[HistogramDataPoint], resource: Resource) -> MetricsData:
    histogram = Histogram(list(points), AggregationTemporality.CUMULATIVE)
    metric = Metric(NAME, "From a request's last byte to its answer.", "s", histogram)
    scope = ScopeMetrics(_SCOPE, [metric], "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _exporter() -> MetricExporter:
    if protocol("METRICS") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as OverGrpc

        return OverGrpc()
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as OverHttp

    return OverHttp()
