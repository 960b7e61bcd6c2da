"""`python -m benchmarks.tracing [--slices N]`: CPU time a request, traced and not.

All cells stand in one process and take turns every few milliseconds, so that a slow moment of the machine
hits all of them; a collector in another process takes what they send. Requests go through everything but sockets: the
HTTP parser, batching, a model that is next to nothing, and the writing of answers. So the share of tracing is more
here than it is where the kernel and a real model work too.
"""

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Any

import grpc
import numpy as np
import orjson
import uvloop
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from benchmarks import load
from benchmarks.processes import free_port
from serve.batching import BatchRules
from serve.endpoint import Endpoint
from serve.heap import settle
from serve.http import HttpApplication
from serve.http_protocol import Bounds, Connections, HttpProtocol
from serve.loading import Loaded
from serve.service import Service
from serve.settings import EndpointSettings
from serve.shadowing import Shadowing
from serve.tracing import Tracing
from serve.variant import make_slot
from taxiway.signature import Array, Column, Columns, Signature
from taxiway.telemetry.metrics import ServingMetrics
from taxiway.telemetry.settings import TracingSettings
from taxiway.telemetry.tracing import Spans, resource, span_exporter

_RESULTS = Path(__file__).parent / "results" / "tracing.md"
CONNECTIONS = 32
WAVES = 480
_FLUSH_EVERY = 60
"""Waves: 1,920 requests, a fifth of a second at 10,000 a second."""
_TURNS = 4
"""Of the loop, until every request of a wave is answered."""
_COLUMNS = tuple(f"x{number}" for number in range(15))
_EXPORT = "opentelemetry.proto.collector.trace.v1.TraceService"
_BODY = orjson.dumps({"dataframe_split": {"columns": _COLUMNS, "data": [[0.5] * len(_COLUMNS)]}})
REQUEST = load.post("/invocations", _BODY)
CELLS: Mapping[str, float | None] = {"off": None, "off again": None, "0%": 0.0, "1%": 0.01, "100%": 1.0}
"""By title the share of requests that are traced; what `off again` takes more than off is chance."""
_ENOUGH = 1_000_000


class Sum:
    """The model."""

    def predict(self, columns: Columns) -> dict[str, Array]:
        return {"y": np.sum([columns[name] for name in _COLUMNS], axis=0)}


class Counting(asyncio.Transport):
    """Takes answers and counts the good ones."""

    def __init__(self) -> None:
        super().__init__()
        self.good = 0

    def write(self, data: Any) -> None:
        self.good += data.startswith(b"HTTP/1.1 200 ")

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


@dataclass(frozen=True)
class Cell:
    """A served endpoint and its connections."""

    tracing: Tracing | None
    exporting: BatchSpanProcessor | None
    connections: Sequence[tuple[HttpProtocol, Counting]]
    metrics: ServingMetrics

    async def wave_s(self) -> float:
        """CPU seconds of one request from each connection."""
        begin = time.process_time()
        for protocol, _ in self.connections:
            protocol.data_received(REQUEST)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        return time.process_time() - begin

    def spans_s(self, export: bool) -> float:
        """CPU seconds to make spans of what the last waves have left, and to export them when it is time."""
        if self.tracing is None or self.exporting is None:
            return 0.0
        begin = time.process_time()
        self.tracing.flush()
        if export:
            self.exporting.force_flush()
        return time.process_time() - begin

    @property
    def good(self) -> int:
        """Answers 200 until now."""
        return sum(seen.good for _, seen in self.connections)


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parse(arguments)
    if given.collect:
        collect(given.port)
        return 0
    port = free_port()
    with collector(port):
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{port}"
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(measured(given.slices))
    text = page(found)
    print(text)
    given.results.write_text(text)
    return 0


async def measured(slices: int) -> dict[str, list[float]]:
    """By cell the CPU seconds a request, slice by slice; the first of each, which warms up, is left out.

    Raises:
        RuntimeError: an answer was wrong or missing.
    """
    cells = {title: cell(share) for title, share in CELLS.items()}
    found: dict[str, list[float]] = {title: [] for title in cells}
    for number in range(slices + 1):
        for title, seconds in (await _slice(cells)).items():
            if number:
                found[title].append(seconds)
        settle()
    expected = (slices + 1) * WAVES * CONNECTIONS
    if wrong := [title for title, it in cells.items() if it.good != expected]:
        raise RuntimeError(f"not every answer was good: {', '.join(wrong)}")
    return found


async def _slice(cells: Mapping[str, Cell]) -> dict[str, float]:
    """The cells take turns wave by wave: some milliseconds apart, the machine is as slow for all of them."""
    spent = dict.fromkeys(cells, 0.0)
    order = Random(0)
    for wave in range(WAVES):
        # In an order that is drawn: whoever comes twice in a row finds the caches warm.
        for title in order.sample(list(cells), len(cells)):
            spent[title] += await cells[title].wave_s()
        if (wave + 1) % _FLUSH_EVERY == 0:
            for title, it in cells.items():
                spent[title] += it.spans_s(export=wave + 1 == WAVES)
                it.metrics.flush()
    return {title: seconds / (WAVES * CONNECTIONS) for title, seconds in spent.items()}


def cell(share: float | None) -> Cell:
    """An endpoint of which so many requests are traced; None is off."""
    tracing, exporting = None, None
    if share is not None:
        # More than a slice holds: nothing is dropped, and `force_flush` finds everything.
        exporting = BatchSpanProcessor(span_exporter(resource("benchmark", "1")), max_queue_size=20_000)
        settings = TracingSettings(sample=share, slow_ms=60_000, requests_per_s=_ENOUGH)
        tracing = Tracing(settings, Spans(exporting))
    metrics = ServingMetrics()
    shadowing = Shadowing(metrics, None, tracing)
    endpoint = Endpoint(EndpointSettings(name="sum", model="models:/sum@champion"), 30.0)
    endpoint.baseline_variant.slot = make_slot(
        "sum",
        "champion",
        Loaded({}, "1", "benchmark", _signature(), None, Sum(), 0, None),
        lambda *_: {},
        "refuse",
        (rules := BatchRules(rows=1_024, size_bytes=1_000_000_000, queue_rows=20_000)),
        rules,
        1_000,
        lambda *_: None,
        shadowing.executor,
        None,
        tracing=tracing,
    )
    service = Service([endpoint], metrics, shadowing, 512, None, tracing=tracing)
    http = HttpApplication("benchmark", service, 1_000_000, {})
    shared = Connections(http, Bounds(1_000_000, 1_000, 600, 600, 1e9), http.refused)
    shared.sweep()
    return Cell(tracing, exporting, [_connected(shared) for _ in range(CONNECTIONS)], metrics)


def _connected(shared: Connections) -> tuple[HttpProtocol, Counting]:
    protocol, transport = HttpProtocol(shared), Counting()
    protocol.connection_made(transport)
    return protocol, transport


def _signature() -> Signature:
    inputs = tuple(Column(name=name, dtype="float64") for name in _COLUMNS)
    return Signature(inputs=inputs, outputs=(Column(name="y", dtype="float64"),))


def page(found: Mapping[str, Sequence[float]]) -> str:
    """The Markdown table; what a cell takes more is the median over slices of its ratio to off in the same turn."""
    slices = len(found["off"])
    lines = [
        "# What tracing costs",
        "",
        (
            f"`python -m benchmarks.tracing --slices {slices}` on {os.cpu_count()} cores, {platform.platform()}, "
            f"Python {platform.python_version()}."
        ),
        (
            f"{CONNECTIONS} connections, batches of as many rows, {WAVES * CONNECTIONS:,} requests a slice, "
            f"{len(_COLUMNS)} columns, a model that adds them up, no sockets. CPU time of the process, making and "
            "exporting spans included. In brackets the quartiles of the slices."
        ),
        "",
        "| traced | CPU µs a request | more than off |",
        "|---|---|---|",
    ]
    for title, seconds in found.items():
        more = [mine / off - 1 for mine, off in zip(seconds, found["off"], strict=True)]
        low, _, high = quantiles(more, n=4)
        lines.append(f"| {title} | {1e6 * median(seconds):.1f} | {median(more):+.1%} ({low:+.1%} to {high:+.1%}) |")
    return "\n".join(lines) + "\n"


@contextmanager
def collector(port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.tracing", "--collect", "--port", str(port)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        if started.stdout is None or started.stdout.readline().strip() != "ready":
            raise RuntimeError("the collector did not start")
        yield
    finally:
        started.terminate()
        started.wait(20)


def collect(port: int) -> None:
    """Takes spans and forgets them."""
    server = grpc.server(ThreadPoolExecutor(1))
    taken = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_EXPORT, {"Export": taken}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing", description=__doc__)
    parser.add_argument("--slices", type=int, default=10, help="of each cell (10)")
    parser.add_argument("--results", type=Path, default=_RESULTS, metavar="FILE")
    parser.add_argument("--collect", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
