"""The model that every server answers from, in the form that each of them loads, and the rows to ask about."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import mlflow
import numpy as np
import pandas as pd
import sklearn
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from examples.flights import data
from taxiway.boosted_trees import without_checks
from taxiway.encoder import ColumnEncoder
from taxiway.package import Lineage, ModelPackage, log_package
from taxiway.profile import profile
from taxiway.registry import CHAMPION, Registry
from taxiway.settings import RegistrySettings, home
from taxiway.signature import Column, Signature

Matrix = NDArray[np.float64]
NAME = "flight-late"
OUTPUT = "late_probability"
_CATEGORICAL = ("carrier", "origin", "dest")
_WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "visib")
COLUMNS = ("distance", "departure_hour", "weekday", "month", "day", *_CATEGORICAL, *_WEATHER)
_TRAINING_ROWS = 60_000
_ASKED_ROWS = 20_000


@dataclass(frozen=True)
class Material:
    """Where the model lies, and rows to ask about with the model's own answers."""

    joblib: Path
    mlflow: Path
    registry: RegistrySettings
    rows: Matrix
    expected: NDArray[np.float64]


def prepare() -> Material:
    """Trains and saves the model, once: later calls read what the first has written."""
    folder = home() / "bench"
    registry = RegistrySettings(
        tracking_uri=f"sqlite:///{folder / 'registry' / 'mlflow.db'}",
        artifact_location=str(folder / "registry" / "artifacts"),
    )
    done = folder / "prepared.json"
    made_by = {
        "package": "with profile",
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "mlflow": mlflow.__version__,
    }
    if not done.is_file() or json.loads(done.read_text()) != made_by:
        (folder / "registry").mkdir(parents=True, exist_ok=True)
        _make(folder, registry)
        done.write_text(json.dumps(made_by))
    asked = np.load(folder / "asked.npz")
    return Material(folder / "model.joblib", folder / "mlflow-model", registry, asked["rows"], asked["expected"])


def rows_per_s(material: Material, rows: int, seconds: float = 2.0) -> float:
    """How many rows a second the model predicts in this process, `rows` at a time, on one core."""
    # As Taxiway and the limit run it.
    model = without_checks(joblib.load(material.joblib))
    batch, calls = material.rows[:rows], 0
    with threadpool_limits(1):
        model.predict_proba(batch)
        start = time.process_time()
        while time.process_time() - start < seconds:
            model.predict_proba(batch)
            calls += 1
        return calls * rows / (time.process_time() - start)


def _make(folder: Path, registry: RegistrySettings) -> None:
    rows, late = _flights()
    classifier = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=0)
    classifier.fit(rows[:_TRAINING_ROWS], late[:_TRAINING_ROWS])
    asked = rows[_TRAINING_ROWS : _TRAINING_ROWS + _ASKED_ROWS]
    np.savez(folder / "asked.npz", rows=asked, expected=classifier.predict_proba(asked)[:, 1])
    joblib.dump(classifier, folder / "model.joblib")
    _save_mlflow(classifier, folder / "mlflow-model")
    _register(classifier, asked, registry)


def _flights() -> tuple[Matrix, NDArray[np.float64]]:
    """Flights that arrived, shuffled: fifteen numbers each, and whether they were late."""
    flights = data.read_flights()
    flights = flights[flights["late"].notna()].sample(_TRAINING_ROWS + _ASKED_ROWS, random_state=0)
    flights = pd.merge_asof(
        flights.sort_values("asked_at"),
        data.read_weather().sort_values("known_at"),
        left_on="asked_at",
        right_on="known_at",
        by="origin",
    ).sample(frac=1.0, random_state=1)
    for name in _CATEGORICAL:
        flights[name] = flights[name].astype("category").cat.codes
    flights["month"] = flights["scheduled_at"].dt.month
    flights["day"] = flights["scheduled_at"].dt.day
    rows = flights[list(COLUMNS)].astype(float)
    # No missing values: not every peer's JSON has one.
    return rows.fillna(rows.median()).to_numpy(), flights["late"].to_numpy(dtype=float)


def _save_mlflow(classifier: Any, folder: Path) -> None:
    tensor = np.dtype(np.float64)
    mlflow.sklearn.save_model(
        classifier,
        str(_empty(folder)),
        signature=ModelSignature(
            Schema([TensorSpec(tensor, (-1, len(COLUMNS)))]), Schema([TensorSpec(tensor, (-1, 2))])
        ),
        pip_requirements=[f"scikit-learn=={sklearn.__version__}"],
        serialization_format="cloudpickle",
        pyfunc_predict_fn="predict_proba",
    )


def _empty(folder: Path) -> Path:
    """MLflow refuses a folder that holds something."""
    for file in sorted(folder.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    return folder


def _register(classifier: Any, held_out: Matrix, settings: RegistrySettings) -> None:
    registry = Registry(settings)
    pipeline = Pipeline([("columns", ColumnEncoder(COLUMNS, {}).fit(None)), ("model", classifier)])
    signature = Signature(
        inputs=tuple(Column(name=name, dtype="float64") for name in COLUMNS),
        outputs=(Column(name=OUTPUT, dtype="float64"),),
    )
    with mlflow.start_run(experiment_id=registry.experiment(NAME)) as run:
        lineage = Lineage(
            data_digest="0" * 64,
            data_rows=_TRAINING_ROWS,
            code_revision="benchmark",
            run_id=run.info.run_id,
            parameters={},
            metrics={},
        )
        inputs = {name: held_out[:, place] for place, name in enumerate(COLUMNS)}
        reference = profile(inputs, signature, outputs={OUTPUT: classifier.predict_proba(held_out)[:, 1]})
        package = ModelPackage(signature=signature, lineage=lineage, reference_profile=reference)
        uri = log_package(pipeline, package, {"scikit-learn": sklearn.__version__})
    version = registry.register(NAME, uri, run.info.run_id, {})
    registry.point(CHAMPION, version)
