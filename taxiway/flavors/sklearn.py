"""scikit-learn: estimators and pipelines, on a matrix instead of a DataFrame where it is the same to them."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from taxiway.boosted_trees import without_checks
from taxiway.flavors.inputs import Inputs
from taxiway.flavors.library import library
from taxiway.flavors.verified import Ask, verified
from taxiway.signature import Columns


def load(folder: Path, said: Mapping[str, Any]) -> Any:
    model = unpickled(folder / said["pickled_model"], said, "pickle")
    if hasattr(model, "get_params"):
        # The parts of a forest, say, are summed in the order in which threads finish.
        threads = {key: 1 for key, value in model.get_params().items() if key.endswith("n_jobs") and value is not None}
        model.set_params(**threads)
    return model


def unpickled(path: Path, said: Mapping[str, Any], form: str) -> Any:
    """As MLflow loads it, with its checks; `form` is meant where the flavor names none."""
    return library("mlflow.sklearn")._load_model_from_local_file(
        str(path), said.get("serialization_format", form), said.get("skops_trusted_types")
    )


def ask(model: Any, inputs: Inputs, method: str) -> Ask:
    """Columns go straight in where the first step takes them (`ColumnEncoder`)."""
    if takes_columns(model):
        call: Ask = getattr(_faster(model), method)
        return call
    call = getattr(model, method)

    def reference(columns: Columns) -> Any:
        return call(inputs.present(columns))

    nameless = _nameless(model) if inputs.is_numeric_frame else None
    if nameless is None:
        return reference
    by_position = getattr(nameless, method)
    dtype = np.result_type(*(column.numpy_dtype for column in inputs.columns))
    return verified(lambda columns: by_position(inputs.matrix(columns, dtype)), reference, inputs)


def takes_columns(model: Any) -> bool:
    """Whether a mapping of numpy columns is what the model's first step takes."""
    first = model.steps[0][1] if isinstance(model, Pipeline) else model
    return bool(getattr(first, "accepts_columns", False))


def _faster(model: Any) -> Any:
    if not isinstance(model, Pipeline):
        return model
    (name, last) = model.steps[-1]
    # Behind an encoder it sees float matrices only, which is what the copy takes.
    return Pipeline([*model.steps[:-1], (name, without_checks(last))])


def _nameless(model: Any) -> Any:
    """A copy that takes a matrix without a warning about names; None for what may do more with a DataFrame."""
    if isinstance(model, Pipeline):
        steps = [(name, _nameless(step)) for name, step in model.steps]
        return None if any(step is None for _, step in steps) else Pipeline(steps)
    if isinstance(model, str):  # "passthrough"
        return model
    if not type(model).__module__.startswith("sklearn.") or isinstance(model, FunctionTransformer):
        return None
    nameless = copy.copy(without_checks(model))
    vars(nameless).pop("feature_names_in_", None)
    return nameless
