"""The model package: everything that travels with a registered model version, logged to and read from MLflow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from pydantic import Field, ValidationError
from sklearn.pipeline import Pipeline

from taxiway import __version__
from taxiway.boosted_trees import without_checks
from taxiway.errors import PackageError
from taxiway.feature_binding import FeatureBinding
from taxiway.scoring import Predictor
from taxiway.settings import Settings
from taxiway.signature import Array, Column, Columns, Signature

METADATA_KEY = "taxiway"
_MLFLOW_TYPE = {"bool": "boolean", "int64": "long", "float64": "double", "string": "string"}


class Lineage(Settings):
    """Where a model comes from."""

    data_digest: str = Field(description="SHA-256 of the training set's rows")
    data_rows: int
    code_revision: str
    run_id: str
    parameters: dict[str, Any]
    metrics: dict[str, float]


class ModelPackage(Settings):
    """What serving and batch must agree upon. `reference_profile` is the place of drift's reference."""

    format: Literal[1] = 1
    flavor: Literal["sklearn"] = "sklearn"
    signature: Signature
    features: FeatureBinding | None = None
    output_kind: Literal["probability"] = "probability"
    lineage: Lineage
    reference_profile: None = None

    @property
    def model_columns(self) -> tuple[Column, ...]:
        """What the model itself takes: the request's columns and the store's."""
        return self.signature.inputs + (self.features.optional_inputs if self.features else ())


class SklearnPredictor:
    """The probability of the positive class from an sklearn classifier or pipeline.

    Numpy columns go straight in when the pipeline begins with something that takes them
    (`ColumnEncoder`); any other pipeline gets a DataFrame.
    """

    def __init__(self, model: Any, output: str) -> None:
        first = model.steps[0][1] if isinstance(model, Pipeline) else model
        self._model = _faster(model)
        self._output = output
        self._takes_columns = getattr(first, "accepts_columns", False)

    def predict(self, columns: Columns) -> dict[str, Array]:
        inputs = columns if self._takes_columns else pd.DataFrame(dict(columns))
        return {self._output: self._model.predict_proba(inputs)[:, 1]}


def _faster(model: Any) -> Any:
    if not isinstance(model, Pipeline):
        return model
    (name, last) = model.steps[-1]
    # Behind an encoder it sees float matrices only, which is what the copy takes.
    takes_columns = getattr(model.steps[0][1], "accepts_columns", False)
    return Pipeline([*model.steps[:-1], (name, without_checks(last))]) if takes_columns else model


def log_package(model: Any, package: ModelPackage, requirements: Mapping[str, str]) -> str:
    """Logs a fitted classifier with its package to the active MLflow run; returns the model's URI.

    Args:
        requirements: distribution -> version of what the model needs beyond Taxiway.
    """
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(_MLFLOW_TYPE[column.dtype], column.name, required=not column.nullable)
        for column in package.model_columns
    ]
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(_MLFLOW_TYPE[column.dtype], column.name) for column in package.signature.outputs
    ]
    info = mlflow.sklearn.log_model(
        model,
        name="model",
        signature=ModelSignature(Schema(inputs), Schema(outputs)),
        metadata={METADATA_KEY: package.model_dump(mode="json")},
        # Given, so that MLflow does not spend ten seconds on finding them out.
        pip_requirements=[f"taxiway=={__version__}", *(f"{name}=={version}" for name, version in requirements.items())],
        serialization_format="cloudpickle",
        pyfunc_predict_fn="predict_proba",
    )
    return str(info.model_uri)


def load_package(folder: Path) -> tuple[ModelPackage, Predictor]:
    """Reads a model version's downloaded artifacts.

    Raises:
        PackageError: the version was not logged by Taxiway, or by a newer one.
    """
    metadata = (Model.load(str(folder)).metadata or {}).get(METADATA_KEY)
    if metadata is None:
        raise PackageError(f"{folder}: this model version has no Taxiway package; log it with taxiway.package")
    try:
        package = ModelPackage.model_validate(metadata)
    except ValidationError as error:
        raise PackageError(f"{folder}: this model version's package can't be read: {error}") from error
    model = mlflow.sklearn.load_model(str(folder))
    return package, SklearnPredictor(model, package.signature.outputs[0].name)


def empty_columns(package: ModelPackage, rows: int) -> dict[str, Array]:
    """Plausible inputs of every column that the model takes, to warm a predictor up."""
    fill: dict[str, Any] = {"bool": False, "int64": 0, "float64": 0.0}
    return {
        column.name: np.full(rows, column.categories[0] if column.categories else "", dtype=np.object_)
        if column.dtype == "string"
        else np.full(rows, fill[column.stored_dtype])
        for column in package.model_columns
    }
