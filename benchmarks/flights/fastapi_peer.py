"""The peer: FastAPI on uvicorn as its documentation shows it, one process, the same model and feature store."""

import sys

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from serve.settings import ServeSettings
from taxiway.features import OnlineFeatures, open_store
from taxiway.registry import Registry
from taxiway.settings import parse, read_yaml


class Flight(BaseModel):
    """One question; the features are read from the store unless `features` brings them."""

    carrier: str
    origin: str
    dest: str
    tailnum: str | None = None
    distance: int
    departure_hour: float
    weekday: int
    features: dict[str, float | None] | None = None


class Delay(BaseModel):
    """The answer."""

    late_probability: float
    model_version: str


def create(serve_file: str) -> FastAPI:
    """The application on the champion that the serve file names."""
    settings = parse(read_yaml(serve_file)["applications"][0]["args"], ServeSettings, serve_file)
    registry = Registry(settings.registry)
    served = settings.endpoints[0].model
    assert served is not None
    model = registry.load(registry.resolve(served))
    assert settings.feature_store is not None
    assert model.package.features is not None
    store = OnlineFeatures(open_store(settings.feature_store), settings.feature_store.online)
    views = model.package.features.views
    texts = {column.name for column in model.package.signature.inputs if column.dtype == "string"}
    app = FastAPI()

    # A coroutine, not a thread: a model of a millisecond is faster in the loop (measured: three times).
    @app.post("/predict")
    async def predict(flight: Flight) -> Delay:
        asked = flight.model_dump(exclude={"features"})
        columns = {name: np.array([value], dtype=object if name in texts else None) for name, value in asked.items()}
        if flight.features is None:
            columns |= store.read(views, columns)
        else:
            columns |= {name: np.array([value], dtype=float) for name, value in flight.features.items()}
        probability = model.predictor.predict(columns)["late_probability"]
        return Delay(late_probability=float(probability[0]), model_version=model.version.version)

    return app


if __name__ == "__main__":
    uvicorn.run(create(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
