"""`python -m benchmarks.feedback_import [LABELS]`: how fast files of labels become ground truth, and in what memory."""

import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from batch.feedback import import_feedback
from batch.feedback_settings import FeedbackSettings
from taxiway.predictions import ids

CHUNK = 500_000
NOON_MS = 1_767_268_800_000  # 2026-01-01 12:00 UTC


def main() -> int:
    """Prints a table: one pass (`skip`) and two (`fail`) over one file, each in a process of its own."""
    labels = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {labels:,} labels")
    print("| file | on_bad_rows | labels/s | CPU s | peak memory, MB |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("parquet", "csv"):
            path = Path(folder) / f"labels.{kind}"
            _write(path, labels)
            for on_bad_rows in ("skip", "fail"):
                arguments = (path, f"{folder}/{kind}-{on_bad_rows}", on_bad_rows, labels)
                process = multiprocessing.get_context("spawn").Process(target=_measure, args=arguments)
                process.start()
                process.join()
                if process.exitcode:
                    return 1
    return 0


def _measure(path: Path, location: str, on_bad_rows: str, labels: int) -> None:
    settings = FeedbackSettings.model_validate({"feedback": location, "input": str(path), "on_bad_rows": on_bad_rows})
    began_s, cpu_s = time.perf_counter(), time.process_time()
    import_feedback(settings, None, False, lambda line: None)
    seconds, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    kind = path.suffix.removeprefix(".")
    print(f"| {kind} | {on_bad_rows} | {labels / seconds:,.0f} | {cpu_s:.1f} | {peak_mb:.0f} |", flush=True)


def _write(path: Path, labels: int) -> None:
    schema = _chunk(0, 1).schema
    writer = pq.ParquetWriter(path, schema) if path.suffix == ".parquet" else pyarrow.csv.CSVWriter(path, schema)
    with writer:
        for begin in range(0, labels, CHUNK):
            writer.write_table(_chunk(begin, min(CHUNK, labels - begin)))


def _chunk(seed: int, rows: int) -> pa.Table:
    draw = np.random.default_rng(seed)
    raw = draw.integers(0, 256, (rows, 16), np.uint8)
    made = np.full(rows, NOON_MS) + np.arange(rows)
    raw[:, :6] = np.stack([made >> shift & 255 for shift in (40, 32, 24, 16, 8, 0)], axis=1)
    raw[:, 6], raw[:, 8] = 0x70 | raw[:, 6] & 15, 0x80 | raw[:, 8] & 63
    return pa.table({"prediction_id": ids.text(raw), "label": pa.array(draw.random(rows).round(4))})


if __name__ == "__main__":
    sys.exit(main())
