"""Small real models as somebody without Taxiway logs them: plain MLflow, a signature, nothing of ours."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlflow
import mlflow.lightgbm
import mlflow.pytorch
import mlflow.sklearn
import mlflow.xgboost
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from taxiway.registry import ModelVersion, Registry
from taxiway.signature import Array
from tests.tiny_model import registry_settings


@dataclass(frozen=True)
class PlainModel:
    """A logged model: where it is, rows as MLflow takes them, and the same rows as columns."""

    uri: str
    rows: Any
    columns: dict[str, Array]


def houses(rows: int, seed: int = 0) -> pd.DataFrame:
    """Numbers of several widths, a tenth of one column missing."""
    random = np.random.default_rng(seed)
    area = random.gamma(3.0, 30.0, rows)
    area[random.random(rows) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "area": area,
            "rooms": random.integers(1, 9, rows),
            "year": random.integers(1900, 2024, rows).astype(np.int32),
            "height": random.normal(2.5, 0.2, rows).astype(np.float32),
        }
    )


def expensive(table: pd.DataFrame) -> Array:
    return np.asarray(table["area"].fillna(0) / 30 + table["rooms"] > 6).astype(int)


def _as_columns(table: pd.DataFrame) -> dict[str, Array]:
    return {str(name): table[name].to_numpy() for name in table.columns}


def _of_table(log: Callable[..., Any], model: Any, table: pd.DataFrame, answer: Any, **options: Any) -> PlainModel:
    info = log(
        model, name="model", signature=infer_signature(table, answer), pip_requirements=["scikit-learn"], **options
    )
    return PlainModel(info.model_uri, table, _as_columns(table))


def sklearn_classifier() -> PlainModel:
    table = houses(500)
    model = HistGradientBoostingClassifier(max_iter=10).fit(table, expensive(table))
    return _log_sklearn(model, table, model.predict(table))


def sklearn_probabilities() -> PlainModel:
    """Fitted without names, asked for probabilities through MLflow's own option."""
    table = houses(500).fillna(50.0)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table.to_numpy(), expensive(table))
    return _log_sklearn(model, table, model.predict_proba(table.to_numpy()), pyfunc_predict_fn="predict_proba")


def sklearn_words() -> PlainModel:
    """Labels are strings."""
    table = houses(500)
    words = np.where(expensive(table), "dear", "cheap")
    model = HistGradientBoostingClassifier(max_iter=5).fit(table, words)
    return _log_sklearn(model, table, model.predict(table))


def sklearn_regressor() -> PlainModel:
    """On a matrix: the signature is one tensor without a name."""
    matrix = houses(500).fillna(0.0).to_numpy(dtype=np.float64)
    model = RandomForestRegressor(n_estimators=10).fit(matrix, matrix.sum(axis=1))
    plain = _log_sklearn(model, matrix, model.predict(matrix))
    return PlainModel(plain.uri, matrix, {"input": matrix})


def _log_sklearn(model: Any, inputs: Any, answer: Any, **options: Any) -> PlainModel:
    info = mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(inputs, answer),
        pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
        **options,
    )
    return PlainModel(info.model_uri, inputs, _as_columns(inputs) if isinstance(inputs, pd.DataFrame) else {})


def xgboost_classifier() -> PlainModel:
    import xgboost

    table = houses(500)
    model = xgboost.XGBClassifier(n_estimators=10, n_jobs=1).fit(table, expensive(table))
    return _of_table(mlflow.xgboost.log_model, model, table, model.predict(table))


def xgboost_booster() -> PlainModel:
    import xgboost

    table = houses(500)
    model = xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(table, expensive(table)), 10)
    return _of_table(mlflow.xgboost.log_model, model, table, model.predict(xgboost.DMatrix(table)))


def lightgbm_classifier() -> PlainModel:
    import lightgbm

    table = houses(500)
    model = lightgbm.LGBMClassifier(n_estimators=10, n_jobs=1, verbose=-1).fit(
        table, expensive(table) + (table["rooms"] > 7)
    )
    return _of_table(mlflow.lightgbm.log_model, model, table, model.predict(table))


def lightgbm_booster() -> PlainModel:
    import lightgbm

    table = houses(500)
    data = lightgbm.Dataset(table, expensive(table))
    model = lightgbm.train({"objective": "binary", "num_threads": 1, "verbose": -1}, data, 10)
    return _of_table(mlflow.lightgbm.log_model, model, table, model.predict(table))


def torch_images() -> PlainModel:
    """A small convolutional network on images of [1, 8, 8]."""
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.Dropout(),
        torch.nn.Flatten(),
        torch.nn.Linear(144, 10),
    )
    images = np.random.default_rng(0).normal(size=(6, 1, 8, 8)).astype(np.float32)
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), (-1, 1, 8, 8))]), Schema([TensorSpec(np.dtype(np.float32), (-1, 10))])
    )
    info = mlflow.pytorch.log_model(
        network, name="model", signature=signature, pip_requirements=["torch"], serialization_format="pickle"
    )
    return PlainModel(info.model_uri, images, {"input": images})


def torch_table() -> PlainModel:
    """A network whose signature is a table: MLflow makes a matrix of 32 bits of it."""
    import torch

    torch.manual_seed(0)
    table = houses(50).fillna(50.0)
    info = mlflow.pytorch.log_model(
        torch.nn.Linear(4, 3),
        name="model",
        signature=infer_signature(table, np.zeros((50, 3), np.float32)),
        pip_requirements=["torch"],
        serialization_format="pickle",
    )
    return PlainModel(info.model_uri, table, _as_columns(table))


class Shout(mlflow.pyfunc.PythonModel):
    """Text and bytes in, text out."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> list[str]:
        return [
            f"{text.upper()}! ({len(blob)})" if text is not None else "?"
            for text, blob in zip(model_input["text"], model_input["blob"], strict=True)
        ]


class Several(mlflow.pyfunc.PythonModel):
    """Three outputs, in the form that `form` says."""

    def __init__(self, form: str) -> None:
        self.form = form

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        size = model_input["size"].to_numpy()
        answer = {"double": size * 2, "large": size > 1, "name": [f"size {value:g}" for value in size]}
        if self.form == "frame":
            return pd.DataFrame(answer)
        return pd.DataFrame(answer).to_dict("records") if self.form == "records" else answer


def pyfunc_text() -> PlainModel:
    table = pd.DataFrame({"text": ["so", "long", None], "blob": [b"", b"\xff\x00", b"abc"]})
    inputs = Schema([ColSpec(DataType.string, "text"), ColSpec(DataType.binary, "blob")])
    signature = ModelSignature(inputs, Schema([ColSpec(DataType.string)]))
    info = mlflow.pyfunc.log_model(name="model", python_model=Shout(), signature=signature, pip_requirements=["mlflow"])
    return PlainModel(info.model_uri, table, _as_columns(table))


def pyfunc_several(form: str = "frame", with_outputs: bool = True) -> PlainModel:
    table = pd.DataFrame({"size": [0.5, 1.0, 2.5]})
    signature = infer_signature(table, Several("frame").predict(None, table) if with_outputs else None)
    info = mlflow.pyfunc.log_model(
        name="model", python_model=Several(form), signature=signature, pip_requirements=["mlflow"]
    )
    return PlainModel(info.model_uri, table, _as_columns(table))


_HAS_TORCH = find_spec("torch") is not None

EVERY_KIND: dict[str, Callable[[], PlainModel]] = {
    maker.__name__: maker
    for maker in (
        sklearn_classifier,
        sklearn_probabilities,
        sklearn_words,
        sklearn_regressor,
        xgboost_classifier,
        xgboost_booster,
        lightgbm_classifier,
        lightgbm_booster,
        torch_images,
        torch_table,
        pyfunc_text,
        pyfunc_several,
    )
    if _HAS_TORCH or not maker.__name__.startswith("torch")
}
"""PyTorch is an extra: without it its models are left out."""


def use_registry(folder: Path) -> Registry:
    """An empty registry of its own, to log to."""
    threadpool_limits(1)  # small models are slowest on all cores
    registry = Registry(registry_settings(folder))
    mlflow.set_experiment(experiment_id=registry.experiment("plain"))
    return registry


def register(folder: Path, kind: str, name: str | None = None) -> tuple[ModelVersion, PlainModel]:
    """Logs a model of one of EVERY_KIND and registers it, as its author would."""
    registry = use_registry(folder)
    with mlflow.start_run() as run:
        model = EVERY_KIND[kind]()
    return registry.register(name or kind, model.uri, run.info.run_id, {}), model
