"""Scoring jobs: two actors that share the GPU, beside two with a CPU each."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.gpu.networks import NETWORKS, Network
from benchmarks.pages import table


@dataclass(frozen=True)
class Job:
    """A scoring job of two actors; `scoring_s` without the start of Ray and the end."""

    network: str
    where: str
    rows: int
    wall_s: float
    scoring_s: float


def jobs(folder: Path, device: str) -> list[Job]:
    """Each network on two actors that share the GPU, and on two with a CPU each."""
    found = []
    for network in NETWORKS:
        _write(network, folder / network.name)
        for where, gpus in (("GPU", 0.5 if device == "cuda" else 0), ("CPU", 0)):
            found.append(_scored(folder, network, where, gpus))
    return found


def _write(network: Network, folder: Path) -> None:
    folder.mkdir()
    files = 8
    for number in range(files):
        count = network.job_rows // files
        values = pa.array(network.inputs(count).reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(values, int(np.prod(network.shape)))
        ids = np.arange(number * count, (number + 1) * count)
        pq.write_table(
            pa.table({"row_id": pa.array(ids), "x": column}), folder / f"{number}.parquet", compression="none"
        )


def _scored(folder: Path, network: Network, where: str, gpus: float) -> Job:
    output = folder / f"{network.name}-{where}"
    keys = {"model": f"models:/{network.name}@champion", "input": str(folder / network.name), "output": str(output)}
    keys |= {"gpus": gpus, "actors": 2, "batch_rows": 1_024}  # type: ignore[dict-item]
    (file := folder / "score.yaml").write_text(yaml.safe_dump(keys))
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "batch", str(file)], check=True, stdout=subprocess.DEVNULL, timeout=300)
    wall_s = time.perf_counter() - begin
    manifest = json.loads((output / "_manifest.json").read_text())
    assert manifest["rows_written"] == network.job_rows, manifest["rejects"]
    return Job(network.name, where, network.job_rows, wall_s, manifest["seconds_by_stage"]["scoring"])


def job_table(found: Sequence[Job]) -> str:
    rows = [
        (
            it.network,
            it.where,
            f"{it.rows:,}",
            f"{it.wall_s:.1f}",
            f"{it.scoring_s:.1f}",
            f"{it.rows / it.scoring_s:,.0f}",
        )
        for it in found
    ]
    return table("As a scoring job of two actors", ("network", "on", "rows", "s in all", "s scoring", "rows/s"), rows)
