"""Rows/s of a scoring job beside a plain loop of pyarrow, the feature join and the model in one process."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import yaml

from batch.settings import ScoreSettings
from examples.flights.prepare import folder
from taxiway.feature_binding import FeatureViewBinding
from taxiway.features import HistoricalFeatures, open_store
from taxiway.registry import Registry
from taxiway.scoring import score
from taxiway.settings import load
from taxiway.signature import Array, Column, Columns

SCORE_FILE = "configs/flights/score.yaml"
_PIECE_ROWS = 16_384


def measure() -> list[dict[str, Any]]:
    """A row for the plain loop and one for the job, over the same quarter of flights."""
    with tempfile.TemporaryDirectory() as scratch:
        source, rows = _quarter(Path(scratch))
        plain_s = _plain(source, Path(scratch) / "plain.parquet")
        print(f"  plain loop: {rows / plain_s:8.0f} rows/s", flush=True)
        wall_s, scoring_s = _job(source, Path(scratch))
        print(f"  job:        {rows / scoring_s:8.0f} rows/s, with start-up {rows / wall_s:.0f}", flush=True)
    return [
        {"what": "plain pyarrow loop, one process", "rows": rows, "seconds": plain_s, "rows_per_s": rows / plain_s},
        {"what": "scoring job, while scoring", "rows": rows, "seconds": scoring_s, "rows_per_s": rows / scoring_s},
        {"what": "scoring job, with start-up", "rows": rows, "seconds": wall_s, "rows_per_s": rows / wall_s},
    ]


def _quarter(scratch: Path) -> tuple[Path, int]:
    flights = pd.read_parquet(folder() / "labels.parquet").drop(columns="late")
    when = flights["event_timestamp"]
    flights = flights[(when >= pd.Timestamp("2013-09-01", tz="UTC")) & (when < pd.Timestamp("2013-12-01", tz="UTC"))]
    path = scratch / "quarter.parquet"
    flights.to_parquet(path, index=False, coerce_timestamps="us", row_group_size=_PIECE_ROWS)
    return path, len(flights)


def _plain(source: Path, target: Path) -> float:
    settings = load(SCORE_FILE, ScoreSettings)
    registry = Registry(settings.registry)
    model = registry.load(registry.resolve(settings.model))
    assert settings.feature_store is not None
    store = HistoricalFeatures(open_store(settings.feature_store))
    start = time.perf_counter()
    written = []
    for batch in pq.ParquetFile(source).iter_batches(_PIECE_ROWS):
        frame = batch.to_pandas()
        read = partial(_read, store, frame["event_timestamp"].to_numpy())
        columns = {column.name: _values(frame, column) for column in model.package.signature.inputs}
        scored = score(columns, model.package.signature, model.package.features, read, model.predictor)
        written.append(pd.DataFrame({"flight_id": frame["flight_id"].to_numpy()[scored.rows], **scored.outputs}))
    pd.concat(written).to_parquet(target, index=False)
    return time.perf_counter() - start


def _read(
    store: HistoricalFeatures, moments: Array, views: Sequence[FeatureViewBinding], columns: Columns
) -> dict[str, Array]:
    return store.read(views, columns, moments)


def _values(frame: pd.DataFrame, column: Column) -> Any:
    return frame[column.name].to_numpy(dtype=object if column.dtype == "string" else column.dtype)


def _job(source: Path, scratch: Path) -> tuple[float, float]:
    job = yaml.safe_load(Path(SCORE_FILE).read_text()) | {"input": str(source), "output": str(scratch / "scored")}
    config = scratch / "score.yaml"
    config.write_text(yaml.safe_dump(job))
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "batch", str(config)], check=True, stdout=subprocess.DEVNULL)
    wall_s = time.perf_counter() - start
    manifest = json.loads((scratch / "scored" / "_manifest.json").read_text())
    return wall_s, float(manifest["seconds_by_stage"]["scoring"])
