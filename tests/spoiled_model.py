"""The parcels' model, spoiled in one way or another: what a rollout has to find out."""

import time
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from taxiway.encoder import ColumnEncoder
from taxiway.registry import ModelVersion
from taxiway.settings import RegistrySettings
from taxiway.signature import Array
from tests.tiny_model import MODEL_COLUMNS, parcels, register_fitted


def truth(columns: dict[str, Array]) -> Array:
    """The label of each parcel; the model can learn nearly all of it."""
    signal = columns["size"] / 500 + (columns["color"] == "red") - columns["count"] / 25
    return (signal + 0.2 * np.sin(7 * columns["size"]) > 0.5).astype(np.int64)


class Spoiled(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted classifier with a fault: `none`, `fails` (on some rows), `slow`, `wrong` (turned round), `shifted`."""

    def __init__(self, model: Any, fault: str) -> None:
        self.model = model
        self.fault = fault
        self.classes_ = np.array([0, 1])

    def fit(self, rows: Any, labels: Any) -> "Spoiled":
        return self

    def predict_proba(self, rows: Array) -> Array:
        if self.fault == "fails" and (np.mod(rows[:, 1], 10) > 7.5).any():
            raise RuntimeError("a value that I do not like")
        if self.fault == "slow":
            time.sleep(0.4)
        positive = self.model.predict_proba(rows)[:, 1]
        if self.fault == "wrong":
            positive = 1.0 - positive
        if self.fault == "shifted":
            positive = np.clip(positive + 0.25, 0.0, 1.0)
        return np.column_stack((1.0 - positive, positive))

    def __sklearn_is_fitted__(self) -> bool:
        return True


def fitted(fault: str = "none", iterations: int = 60, rows: int = 4_000) -> Pipeline:
    columns = parcels(rows, seed=3)
    encoder = ColumnEncoder(MODEL_COLUMNS, {"color": ("red", "green", "blue")}).fit(columns)
    model = HistGradientBoostingClassifier(max_iter=iterations, categorical_features=[0], random_state=0)
    model.fit(encoder.transform(columns), truth(columns))
    return Pipeline([("columns", encoder), ("model", Spoiled(model, fault))])


def register_as(
    settings: RegistrySettings, alias: str, fault: str = "none", iterations: int = 60, rows: int = 4_000
) -> ModelVersion:
    """Registers such a model and points an alias to it."""
    return register_fitted(settings, fitted(fault, iterations, rows), alias, rows=rows)
