"""XGBoost: boosters and its scikit-learn models."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from taxiway.flavors.inputs import Inputs
from taxiway.flavors.library import library
from taxiway.flavors.verified import Ask, verified
from taxiway.signature import Columns


def load(folder: Path, said: Mapping[str, Any]) -> Any:
    library("xgboost")
    module, _, kind = said.get("model_class", "xgboost.core.Booster").rpartition(".")
    model = getattr(library(module), kind)()
    model.load_model(str(folder / said["data"]))
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    booster.set_param({"nthread": 1})
    if booster is not model:
        model.set_params(n_jobs=1)
    return model


def ask(model: Any, inputs: Inputs, method: str) -> Ask:
    xgb = library("xgboost")

    def reference(columns: Columns) -> Any:
        presented = inputs.present(columns)
        if isinstance(model, xgb.Booster):
            return model.predict(xgb.DMatrix(presented))
        return getattr(model, method)(presented)

    is_booster = isinstance(model, xgb.Booster)
    predict = partial(model.inplace_predict if is_booster else getattr(model, method), validate_features=False)

    def faster(columns: Columns) -> Any:
        # XGBoost computes in 32 bits: what it would round itself is rounded here.
        with np.errstate(over="ignore"):
            matrix = inputs.matrix(columns, np.float32)
        # Only the way by DMatrix refuses infinity.
        return reference(columns) if np.isinf(matrix).any() else predict(matrix)

    return verified(faster, reference, inputs) if inputs.is_numeric_frame else reference
