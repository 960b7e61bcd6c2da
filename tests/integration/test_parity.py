"""The same rows through every protocol and through a scoring job: the same answers, bit for bit."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import tritonclient.grpc
import tritonclient.http
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from batch.carried import unpack
from batch.finish import finish
from batch.inputs.tables import find_input
from batch.join import join_of
from batch.output.outputs import open_output
from batch.plan import reading_of
from batch.prepare import begin_or_go_on
from batch.scorer import PieceScorer, ScorerSpec
from batch.settings import ScoreSettings
from serve.ingress import Ingress
from serve.settings import EndpointSettings, ListenerSettings, ServeSettings
from taxiway.protocols import open_inference_pb2 as pb
from taxiway.registry import Registry
from taxiway.signature import Array
from tests.integration.test_clients import tensors
from tests.integration.test_ingress import INFER, question
from tests.ports import free_port
from tests.tiny_model import parcels, register, registry_settings

ROWS = 300
Columns = dict[str, Array]


@dataclass(frozen=True)
class Served:
    """A real ingress, and what it is asked."""

    http: str
    grpc: str
    columns: Columns

    def post(self, path: str, **sent: Any) -> Any:
        return httpx.post(f"http://{self.http}{path}", timeout=60, **sent).raise_for_status().json()

    @property
    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.columns)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """As JSON has them: a missing number is null."""
        return [
            {name: None if value != value else value for name, value in row.items()}
            for row in self.frame.to_dict(orient="records")
        ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parity")
    register(folder)
    return folder


@pytest.fixture(scope="module")
def columns() -> Columns:
    """Numbers that a careless conversion changes are among them."""
    found = parcels(ROWS, seed=11)
    del found["comment"]
    found["size"][:6] = [0.0, 5e-324, 0.1 + 0.2, 1 / 3, np.nextafter(1000, 0), 2.5e-7]
    found["count"][:4] = [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
    found["weight"][:3] = [np.nan, np.nextafter(1.5, 2), 123_456_789.123_456_789]
    return found


@pytest.fixture(scope="module")
def served(folder: Path, columns: Columns) -> Iterator[Served]:
    port, grpc_port = free_port(), free_port()
    ingress = Ingress(
        "tests",
        ServeSettings(
            endpoints=(EndpointSettings(name="parcel", model="models:/parcel@champion"),),
            registry=registry_settings(folder),
            listener=ListenerSettings(host="127.0.0.1", port=port, grpc_port=grpc_port, drain_s=2),
        ),
    )
    ingress.listen()
    yield Served(f"127.0.0.1:{port}", f"127.0.0.1:{grpc_port}", columns)
    ingress.drain()


@pytest.fixture(scope="module")
def scored(folder: Path, columns: Columns) -> list[float]:
    """What a scoring job writes: the model out of the registry as actors get it, rows out of a file in three pieces."""
    pq.write_table(pa.table({"row": np.arange(ROWS), **columns}), folder / "rows.parquet")
    settings = ScoreSettings(
        model="models:/parcel@champion",
        input=str(folder / "rows.parquet"),
        output=str(folder / "scores"),
        row_id="row",
        piece_rows=ROWS // 3,
        registry=registry_settings(folder),
    )
    output, listing = open_output(settings.output), find_input(settings.input, settings.input_format)
    with output.hold("a test"):
        prepared = begin_or_go_on("job", time.time(), settings, listing, output, False)
        plan, workspace = prepared.plan, output.workspace("job")
        reading = reading_of(plan, settings)
        spec = ScorerSpec(settings, prepared.models[0], None, plan.schema_of_parts, reading, workspace, str(folder))
        predictors = [unpack(model.pickled, model.archive) for model in prepared.carried]
        scorer = PieceScorer(spec, predictors, join_of(spec))
        results = [scorer.score(piece) for piece in plan.pieces]
        finish(plan, results, output, workspace, settings, {}, datetime.now(UTC), {})
    assert len(results) == 3
    return list(ds.dataset(folder / "scores").to_table().sort_by("row")["probability"].to_pylist())


def tensors_as_json(served: Served) -> list[float]:
    return list(served.post(INFER, json=question(served.columns))["outputs"][0]["data"])


def tensors_as_bytes(served: Served) -> list[float]:
    wanted = [tritonclient.http.InferRequestedOutput("probability", binary_data=True)]
    with tritonclient.http.InferenceServerClient(served.http) as client:
        inputs = tensors(tritonclient.http, served.columns, binary_data=True)
        return list(client.infer("parcel", inputs, outputs=wanted).as_numpy("probability").tolist())


def grpc_with_raw_contents(served: Served) -> list[float]:
    with tritonclient.grpc.InferenceServerClient(served.grpc) as client:
        answer = client.infer("parcel", tensors(tritonclient.grpc, served.columns))
        return list(answer.as_numpy("probability").tolist())


def grpc_with_typed_contents(served: Served) -> list[float]:
    kinds = {"O": ("BYTES", "bytes_contents"), "f": ("FP64", "fp64_contents"), "i": ("INT64", "int64_contents")}
    request = pb.ModelInferRequest(model_name="parcel")
    for name, values in served.columns.items():
        datatype, field = kinds[values.dtype.kind]
        given = [value.encode() for value in values] if datatype == "BYTES" else values.tolist()
        tensor = request.inputs.add(name=name, datatype=datatype, shape=[len(values)])
        getattr(tensor.contents, field).extend(given)
    with grpc.insecure_channel(served.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer = pb.ModelInferResponse.FromString(call(request.SerializeToString()))
    return list(answer.outputs[0].contents.fp64_contents)


def kserve_v1_rows(served: Served) -> list[float]:
    return list(served.post("/v1/models/parcel:predict", json={"instances": served.rows})["predictions"])


def kserve_v1_columns(served: Served) -> list[float]:
    named = {name: [row[name] for row in served.rows] for name in served.columns}
    return list(served.post("/v1/models/parcel:predict", json={"inputs": named})["outputs"])


def mlflow_records(served: Served) -> list[float]:
    return list(served.post("/invocations", json={"dataframe_records": served.rows})["predictions"])


def mlflow_split(served: Served) -> list[float]:
    data = [list(row.values()) for row in served.rows]
    split = {"columns": list(served.columns), "data": data}
    return list(served.post("/invocations", json={"dataframe_split": split})["predictions"])


def mlflow_csv(served: Served) -> list[float]:
    headers = {"content-type": "text/csv"}
    return list(served.post("/invocations", content=served.frame.to_csv(index=False), headers=headers)["predictions"])


def mlflows_own_client(served: Served) -> list[float]:
    host, port = served.http.split(":")
    return list(ScoringServerClient(host, int(port)).invoke(served.frame).get_predictions()[0].tolist())


def torchserve(served: Served) -> list[float]:
    return list(served.post("/predictions/parcel", json=served.rows))


def row_by_row(served: Served) -> list[float]:
    """Requests of one row are answered in other batches than those of many."""
    path = f"http://{served.http}{INFER}"
    with httpx.Client(timeout=60) as client:
        answers = [
            client.post(path, json=question({name: values[row : row + 1] for name, values in served.columns.items()}))
            for row in range(ROWS)
        ]
    return [answer.raise_for_status().json()["outputs"][0]["data"][0] for answer in answers]


@pytest.mark.parametrize(
    "ask",
    [
        tensors_as_json,
        tensors_as_bytes,
        grpc_with_raw_contents,
        grpc_with_typed_contents,
        kserve_v1_rows,
        kserve_v1_columns,
        mlflow_records,
        mlflow_split,
        mlflow_csv,
        mlflows_own_client,
        torchserve,
        row_by_row,
    ],
)
def test_every_protocol_gives_what_the_scoring_job_wrote(
    served: Served, scored: list[float], ask: Callable[[Served], list[float]]
) -> None:
    assert ask(served) == scored


def test_the_scoring_job_wrote_what_the_model_says(folder: Path, columns: Columns, scored: list[float]) -> None:
    registry = Registry(registry_settings(folder))
    predictor = registry.load(registry.resolve("models:/parcel@champion")).predictor
    whole = columns | {"comment": np.full(ROWS, None)}
    assert scored == predictor.predict(whole)["probability"].tolist()
    assert len(set(scored)) > 20
