"""A model that does what its input says: answers, raises, or ends its process. Logged with plain MLflow."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from taxiway.registry import CHAMPION, ModelVersion
from tests.plain_models import use_registry

POISON, DEADLY = 666.0, 999.0
"""Values for which the model raises, and for which its process ends."""

# Whoever loads the model does not have the tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Faulty(mlflow.pyfunc.PythonModel):
    """Answers `value * factor`, and how many rows its call had.

    Args:
        call_s: of one call, however many rows it has.
        load_s: of loading.
    """

    def __init__(self, factor: float, call_s: float = 0.0, load_s: float = 0.0) -> None:
        self.factor = factor
        self.call_s = call_s
        self.load_s = load_s

    def load_context(self, context: Any) -> None:
        time.sleep(self.load_s)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        value = model_input["value"].to_numpy()
        time.sleep(self.call_s)
        if (value == DEADLY).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (value == POISON).any():
            raise ValueError("a poisoned row")
        return pd.DataFrame({"answer": value * self.factor, "rows": np.full(len(value), len(value))})


def register_faulty(folder: Path, name: str, **settings: float) -> ModelVersion:
    """Registers a new version; the first one is the champion."""
    registry = use_registry(folder)
    signature = ModelSignature(
        Schema([ColSpec(DataType.double, "value")]),
        Schema([ColSpec(DataType.double, "answer"), ColSpec(DataType.long, "rows")]),
    )
    with mlflow.start_run() as run:
        model = Faulty(**settings)
        info = mlflow.pyfunc.log_model(
            name="model", python_model=model, signature=signature, pip_requirements=["mlflow"]
        )
    version = registry.register(name, info.model_uri, run.info.run_id, {})
    if version.version == "1":
        registry.point(CHAMPION, version)
    return version
