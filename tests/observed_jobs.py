"""A scoring job and a retraining on the Ray of the application that is observed, with its collector and gateway."""

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.batch_runs import Run
from tests.observed_application import Observed
from tests.observed_models import BOX, DELIVERY
from tests.otlp_receiver import Seen
from tests.spoiled_model import truth
from tests.tiny_model import SIGNATURE, parcels, registry_settings

ROOT = Path(__file__).parents[1]
ROWS, PIECES, REJECTED = 2_000, 8, 1
TRIALS, LOOKS = 2, 2
_CPUS = 0.5
_LATER = timedelta(hours=7)
"""By then a retraining has cooled down."""


@dataclass(frozen=True)
class Ended:
    """A job that has ended; `parent` is the span of the scheduler that has started it."""

    status: int
    out: str
    err: str
    trace_id: str
    parent: str

    def spans(self, observed: Observed) -> list[Seen]:
        """Of its trace; all are there when the process has ended."""
        return [span for span in observed.collector.spans if span.trace_id == self.trace_id]


def scored(observed: Observed) -> Ended:
    """A scoring job of which one row can't be scored."""
    columns = {name: values.tolist() for name, values in parcels(ROWS, seed=3).items() if name != "comment"}
    columns["color"][7] = "mauve"
    folder = observed.folder / "rows"
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    settings = {
        "model": f"models:/{DELIVERY}@champion",
        "input": str(folder),
        "output": str(observed.folder / "scores"),
        "piece_rows": ROWS // PIECES,
        "cpus": _CPUS,
        "actors": 1,
        "registry": {"tracking_uri": registry_settings(observed.folder).tracking_uri},
        "pushgateway": observed.gateway.url,
    }
    trace_id, parent = "1" * 32, "2" * 16
    job = Run([_written(observed.folder / "score.yaml", settings)], _environment(observed, trace_id, parent))
    out, err = job.communicate()
    return Ended(job.returncode or 0, out, err, trace_id, parent)


@dataclass(frozen=True)
class Retraining:
    """`python -m retrain CONFIG --if-due` on its way, some hours from now."""

    process: "subprocess.Popen[str]"
    trace_id: str
    parent: str

    def ended(self) -> Ended:
        out, err = self.process.communicate(timeout=480)
        return Ended(self.process.returncode, out, err, self.trace_id, self.parent)


def retraining(observed: Observed) -> Retraining:
    """Retrains `box` where something has asked for it."""
    config = _written(observed.folder / "retrain.yaml", _retrain_settings(observed.folder))
    trace_id, parent = "3" * 32, "4" * 16
    process = subprocess.Popen(
        [sys.executable, "-m", "retrain", config, "--if-due", "--now", (datetime.now(UTC) + _LATER).isoformat()],
        cwd=ROOT,
        env=_environment(observed, trace_id, parent),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return Retraining(process, trace_id, parent)


def _retrain_settings(folder: Path) -> dict[str, Any]:
    rows = 3_000
    columns = parcels(rows, seed=5)
    moments = pd.date_range("2024-01-01", "2024-01-31T23:59", periods=rows, tz="UTC")
    labels = {"row_id": np.arange(rows), "event_timestamp": moments, "late": truth(columns), **columns}
    pd.DataFrame(labels).drop(columns="comment").to_parquet(folder / "labels.parquet")
    return {
        "model": BOX,
        "labels": str(folder / "labels.parquet"),
        "label": "late",
        "inputs": [it.model_dump(exclude_defaults=True, mode="json") for it in SIGNATURE.inputs],
        "output": "probability",
        "train": {"start": "2024-01-01", "end": "2024-01-25"},
        "validate_from": "2024-01-20",
        "evaluate": {"start": "2024-01-25", "end": "2024-02-01"},
        "gate": {"max_calibration_error": 0.3},
        "search": {"trials": TRIALS, "max_iterations": 5 * LOOKS, "report_every": 5, "cpus": _CPUS},
        "registry": registry_settings(folder).model_dump(exclude_none=True),
    }


def _environment(observed: Observed, trace_id: str, parent: str) -> dict[str, str]:
    return os.environ | {
        "TAXIWAY_HOME": str(observed.folder),
        "TAXIWAY_PUSHGATEWAY": observed.gateway.url,
        "RAY_ADDRESS": observed.cluster.gcs_address(),
        "RAY_AUTH_MODE": "token",
        "OTEL_EXPORTER_OTLP_ENDPOINT": observed.collector.endpoint,
        "TRACEPARENT": f"00-{trace_id}-{parent}-01",
    }


def _written(path: Path, settings: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(settings))
    return str(path)
