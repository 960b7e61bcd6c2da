"""The model in the form that `mlflow.pyfunc.spark_udf` takes: a pandas DataFrame in, probabilities out."""

import os
from pathlib import Path
from typing import Any

import joblib
import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray


class LateModel(PythonModel):
    """The positive class's probability for each row."""

    def load_context(self, context: Any) -> None:
        self._model = joblib.load(context.artifacts["model"])

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> NDArray[np.float64]:
        scores: NDArray[np.float64] = self._model.predict_proba(model_input.to_numpy())[:, 1]
        if first_row := os.environ.get("FIRST_ROW"):
            Path(first_row).touch()
        return scores


mlflow.models.set_model(LateModel())
