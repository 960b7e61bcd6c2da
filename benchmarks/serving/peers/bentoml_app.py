"""BentoML services: `bentoml serve bentoml_app:Plain` or `:Batched`, the model's file in MODEL."""

import os
from typing import Any

import bentoml
import joblib
import numpy as np
from numpy.typing import NDArray

OPTIONS = {"workers": 1, "traffic": {"timeout": 60}, "logging": {"access": {"enabled": False}}}


@bentoml.service(**OPTIONS)
class Plain:
    """One call of the model a request."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, rows: list[list[float]]) -> dict[str, Any]:
        return {"predictions": self.model.predict_proba(np.array(rows))[:, 1].tolist()}


@bentoml.service(**OPTIONS)
class Batched:
    """Adaptive batching; the answer is a list, as a batchable API has to return what can be split."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=1024, max_latency_ms=1000)  # type: ignore[untyped-decorator]
    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self.model.predict_proba(rows)[:, 1])
