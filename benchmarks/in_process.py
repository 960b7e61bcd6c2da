"""Servers without sockets that take turns in one process, so that a slow moment of the machine hits all of them.

Requests go through everything but sockets: the HTTP parser, batching, a model that is next to nothing, and the writing
of answers. So the share of what is measured is more here than it is where the kernel and a real model work too.
"""

import asyncio
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Any

import numpy as np
import orjson
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from benchmarks import load
from serve.batching import BatchRules
from serve.drifting import DriftCounter
from serve.endpoint import Endpoint
from serve.heap import settle
from serve.http import HttpApplication
from serve.http_protocol import Bounds, Connections, HttpProtocol
from serve.loading import Loaded
from serve.recording import Recorder
from serve.request_log import RequestLog
from serve.service import Service
from serve.settings import EndpointSettings
from serve.shadowing import Shadowing
from serve.tracing import Tracing
from serve.variant import make_slot
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.predictions.writer import PredictionLog
from taxiway.profile import profile
from taxiway.signature import Array, Column, Columns, Signature
from taxiway.telemetry.metrics import ServingMetrics
from taxiway.telemetry.settings import LogSettings, TracingSettings
from taxiway.telemetry.tracing import Spans, resource, span_exporter

CONNECTIONS = 32
WAVES = 480
_FLUSH_EVERY = 60
"""Waves: 1,920 requests, a fifth of a second at 10,000 a second."""
_TURNS = 4
"""Of the loop, until every request of a wave is answered."""
_COLUMNS = tuple(f"x{number}" for number in range(15))
_BODY = orjson.dumps({"dataframe_split": {"columns": _COLUMNS, "data": [[0.5] * len(_COLUMNS)]}})
_REQUEST = load.post("/invocations", _BODY)
_ENOUGH = 1_000_000


@dataclass(frozen=True)
class Kind:
    """What a cell tells of its requests.

    Attributes:
        traced: the share of requests that leave spans; None is off.
        predictions: where the prediction log goes, and answers are counted; None is off.
        lines: the share of requests that leave a line in the log.
        drifts: rows are counted for drift.
    """

    traced: float | None = None
    predictions: Path | None = None
    lines: float = 0.0
    drifts: bool = False


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
    """A served endpoint, its connections, and what works beside the event loop."""

    connections: Sequence[tuple[HttpProtocol, Counting]]
    metrics: ServingMetrics
    tracing: Tracing | None
    exporting: BatchSpanProcessor | None
    recorder: Recorder | None
    predictions: PredictionLog | None
    drift: DriftCounter | None
    lines: RequestLog | None

    async def wave_s(self) -> float:
        """CPU seconds of one request from each connection."""
        begin = time.process_time()
        for protocol, _ in self.connections:
            protocol.data_received(_REQUEST)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        return time.process_time() - begin

    def beside_s(self, write: bool) -> float:
        """CPU seconds of what threads do with what the last waves have left, and to send and write it."""
        begin = time.process_time()
        if self.recorder is not None:
            self.recorder.count()
        if self.drift is not None:
            self.drift.counted()
        if self.lines is not None:
            self.lines.flush()
        if self.tracing is not None:
            self.tracing.flush()
        if write and self.exporting is not None:
            self.exporting.force_flush()
        if write and self.predictions is not None:
            self.predictions.flush()
        return time.process_time() - begin

    @property
    def good(self) -> int:
        """Answers 200 until now."""
        return sum(seen.good for _, seen in self.connections)


async def measured(kinds: Mapping[str, Kind], slices: int) -> dict[str, list[float]]:
    """By cell the CPU seconds a request, slice by slice; the first of each, which warms up, is left out.

    Raises:
        RuntimeError: an answer was wrong or missing.
    """
    cells = {title: cell(kind) for title, kind in kinds.items()}
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
                spent[title] += it.beside_s(write=wave + 1 == WAVES)
                it.metrics.flush()
    return {title: seconds / (WAVES * CONNECTIONS) for title, seconds in spent.items()}


def cell(kind: Kind) -> Cell:
    """An endpoint with one variant."""
    tracing, exporting = _tracing(kind)
    predictions = None
    if kind.predictions is not None:
        predictions = PredictionLog(PredictionLogSettings(location=str(kind.predictions), flush_s=3_600))
    drift = DriftCounter() if kind.drifts else None
    recorder = None if predictions is None else Recorder(predictions.add, drift=drift)
    lines = RequestLog(LogSettings(format="json", requests=kind.lines)) if kind.lines else None
    metrics = ServingMetrics()
    shadowing = Shadowing(metrics, recorder, tracing)
    endpoint = Endpoint(EndpointSettings(name="sum", model="models:/sum@champion"), 30.0)
    slot = endpoint.baseline_variant.slot = make_slot(
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
        recorder,
        tracing=tracing,
    )
    if drift is not None:
        drift.follow(slot.stream, _reference(), 1_000)
    service = Service([endpoint], metrics, shadowing, 512, recorder, tracing=tracing, request_log=lines)
    http = HttpApplication("benchmark", service, 1_000_000, {})
    shared = Connections(http, Bounds(1_000_000, 1_000, 600, 600, 1e9), http.refused)
    shared.sweep()
    connections = [_connected(shared) for _ in range(CONNECTIONS)]
    return Cell(connections, metrics, tracing, exporting, recorder, predictions, drift, lines)


def _tracing(kind: Kind) -> tuple[Tracing | None, BatchSpanProcessor | None]:
    if kind.traced is None:
        return None, None
    # More than a slice holds: nothing is dropped, and `force_flush` finds everything.
    exporting = BatchSpanProcessor(span_exporter(resource("benchmark", "1")), max_queue_size=20_000)
    settings = TracingSettings(sample=kind.traced, slow_ms=60_000, requests_per_s=_ENOUGH)
    return Tracing(settings, Spans(exporting)), exporting


def _connected(shared: Connections) -> tuple[HttpProtocol, Counting]:
    protocol, transport = HttpProtocol(shared), Counting()
    protocol.connection_made(transport)
    return protocol, transport


def _signature() -> Signature:
    inputs = tuple(Column(name=name, dtype="float64") for name in _COLUMNS)
    return Signature(inputs=inputs, outputs=(Column(name="y", dtype="float64"),))


def _reference() -> Any:
    random = np.random.default_rng(0)
    columns = {name: random.random(10_000) for name in _COLUMNS}
    return profile(columns, _signature(), outputs=Sum().predict(columns))


def page(title: str, command: str, found: Mapping[str, Sequence[float]], told: str) -> str:
    """The Markdown table; what a cell takes more is the median over slices of its ratio to off in the same turn."""
    slices = len(found["off"])
    lines = [
        f"# {title}",
        "",
        (
            f"`python -m {command} --slices {slices}` on {os.cpu_count()} cores, {platform.platform()}, "
            f"Python {platform.python_version()}."
        ),
        (
            f"{CONNECTIONS} connections, batches of as many rows, {WAVES * CONNECTIONS:,} requests a slice, "
            f"{len(_COLUMNS)} columns, a model that adds them up, no sockets. CPU time of the process, {told} "
            "In brackets the quartiles of the slices."
        ),
        "",
        "| | CPU µs a request | more than off, µs | more than off |",
        "|---|---|---|---|",
    ]
    for name, seconds in found.items():
        pairs = list(zip(seconds, found["off"], strict=True))
        low, middle, high = quantiles((mine / off - 1 for mine, off in pairs), n=4)
        more = 1e6 * median(mine - off for mine, off in pairs)
        lines.append(
            f"| {name} | {1e6 * median(seconds):.1f} | {more:+.1f} | {middle:+.1%} ({low:+.1%} to {high:+.1%}) |"
        )
    return "\n".join(lines) + "\n"
