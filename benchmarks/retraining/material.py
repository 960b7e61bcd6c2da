"""Makes what both sides need, in a process whose TAXIWAY_HOME is the benchmark's: CONFIG, FOLDER."""

import json
import pickle
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.retraining.peer import Task, Window
from examples.flights.prepare import apply
from retrain.dataset import Dataset
from retrain.features import join_features, open_features
from retrain.labels import read_labels
from retrain.model import Layout, layout
from retrain.search import PATIENCE
from retrain.settings import RetrainSettings, SearchSettings, load_retraining
from retrain.suggest import RandomPoints
from retrain.trainers.boosting import Boosting
from retrain.trainers.space import Space
from retrain.windows import Windows, search_data, split
from taxiway.features import join_by_feast, open_store
from taxiway.signature import Columns

TASK, ROWS, SEARCH_DATA, FACTS = "task.json", "rows.parquet", "search.pickle", "facts.json"
JOBS = 2


def main() -> int:
    config, folder = sys.argv[1], Path(sys.argv[2])
    apply()
    settings = load_retraining(config, datetime.now(UTC))
    examples, feast_s, asked, columns = _joined(settings)
    windows, matrix = split(examples, settings), layout(settings.inputs, columns)
    pq.write_table(examples.table(settings.row_id, settings.event_timestamp, settings.label), folder / ROWS)
    (folder / SEARCH_DATA).write_bytes(pickle.dumps(search_data(windows, matrix), protocol=5))
    made = task(settings, matrix, str(folder / ROWS), points(Boosting().space(), settings.search))
    (folder / TASK).write_text(json.dumps(asdict(made), default=lambda value: value.item()))
    (folder / FACTS).write_text(json.dumps({"feast_s": feast_s, "asked_rows": asked, **_counts(windows)}))
    return 0


def _joined(settings: RetrainSettings) -> tuple[Dataset, float, int, tuple[str, ...]]:
    """The examples as a retraining has them, what Feast's own join of them takes, for how many rows, and its columns.

    Raises:
        AssertionError: the two joins differ.
    """
    read = read_labels(settings, datetime.now(UTC)).examples
    binding, history = open_features(settings)
    assert binding is not None, "the config file must name a feature service"
    assert settings.feature_store is not None
    views = binding.views_to_read(read.columns)
    began = time.perf_counter()
    by_feast = join_by_feast(open_store(settings.feature_store), views, read.columns, read.moments)
    seconds = time.perf_counter() - began
    own, _ = join_features(read, binding, history)
    _check(read.with_features(by_feast), own, binding.columns)
    return own, seconds, len(read), binding.columns


def _check(by_feast: Dataset, own: Dataset, columns: tuple[str, ...]) -> None:
    kept: Columns = by_feast.take(np.isin(by_feast.row_ids, own.row_ids)).columns
    for name in columns:
        same = np.array_equal(kept[name], own.columns[name], equal_nan=True)
        assert same, f"{name}: Feast joins other values than a retraining"


def points(space: Space, search: SearchSettings) -> list[dict[str, Any]]:
    """The parameters that a random search tries, in its order."""
    drawn = RandomPoints(space, search.seed, search.trials)
    return [drawn.suggest("") for _ in range(search.trials)]


def task(settings: RetrainSettings, matrix: Layout, rows: str, points: list[dict[str, Any]]) -> Task:
    """The plain script's task: the same rows, columns, windows, points, seed and rules as the retraining's."""
    return Task(
        rows=rows,
        moment=settings.event_timestamp,
        label=settings.label,
        columns=matrix.columns,
        categories=matrix.categories,
        learn=_window(settings.train.start, settings.validate_from),
        validate=_window(settings.validate_from, settings.train.end),
        evaluate=_window(settings.evaluate.start, settings.evaluate.end),
        points=points,
        seed=settings.search.seed,
        max_iterations=settings.search.max_iterations,
        report_every=settings.search.report_every,
        patience=PATIENCE,
        jobs=JOBS,
        samples=settings.gate.samples,
    )


def _window(start: datetime, end: datetime) -> Window:
    return start.isoformat(), end.isoformat()


def _counts(windows: Windows) -> dict[str, int]:
    parts = {"learn": windows.learn, "validate": windows.validate, "evaluate": windows.evaluate}
    return {f"{name}_rows": len(part) for name, part in parts.items()}


if __name__ == "__main__":
    sys.exit(main())
