"""Ray Serve as its documentation shows it: a FastAPI ingress that asks a model deployment by handle."""

from typing import Any

import joblib
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel
from ray import serve

app = FastAPI()


class Question(BaseModel):
    """Rows of fifteen numbers."""

    rows: list[list[float]]


class Model:
    """Holds the model."""

    def __init__(self, file: str) -> None:
        self._model = joblib.load(file)

    def __call__(self, rows: list[list[float]]) -> list[float]:
        predictions: list[float] = self._model.predict_proba(np.array(rows))[:, 1].tolist()
        return predictions


@serve.ingress(app)
class Ingress:
    """Takes requests."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @app.post("/predict")
    async def predict(self, question: Question) -> dict[str, list[float]]:
        return {"predictions": await self._model.remote(question.rows)}


def build(args: dict[str, str]) -> Any:
    """The application; `args` names the model's file."""
    model = serve.deployment(max_ongoing_requests=200)(Model)
    ingress = serve.deployment(max_ongoing_requests=200)(Ingress)
    return ingress.bind(model.bind(args["model"]))
