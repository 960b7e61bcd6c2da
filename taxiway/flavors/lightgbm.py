"""LightGBM: boosters and its scikit-learn models."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from taxiway.flavors.inputs import Inputs
from taxiway.flavors.library import library
from taxiway.flavors.sklearn import unpickled
from taxiway.flavors.verified import Ask, verified
from taxiway.signature import Array, Columns

_BOOSTER = "lightgbm.basic.Booster"


def load(folder: Path, said: Mapping[str, Any]) -> Any:
    lgb = library("lightgbm")
    path = folder / said["data"]
    if said.get("model_class", _BOOSTER) == _BOOSTER:
        return lgb.Booster(model_file=str(path))
    model = unpickled(path, said, "cloudpickle")
    if hasattr(model, "set_params"):
        model.set_params(n_jobs=1)
    return model


def ask(model: Any, inputs: Inputs, method: str) -> Ask:
    lgb = library("lightgbm")
    is_booster = isinstance(model, lgb.Booster)
    call = partial(model.predict, num_threads=1) if is_booster else getattr(model, method)

    def reference(columns: Columns) -> Any:
        return call(inputs.present(columns))

    booster = model if is_booster else model.booster_
    # LightGBM's own choice for a DataFrame.
    dtype = np.result_type(np.float32, *(column.numpy_dtype for column in inputs.columns if not column.is_object))

    def faster(columns: Columns) -> Any:
        raw = booster.predict(inputs.matrix(columns, dtype), num_threads=1, validate_features=False)
        return _classes(model, raw, method) if isinstance(model, lgb.LGBMClassifier) else raw

    # Its categories of a DataFrame's type "category" are known only to the model.
    plain = inputs.is_numeric_frame and not booster.pandas_categorical
    return verified(faster, reference, inputs) if plain else reference


def _classes(model: Any, raw: Array, method: str) -> Array:
    """What LGBMClassifier makes of its booster's answer."""
    probabilities = raw if raw.ndim > 1 else np.vstack((1.0 - raw, raw)).transpose()
    return np.asarray(model.classes_[probabilities.argmax(axis=1)] if method == "predict" else probabilities)
