"""`python -m batch` with actors that share a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml

models = pytest.importorskip("tests.gpu.models")

pytestmark = pytest.mark.timeout(300)
ROWS, FILES = 6_000, 4
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scored(home: Path) -> Any:
    """The manifest and the scores of a job of two actors with half a GPU each, in the order of the rows."""
    (home / "images").mkdir()
    inputs = models.images(ROWS, 9)
    for number, part in enumerate(np.array_split(np.arange(ROWS), FILES)):
        flat = pa.FixedSizeListArray.from_arrays(pa.array(inputs[part].reshape(-1)), 64)
        pq.write_table(pa.table({"row_id": pa.array(part), "image": flat}), home / "images" / f"{number}.parquet")
    keys: dict[str, Any] = {"gpus": 0.5, "actors": 2, "piece_rows": 500, "batch_rows": 250}
    keys |= {"model": "models:/digits@champion", "input": str(home / "images"), "output": str(home / "scores")}
    (home / "score.yaml").write_text(yaml.safe_dump(keys))
    command = [sys.executable, "-m", "batch", str(home / "score.yaml")]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((home / "scores" / "_manifest.json").read_text())
    return manifest, ds.dataset(home / "scores", format="parquet").to_table().sort_by("row_id"), inputs


def test_every_row_is_scored_on_the_gpu(scored: Any) -> None:
    manifest, table, _ = scored
    assert (manifest["rows_read"], manifest["rows_written"], manifest["rows_rejected"]) == (ROWS, ROWS, 0)
    assert table.column("row_id").to_pylist() == list(range(ROWS))
    assert set(table.column("on_gpu").to_pylist()) == {1}


def test_scores_are_those_of_requests(scored: Any) -> None:
    _, table, inputs = scored
    found = np.array(table.column("logits").to_pylist())
    assert models.distance(found, models.exact(models.Digits(), inputs)) < 1e-5
