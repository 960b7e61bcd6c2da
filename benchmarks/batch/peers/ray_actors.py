"""Ray Data as its documentation shows batch inference: `map_batches` with a class that holds the model."""

import os
import sys
from pathlib import Path

import joblib
import numpy as np
import ray
from numpy.typing import NDArray
from ray.data import ActorPoolStrategy

BATCH_ROWS = 65_536


class Model:
    """Lives in an actor."""

    def __init__(self, file: str) -> None:
        self._model = joblib.load(file)

    def __call__(self, batch: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        columns = [values for name, values in batch.items() if name != "row_id"]
        scores = self._model.predict_proba(np.column_stack(columns))[:, 1]
        Path(os.environ["FIRST_ROW"]).touch()
        return {"row_id": batch["row_id"], "late_probability": scores}


if __name__ == "__main__":
    model, source, target, cores = sys.argv[1:]
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    # Not as many from the start as there are cores: nothing would be left for those who read.
    pool = ActorPoolStrategy(min_size=1, max_size=int(cores))
    rows = ray.data.read_parquet(source)
    scored = rows.map_batches(Model, fn_constructor_args=(model,), batch_size=BATCH_ROWS, compute=pool, num_cpus=1)
    scored.write_parquet(target)
