"""A small but real model package: a boosted-tree pipeline on synthetic parcels, in a registry of its own."""

from pathlib import Path

import mlflow
import numpy as np
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from taxiway.encoder import ColumnEncoder
from taxiway.package import Lineage, ModelPackage, log_package
from taxiway.registry import CHAMPION, ModelVersion, Registry
from taxiway.settings import RegistrySettings
from taxiway.signature import Array, Column, Signature

SIGNATURE = Signature(
    inputs=(
        Column(name="color", dtype="string", categories=("red", "green", "blue")),
        Column(name="size", dtype="float64", minimum=0.0, maximum=1000.0),
        Column(name="count", dtype="int64"),
        Column(name="weight", dtype="float64", nullable=True),
        Column(name="comment", dtype="string", nullable=True),
    ),
    outputs=(Column(name="probability", dtype="float64"),),
)
MODEL_COLUMNS = ("color", "size", "count", "weight")


def parcels(rows: int, seed: int = 0) -> dict[str, Array]:
    """Valid rows of the signature."""
    random = np.random.default_rng(seed)
    weight = random.gamma(2.0, 3.0, rows)
    weight[random.random(rows) < 0.2] = np.nan
    return {
        "color": random.choice(np.array(["red", "green", "blue"], dtype=object), rows),
        "size": random.uniform(0, 1000, rows),
        "count": random.integers(0, 50, rows),
        "weight": weight,
        "comment": np.full(rows, None, dtype=object),
    }


def train(seed: int = 0) -> Pipeline:
    columns = parcels(2_000, seed)
    signal = columns["size"] / 500 + (columns["color"] == "red") - columns["count"] / 25
    target = signal + np.random.default_rng(seed + 1).normal(size=2_000) > 0.5
    encoder = ColumnEncoder(MODEL_COLUMNS, {"color": ("red", "green", "blue")})
    model = HistGradientBoostingClassifier(max_iter=20, categorical_features=[0])
    return Pipeline([("columns", encoder), ("model", model)]).fit(columns, target)


def registry_settings(folder: Path) -> RegistrySettings:
    return RegistrySettings(
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}", artifact_location=str(folder / "artifacts")
    )


def register(folder: Path, name: str = "parcel", seed: int = 0) -> ModelVersion:
    """Registers a freshly trained version as the champion."""
    return register_fitted(registry_settings(folder), train(seed), CHAMPION, name)


def register_fitted(
    settings: RegistrySettings, fitted: Pipeline, alias: str, name: str = "parcel", rows: int = 2_000
) -> ModelVersion:
    """Registers a fitted pipeline of the signature, and points an alias to it."""
    registry = Registry(settings)
    with mlflow.start_run(experiment_id=registry.experiment(name)) as run:
        lineage = Lineage(
            data_digest="0" * 64,
            data_rows=rows,
            code_revision="test",
            run_id=run.info.run_id,
            parameters={},
            metrics={},
        )
        package = ModelPackage(signature=SIGNATURE, lineage=lineage)
        uri = log_package(fitted, package, {"scikit-learn": sklearn.__version__})
    version = registry.register(name, uri, run.info.run_id, {})
    registry.point(alias, version)
    return version
