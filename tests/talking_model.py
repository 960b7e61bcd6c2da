"""A model that logs a line for one of its values, wherever it runs. Logged with plain MLflow."""

import logging
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from tests.plain_models import use_registry

SAID, LINE = 7.0, "seven was asked"

# Whoever loads the model does not have the tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Talking(mlflow.pyfunc.PythonModel):
    """Answers twice the value."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        value = model_input["value"].to_numpy()
        if (value == SAID).any():
            logging.getLogger("taxiway.model").warning(LINE)
        return pd.DataFrame({"answer": 2 * value})


def register_talking(folder: Path, name: str) -> None:
    registry = use_registry(folder)
    signature = ModelSignature(
        Schema([ColSpec(DataType.double, "value")]), Schema([ColSpec(DataType.double, "answer")])
    )
    with mlflow.start_run() as run:
        info = mlflow.pyfunc.log_model(
            name="model", python_model=Talking(), signature=signature, pip_requirements=["mlflow"]
        )
    registry.register(name, info.model_uri, run.info.run_id, {})
