"""Ray Serve at its fastest: one deployment without FastAPI, `@serve.batch`, for HAProxy and throughput mode."""

from typing import Any

import joblib
import numpy as np
import orjson
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


class Model:
    """Parses, gathers, predicts."""

    def __init__(self, file: str) -> None:
        self._model = joblib.load(file)

    async def __call__(self, request: Request) -> Response:
        rows = np.array(orjson.loads(await request.body())["rows"], dtype=np.float64)
        predictions = await self.predict(rows)
        return Response(orjson.dumps({"predictions": predictions.tolist()}), media_type="application/json")

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.002)  # type: ignore[untyped-decorator]
    async def predict(self, requests: list[Any]) -> list[Any]:
        predictions = self._model.predict_proba(np.concatenate(requests))[:, 1]
        return np.split(predictions, np.cumsum([len(rows) for rows in requests])[:-1])


def build(args: dict[str, str]) -> Any:
    """The application; `args` names the model's file."""
    return serve.deployment(max_ongoing_requests=200)(Model).bind(args["model"])
