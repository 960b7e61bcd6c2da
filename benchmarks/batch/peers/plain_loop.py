"""A plain loop of pyarrow and the model over the files of a folder, in one process or several."""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS = 65_536
_FIELDS: dict[str, pa.DataType] = {"row_id": pa.int64(), "late_probability": pa.float64()}
SCHEMA = pa.schema(_FIELDS)


def main() -> None:
    """`plain_loop.py MODEL INPUT OUTPUT [--processes N]`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    given.output.mkdir(parents=True)
    score = partial(score_file, given.model, given.output)
    files = sorted(given.input.glob("*.parquet"))
    if given.processes == 1:
        for file in files:
            score(file)
        return
    with ProcessPoolExecutor(given.processes) as pool:
        for _ in pool.map(score, files):
            pass


@cache
def _model(file: Path) -> Any:
    return joblib.load(file)


def score_file(model: Path, output: Path, file: Path) -> None:
    """Writes a file of the same name with an id and a score for each row."""
    with pq.ParquetWriter(output / file.name, SCHEMA) as writer:
        for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS):
            columns = [batch.column(name).to_numpy() for name in batch.schema.names if name != "row_id"]
            scores = _model(model).predict_proba(np.column_stack(columns))[:, 1]
            Path(os.environ["FIRST_ROW"]).touch()
            writer.write_batch(pa.record_batch([batch.column("row_id"), pa.array(scores)], schema=SCHEMA))


if __name__ == "__main__":
    main()
