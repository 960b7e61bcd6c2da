"""The model package: everything that travels with a registered model version, logged to and read from MLflow."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from taxiway import __version__
from taxiway.drift.settings import UsualDrift
from taxiway.errors import PackageError
from taxiway.feature_binding import FeatureBinding
from taxiway.flavors.answers import NamedPredictor, positive
from taxiway.flavors.inputs import empty_values, inputs_of
from taxiway.flavors.loading import Flavor, Placement, ask_of, load_native
from taxiway.flavors.logged import read
from taxiway.flavors.mlflow_signature import write_signature
from taxiway.flavors.plain import OutputKind, PlainModel, example_columns, load_plain
from taxiway.flavors.torch import Precision
from taxiway.profile import Profile
from taxiway.scoring import Predictor
from taxiway.settings import Settings
from taxiway.signature import Array, Column, Signature

METADATA_KEY = "taxiway"
_LOGGERS: Mapping[Flavor, tuple[str, str]] = {
    "sklearn": ("mlflow.sklearn", "sk_model"),
    "xgboost": ("mlflow.xgboost", "xgb_model"),
    "lightgbm": ("mlflow.lightgbm", "lgb_model"),
    "torch": ("mlflow.pytorch", "pytorch_model"),
    "pyfunc": ("mlflow.pyfunc", "python_model"),
}


class Lineage(Settings):
    """Where a model comes from."""

    data_digest: str = Field(description="SHA-256 of the training set's rows")
    data_rows: int
    code_revision: str
    run_id: str
    parameters: dict[str, Any]
    metrics: dict[str, float]


class ModelPackage(Settings):
    """What serving, batch and retraining must agree upon.

    `reference_profile` is what the columns held in the window that drift compares with; null where nobody took it.
    """

    format: Literal[1] = 1
    flavor: Flavor = "sklearn"
    signature: Signature
    features: FeatureBinding | None = None
    output_kind: OutputKind = Field(
        default="probability",
        description="probability of the positive class; value: a number; label: a class; tensor: anything else",
    )
    predict_method: str | None = Field(
        default=None,
        description="of models that have several; null: predict_proba for a probability where there is one, or predict",
    )
    lineage: Lineage | None = Field(default=None, description="null for a model that was logged with plain MLflow")
    reference_profile: Profile | None = None
    usual_drift: tuple[UsualDrift, ...] = Field(
        default=(), description="how far windows of the training data lay from it, by their length"
    )

    @property
    def model_columns(self) -> tuple[Column, ...]:
        """What the model itself takes: the request's columns and the store's."""
        return self.signature.inputs + (self.features.optional_inputs if self.features else ())

    def method_of(self, model: Any) -> str:
        """The model's method that answers."""
        wants_classes = self.output_kind == "probability" and hasattr(model, "predict_proba")
        return self.predict_method or ("predict_proba" if wants_classes else "predict")


def log_package(model: Any, package: ModelPackage, requirements: Mapping[str, str]) -> str:
    """Logs a fitted model with its package to the active MLflow run; returns the model's URI.

    Args:
        model: what the package's flavor says; for pyfunc an `mlflow.pyfunc.PythonModel`.
        requirements: distribution -> version of what the model needs beyond Taxiway.
    """
    module, parameter = _LOGGERS[package.flavor]
    specific: dict[str, Any] = {}
    if package.flavor == "sklearn":
        specific = {"serialization_format": "cloudpickle", "pyfunc_predict_fn": package.method_of(model)}
    if package.flavor == "torch":
        specific = {"serialization_format": "pickle"}
    info = importlib.import_module(module).log_model(
        **{parameter: model},
        name="model",
        signature=write_signature(package.model_columns, package.signature.outputs),
        metadata={METADATA_KEY: package.model_dump(mode="json")},
        # Given, so that MLflow does not spend ten seconds on finding them out.
        pip_requirements=[f"taxiway=={__version__}", *(f"{name}=={version}" for name, version in requirements.items())],
        **specific,
    )
    return str(info.model_uri)


def load_package(
    folder: Path, *, require_signature: bool = True, device: str = "auto", precision: Precision = "fp32"
) -> tuple[ModelPackage, Predictor]:
    """Reads a model version's downloaded artifacts, whoever logged it.

    Args:
        require_signature: refuse a model of somebody else that has none; otherwise the names that a tabular
            model keeps itself become its inputs.
        device: `auto`, `cpu`, `cuda` or `cuda:N`, for PyTorch.
        precision: of PyTorch's computation.

    Raises:
        PackageError: the version can't be used; the sentence says what to change.
    """
    placement = Placement(device, precision)
    logged = read(folder)
    metadata = (logged.metadata or {}).get(METADATA_KEY)
    if metadata is None:
        plain = load_plain(folder, logged, placement, require_signature)
        return _package_of(plain), plain.predictor
    try:
        package = ModelPackage.model_validate(metadata)
    except ValidationError as error:
        raise PackageError(f"{folder}: this model version's package can't be read: {error}") from error
    model = load_native(package.flavor, folder, logged, placement)
    inputs = inputs_of(package.model_columns)
    ask = ask_of(package.flavor, model, inputs, package.method_of(model), placement)
    is_probability = package.output_kind == "probability"
    return package, NamedPredictor(positive(ask) if is_probability else ask, package.signature.outputs)


def load_example(folder: Path, package: ModelPackage) -> dict[str, Array] | None:
    """The input example that was logged with a version, to warm a predictor up with; None where there is none."""
    return example_columns(folder, read(folder), inputs_of(package.model_columns))


def empty_columns(package: ModelPackage, rows: int) -> dict[str, Array]:
    """Plausible inputs of every column that the model takes, to warm a predictor up."""
    return {column.name: empty_values(column, rows) for column in package.model_columns}


def _package_of(plain: PlainModel) -> ModelPackage:
    return ModelPackage(
        flavor=plain.flavor,
        signature=plain.signature,
        output_kind=plain.output_kind,
        predict_method=plain.method,
    )
