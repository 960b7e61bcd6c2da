"""The rows to score: a year of flights, repeated, as Parquet files; and the score that each row must get."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.serving.model import COLUMNS
from examples.flights import data as source
from taxiway.settings import home

FILE_ROWS = 250_000
ROW_GROUP_ROWS = 125_000
_CATEGORICAL = ("carrier", "origin", "dest")
# Of a row, in the files and in one output of them, with a margin.
_BYTES = 60
_READ_BYTES = 16 << 20


class NoSpace(Exception):
    """The disk can't hold the rows; the message says what is needed."""


@dataclass(frozen=True)
class Dataset:
    """`rows` rows in a folder of Parquet files; `expected` holds the scores of one period, which repeats."""

    folder: Path
    rows: int
    expected: NDArray[np.float64]

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def warm(self) -> None:
        """Reads every byte, so that whoever comes first does not pay for the disk."""
        for file in self.files:
            with file.open("rb") as opened:
                while opened.read(_READ_BYTES):
                    pass


def make(rows: int, model: Path) -> Dataset:
    """The dataset of so many rows, written unless an earlier run has; `model` is the classifier's file.

    Raises:
        NoSpace: the disk is too small.
    """
    folder = home() / "bench" / "batch" / f"{rows}-rows"
    flights = _flights()
    done, made_by = folder / "_made.json", {"file_rows": FILE_ROWS, "row_group_rows": ROW_GROUP_ROWS}
    if not done.is_file() or json.loads(done.read_text()) != made_by:
        _require_space(rows * _BYTES)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _write(flights, rows, folder)
        done.write_text(json.dumps(made_by))
    return Dataset(folder, rows, _expected(flights, model))


def _flights() -> pa.Table:
    """Every flight of the year, the cancelled ones too, as the fifteen numbers that the model takes."""
    file = home() / "bench" / "batch" / "flights.parquet"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        pq.write_table(_read_flights(), part)
        part.rename(file)
    return pq.read_table(file)


def _read_flights() -> pa.Table:
    flights = pd.merge_asof(
        source.read_flights().sort_values("asked_at"),
        source.read_weather().sort_values("known_at"),
        left_on="asked_at",
        right_on="known_at",
        by="origin",
    ).sort_values("flight_id")
    for name in _CATEGORICAL:
        flights[name] = flights[name].astype("category").cat.codes
    flights["month"] = flights["scheduled_at"].dt.month
    flights["day"] = flights["scheduled_at"].dt.day
    rows = flights[list(COLUMNS)].astype(float)
    return pa.Table.from_pandas(rows.fillna(rows.median()), preserve_index=False)


def _write(flights: pa.Table, rows: int, folder: Path) -> None:
    """Row i is flight i modulo the number of flights, with i as its id."""
    twice = pa.concat_tables([flights, flights])
    for number, first in enumerate(range(0, rows, FILE_ROWS)):
        size = min(FILE_ROWS, rows - first)
        part = twice.slice(first % flights.num_rows, size)
        part = part.add_column(0, "row_id", pa.array(np.arange(first, first + size)))
        pq.write_table(part, folder / f"part-{number:05}.parquet", row_group_size=ROW_GROUP_ROWS)


def _expected(flights: pa.Table, model: Path) -> NDArray[np.float64]:
    """The model's own scores of every flight, kept for as long as the model is the same."""
    file = home() / "bench" / "batch" / f"expected-{digest(model)}.npy"
    if not file.is_file():
        matrix = np.column_stack([flights.column(name).to_numpy() for name in COLUMNS])
        np.save(file, joblib.load(model).predict_proba(matrix)[:, 1])
    scores: NDArray[np.float64] = np.load(file)
    return scores


def digest(model: Path) -> str:
    """What tells one saved model from another."""
    return hashlib.sha256(model.read_bytes()).hexdigest()[:16]


def _require_space(needed: int) -> None:
    parent = home() / "bench"
    parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(parent).free
    if free < needed:
        gigabytes = f"{needed / 1e9:.0f} GB are needed and {free / 1e9:.0f} GB are free"
        raise NoSpace(f"{parent}: {gigabytes}; choose fewer rows, or another TAXIWAY_HOME (now {os.fspath(home())})")
