"""`python -m benchmarks.metrics`: what counting a request costs, beside Ray's own histogram. Without a Ray cluster."""

import os
import platform
import sys
from collections.abc import Callable
from statistics import median
from time import process_time

from ray._private.telemetry.open_telemetry_metric_recorder import OpenTelemetryMetricRecorder
from ray.util.metrics import Histogram

from taxiway.telemetry.metrics import ServingMetrics
from taxiway.telemetry.serving import LATENCY_S

REQUESTS = 20_000
ROUNDS = 7
BATCH = 8
"""Requests of a batch."""
TAGS = {"endpoint": "delay", "variant": "champion", "protocol": "grpc"}


def main() -> int:
    """Prints a table: microseconds of CPU time, the median of some rounds. A request is 2.6 observations here."""
    metrics, histogram = ServingMetrics(), Histogram("taxiway_example_seconds", "X.", list(LATENCY_S), tuple(TAGS))
    agent = OpenTelemetryMetricRecorder()
    agent.register_histogram_metric("taxiway_example_seconds", "X.", list(LATENCY_S))
    counts = [0] * (len(LATENCY_S) + 1)
    counts[3] = REQUESTS
    cells: dict[str, Callable[[], object]] = {
        "in the request: noted": lambda: _note(metrics),
        "ten times a second: added up and handed to Ray": lambda: _flush(metrics),
        "once a second: levels and histograms, all variants": lambda: metrics.flush(now=True),
        "instead, for each observation: Ray's histogram in the process": lambda: _observe(histogram),
        "and once more in the node's agent": lambda: agent.record_histogram_aggregated_batch(
            "taxiway_example_seconds", [{"tags": TAGS, "bucket_counts": counts}]
        ),
    }
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {REQUESTS:,} requests a round")
    print("| what | µs of CPU a request or observation |\n|---|---|")
    for title, act in cells.items():
        seconds = []
        for _ in range(ROUNDS):
            _prepare(metrics, title)
            began = process_time()
            act()
            seconds.append(process_time() - began)
        print(f"| {title} | {1e6 * median(seconds) / REQUESTS:.2f} |", flush=True)
    return 0


def _prepare(metrics: ServingMetrics, title: str) -> None:
    metrics._noted.clear()
    if title.startswith("ten times"):
        _note(metrics)


def _note(metrics: ServingMetrics) -> None:
    for number in range(REQUESTS):
        metrics.request("delay", "champion", "ok", 0.003, "grpc")
        metrics.phase("delay", "champion", "encode", 0.0001)
        if number % BATCH == 0:
            metrics.phase("delay", "champion", "inference", 0.001)
            metrics.batch("delay", "champion", BATCH, 0.001, 0.002)


def _flush(metrics: ServingMetrics) -> None:
    """As often as in a second of 10,000 requests: what a flush costs once is not small beside a thousand requests."""
    notes = list(metrics._noted)
    metrics._noted.clear()
    for begin in range(0, len(notes), len(notes) // (REQUESTS // 1_000)):
        metrics._noted.extend(notes[begin : begin + len(notes) // (REQUESTS // 1_000)])
        metrics.flush()


def _observe(histogram: Histogram) -> None:
    for _ in range(REQUESTS):
        histogram.observe(0.003, TAGS)


if __name__ == "__main__":
    sys.exit(main())
