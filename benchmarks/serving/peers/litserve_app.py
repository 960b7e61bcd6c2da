"""LitServe: `python litserve_app.py MODEL PORT [BATCH]`; with BATCH requests are predicted together."""

import sys
from typing import Any

import joblib
import litserve
import numpy as np


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Rows in, probabilities out."""

    def setup(self, device: str) -> None:
        self.model = joblib.load(sys.argv[1])

    def decode_request(self, request: dict[str, Any]) -> Any:
        return np.array(request["rows"], dtype=np.float64)

    def predict(self, rows: Any) -> Any:
        return self.model.predict_proba(rows)[:, 1]

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"predictions": output.tolist()}


class BatchedApi(Api):
    """The same for a batch; requests may have any number of rows."""

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, rows: list[Any]) -> list[Any]:
        cuts = np.cumsum([len(one) for one in rows])[:-1]
        return np.split(self.model.predict_proba(np.concatenate(rows))[:, 1], cuts)

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output


if __name__ == "__main__":
    batched = len(sys.argv) > 3
    api = BatchedApi(max_batch_size=int(sys.argv[3]), batch_timeout=0.002) if batched else Api()
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False, generate_client_file=False
    )
