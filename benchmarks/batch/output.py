"""Checks what a contestant has written, row by row."""

from pathlib import Path

import numpy as np
import pyarrow.dataset as ds

from benchmarks.batch.data import Dataset
from benchmarks.serving.model import OUTPUT

_TOLERANCE = 1e-12


class WrongOutput(Exception):
    """A row is missing, is there twice, or has another score than the model gives it."""


def check(folder: Path, dataset: Dataset) -> None:
    """Compares every row of the Parquet files in `folder` with the model's own score of it.

    Raises:
        WrongOutput: what is wrong, and with how many rows.
    """
    found = np.zeros(dataset.rows, np.bool_)
    rows = wrong = 0
    written = ds.dataset([str(file) for file in parquet_files(folder)], format="parquet")
    for batch in written.to_batches(columns=["row_id", OUTPUT]):
        ids, scores = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("row_id", OUTPUT))
        expected = dataset.expected[ids % len(dataset.expected)]
        wrong += int((~(np.abs(scores - expected) <= _TOLERANCE)).sum())
        found[ids[(ids >= 0) & (ids < dataset.rows)]] = True
        rows += len(ids)
    missing = dataset.rows - int(found.sum())
    if wrong or missing or rows != dataset.rows:
        raise WrongOutput(
            f"{rows:,} of {dataset.rows:,} rows written, {missing:,} missing, {wrong:,} with a wrong score"
        )


def parquet_files(folder: Path) -> list[Path]:
    """The files that a reader of the folder sees: no part of their path begins with `_` or `.`.

    Raises:
        WrongOutput: there are none.
    """
    files = [
        file
        for file in sorted(folder.rglob("*.parquet"))
        if not any(part.startswith(("_", ".")) for part in file.relative_to(folder).parts)
    ]
    if not files:
        raise WrongOutput(f"no Parquet files in {folder.name}")
    return files
