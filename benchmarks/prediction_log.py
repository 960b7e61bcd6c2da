"""`python -m benchmarks.prediction_log`: what the prediction log costs the event loop, and what its writer can do."""

import gc
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from serve.prediction_id import new_prediction_id
from taxiway.predictions.fields import FieldRules
from taxiway.predictions.files import encode
from taxiway.predictions.partitions import FileNames
from taxiway.predictions.record import LoggedBatch, Source
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.predictions.writer import PredictionLog
from taxiway.signature import Array

NUMBERS, TEXTS = 13, 2
SIZES = (1, 8, 32)
REQUESTS, ROUNDS = 16_384, 7
SOURCE = Source("delay", "champion", "3")
_draw = np.random.default_rng(1)


def main() -> int:
    """Prints a table: batches of requests of one row with fifteen inputs and one output."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print("| requests a batch | add, us a request | sampled 10%, us a request | writer, rows/s | bytes a row |")
    print("|---|---|---|---|---|")
    for size in SIZES:
        batches = [_batch(size) for _ in range(REQUESTS // size)]
        rows_per_s, row_bytes = _written(batches)
        cost, sampled = _cost_us(batches, 1.0), _cost_us(batches, 0.1)
        print(f"| {size} | {cost:.2f} | {sampled:.2f} | {rows_per_s:,.0f} | {row_bytes:.0f} |", flush=True)
    return 0


def _batch(size: int) -> LoggedBatch:
    """Drawn anew for each: what is random does not compress, and what repeats does."""
    inputs: dict[str, Array] = {f"number_{place}": _draw.normal(size=size) for place in range(NUMBERS)}
    for place in range(TEXTS):
        inputs[f"text_{place}"] = np.array([f"N{value:03d}" for value in _draw.integers(0, 300, size)], np.object_)
    arrived = [time.time()] * size
    ids = [new_prediction_id() for _ in range(size)]
    return LoggedBatch(SOURCE, inputs, {"y": _draw.normal(size=size)}, ids, [1] * size, arrived, [1.5] * size)


def _cost_us(batches: list[LoggedBatch], sample: float) -> float:
    """Processor time of `add` and of making its batch, while the writer waits."""
    costs = []
    gc.collect()
    gc.freeze()  # as a replica does with what stays
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as scratch:
            settings = PredictionLogSettings(location=scratch, sample=sample, flush_s=3600, flush_rows=10**9)
            log = PredictionLog(settings)
            begin = time.thread_time()
            for it in batches:
                log.add(LoggedBatch(SOURCE, it.inputs, it.outputs, it.ids, it.rows, it.arrived_s, it.latency_ms))
            costs.append((time.thread_time() - begin) / REQUESTS)
            assert not log.statistics().dropped
            log.close()
    return statistics.median(costs) * 1e6


def _written(batches: list[LoggedBatch]) -> tuple[float, float]:
    """Rows a second of processor time that the writer's thread makes into files on the disk, and their size."""
    speeds, size = [], 0
    for _ in range(ROUNDS):
        begin = time.thread_time()
        files = encode(((batch, None) for batch in batches), FieldRules({}), FileNames())
        with tempfile.TemporaryDirectory() as scratch:
            for number, file in enumerate(files):
                (Path(scratch) / str(number)).write_bytes(file.content)
        speeds.append(REQUESTS / (time.thread_time() - begin))
        size = sum(file.size_bytes for file in files)
    return statistics.median(speeds), size / REQUESTS


if __name__ == "__main__":
    raise SystemExit(main())
