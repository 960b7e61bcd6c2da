"""Everything else: MLflow's own predict, with the checks that it makes."""

from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd

from taxiway.flavors.inputs import Inputs
from taxiway.flavors.verified import Ask
from taxiway.signature import Array, Column, Columns, row_count


def load(folder: Path) -> Any:
    return mlflow.pyfunc.load_model(str(folder))


def ask(model: Any, inputs: Inputs) -> Ask:
    schema = model.metadata.get_input_schema()
    if schema is None or not schema.is_tensor_spec():
        return lambda columns: model.predict(_frame(inputs, columns))
    types = {column.name: spec.type for column, spec in zip(inputs.columns, schema.inputs, strict=True)}

    def tensors(columns: Columns) -> Any:
        held = {name: _typed(columns[name], dtype) for name, dtype in types.items()}
        return model.predict(held if schema.has_input_names() else held[inputs.names[0]])

    return tensors


def _frame(inputs: Inputs, columns: Columns) -> "pd.DataFrame":
    """MLflow knows no missing value of an integer, only a column that is not there."""
    whole = [(column.name, _whole(column, columns[column.name])) for column in inputs.columns]
    held = {name: values for name, values in whole if values is not None}
    named = held if inputs.form == "frame" else dict(enumerate(held.values()))
    return pd.DataFrame(named, index=pd.RangeIndex(row_count(columns)))


def _whole(column: Column, values: Array) -> Array | None:
    if not column.is_required and _is_nothing(values):
        return None
    if column.stored_dtype == column.dtype or np.isnan(values).any():
        return values
    return values.astype(column.dtype)


def _is_nothing(values: Array) -> bool:
    missing = np.isnan(values) if values.dtype.kind == "f" else np.asarray(values == None)  # noqa: E711
    return bool(missing.all())


def _typed(values: Array, dtype: "np.dtype[Any]") -> Array:
    return values.astype(dtype) if dtype.kind in "US" else values
